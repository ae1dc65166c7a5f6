"""Level `race`: accounts in a slow store, whose every access lets other threads run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from time import sleep
from typing import Any

from gpumod.bench.suites.coding.hidden.checking import Background, Event, raises, same, together


class SlowStore(MutableMapping[str, int]):
    """Takes its time for each access, so whatever may happen in between does."""

    def __init__(self, balances: dict[str, int], seconds: float = 0.001) -> None:
        self.balances = balances
        self._seconds = seconds
        self.refused: set[str] = set()
        self.lowest = min(balances.values(), default=0)

    def __getitem__(self, name: str) -> int:
        found = self.balances[name]
        sleep(self._seconds)
        return found

    def __setitem__(self, name: str, balance: int) -> None:
        sleep(self._seconds)
        if name in self.refused:
            self.refused.discard(name)
            raise ConnectionError(f"cannot write {name}")
        self.lowest = min(self.lowest, balance)
        self.balances[name] = balance

    def __delitem__(self, name: str) -> None:
        del self.balances[name]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self.balances))

    def __len__(self) -> int:
        return len(self.balances)


def repeated(call: Callable[[], Any], times: int) -> Callable[[], list[Any]]:
    """The call, so many times after each other."""
    return lambda: [call() for _ in range(times)]


def test_one_thread_sees_the_old_behaviour(solution: Any) -> None:
    store = SlowStore({"a": 10}, 0)
    ledger = solution.Ledger(store)
    ledger.deposit("b", 5)
    assert ledger.withdraw("a", 4) is True
    assert ledger.withdraw("a", 7) is False
    assert ledger.transfer("a", "b", 6) is True
    assert ledger.transfer("a", "b", 1) is False
    assert same(
        [ledger.balance("a"), ledger.balance("b"), ledger.balance("c"), ledger.total()], [0, 11, 0, 11]
    )
    assert same(store.balances, {"a": 0, "b": 11})


def test_no_deposit_is_lost(solution: Any) -> None:
    store = SlowStore({})
    ledger = solution.Ledger(store)
    together(*[repeated(lambda: ledger.deposit("a", 1), 10)] * 8)
    assert same(store.balances, {"a": 80})


def test_deposits_and_withdrawals_do_not_undo_each_other(solution: Any) -> None:
    store = SlowStore({"a": 1000})
    ledger = solution.Ledger(store)
    deposits = [repeated(lambda: ledger.deposit("a", 3), 10)] * 4
    together(*deposits, *[repeated(lambda: ledger.withdraw("a", 2), 10)] * 4)
    assert same(store.balances, {"a": 1000 + 4 * 30 - 4 * 20})


def test_no_account_is_overdrawn(solution: Any) -> None:
    store = SlowStore({"a": 5})
    ledger = solution.Ledger(store)
    taken = together(*[lambda: ledger.withdraw("a", 1)] * 12)
    assert same(sum(one is True for one in taken), 5)
    assert same(store.balances, {"a": 0})
    assert store.lowest >= 0


def test_transfers_and_withdrawals_share_what_there_is(solution: Any) -> None:
    store = SlowStore({"a": 6, "b": 0})
    ledger = solution.Ledger(store)
    away = [lambda: ledger.withdraw("a", 1)] * 6
    moved = [lambda: ledger.transfer("a", "b", 1)] * 6
    taken = together(*away, *moved)
    assert same(sum(one is True for one in taken), 6)
    assert same(store.balances["a"], 0)
    assert same(store.balances["b"], sum(one is True for one in taken[6:]))


def test_transfers_in_opposite_directions_end(solution: Any) -> None:
    store = SlowStore({"a": 1000, "b": 1000, "c": 1000})
    ledger = solution.Ledger(store)
    pairs = [("a", "b"), ("b", "a"), ("b", "c"), ("c", "b"), ("c", "a"), ("a", "c")]
    moved = together(*(repeated(lambda pair=pair: ledger.transfer(*pair, 7), 8) for pair in pairs))  # type: ignore[misc]
    assert same(moved, [[True] * 8] * 6)
    assert same(store.balances, {"a": 1000, "b": 1000, "c": 1000})


def test_a_transfer_to_the_same_account_changes_nothing(solution: Any) -> None:
    store = SlowStore({"a": 10}, 0)
    ledger = solution.Ledger(store)
    assert Background(lambda: ledger.transfer("a", "a", 10)).end() is True
    assert Background(lambda: ledger.transfer("a", "a", 11)).end() is False
    assert Background(lambda: ledger.deposit("a", 1)).end() is None
    assert same(store.balances, {"a": 11})


def test_a_refused_transfer_blocks_nobody(solution: Any) -> None:
    store = SlowStore({"a": 1, "b": 1}, 0)
    ledger = solution.Ledger(store)
    assert Background(lambda: ledger.transfer("a", "b", 5)).end() is False
    Background(lambda: ledger.deposit("a", 5)).end()
    Background(lambda: ledger.deposit("b", 5)).end()
    assert same(store.balances, {"a": 6, "b": 6})


def test_the_total_never_shows_half_a_transfer(solution: Any) -> None:
    store = SlowStore({"a": 100, "b": 100, "c": 100})
    ledger = solution.Ledger(store)
    over = Event()

    def look() -> set[int]:
        seen = {ledger.total()}
        while not over.is_set():
            seen.add(ledger.total())
        return seen

    looking = Background(look)
    together(
        repeated(lambda: ledger.transfer("a", "c", 10), 8), repeated(lambda: ledger.transfer("c", "b", 10), 8)
    )
    over.set()
    assert same(looking.end(), {300})


def test_an_error_of_the_store_leaves_no_lock_behind(solution: Any) -> None:
    store = SlowStore({"a": 10, "b": 10}, 0)
    ledger = solution.Ledger(store)
    calls = (
        lambda: ledger.deposit("a", 1),
        lambda: ledger.withdraw("a", 1),
        lambda: ledger.transfer("a", "b", 1),
    )
    for call in calls:
        store.refused = {"a"}
        with raises(ConnectionError):
            Background(call).end()
        Background(lambda: ledger.deposit("a", 1)).end()
        Background(lambda: ledger.withdraw("a", 1)).end()
    assert same(store.balances, {"a": 10, "b": 10})


def test_a_transfer_that_fails_half_way_is_undone(solution: Any) -> None:
    store = SlowStore({"a": 10, "b": 10}, 0)
    ledger = solution.Ledger(store)
    store.refused = {"b"}
    with raises(ConnectionError):
        Background(lambda: ledger.transfer("a", "b", 4)).end()
    assert same(store.balances, {"a": 10, "b": 10})
    assert Background(lambda: ledger.transfer("a", "b", 4)).end() is True
    assert same(store.balances, {"a": 6, "b": 14})
