"""Level `priority`: largest first, equal ones in order, tickets."""

from __future__ import annotations

from _random import Random
from gc import collect
from sys import settrace
from typing import Any
from weakref import ref

from gpumod.bench.suites.coding.hidden.checking import raises, same


class Thing:
    """Neither comparable nor hashable."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise TypeError("things cannot be compared")


def drained(queue: Any) -> list[Any]:
    """Everything, in the order in which it comes out."""
    return [queue.pop() for _ in range(len(queue))]


def test_the_largest_priority_comes_first(solution: Any) -> None:
    queue = solution.PriorityQueue()
    for priority in (3, 1, 4, 1.5, 9, -2, 6):
        queue.push(str(priority), priority)
    assert same(drained(queue), ["9", "6", "4", "3", "1.5", "1", "-2"])


def test_equal_priorities_keep_their_order(solution: Any) -> None:
    queue = solution.PriorityQueue()
    for number in range(200):
        queue.push(number, number % 2)
    assert same(drained(queue), [*range(1, 200, 2), *range(0, 200, 2)])


def test_the_default_priority_is_zero(solution: Any) -> None:
    queue = solution.PriorityQueue()
    for item, given in (("low", (-1,)), ("middle", ()), ("high", (1,))):
        queue.push(item, *given)
    assert same(drained(queue), ["high", "middle", "low"])


def test_items_are_never_compared(solution: Any) -> None:
    queue = solution.PriorityQueue()
    things = [Thing() for _ in range(20)]
    for thing in things:
        queue.push(thing, 1)
    assert same(list(map(id, drained(queue))), list(map(id, things)))


def test_an_empty_queue_raises_an_index_error(solution: Any) -> None:
    queue = solution.PriorityQueue()
    for call in (queue.pop, queue.peek):
        with raises(IndexError):
            call()
    queue.cancel(queue.push("x"))
    for call in (queue.pop, queue.peek):
        with raises(IndexError):
            call()


def test_peek_leaves_the_item_there(solution: Any) -> None:
    queue = solution.PriorityQueue()
    queue.push("low", 1)
    top = queue.push("high", 2)
    assert same([queue.peek(), queue.peek(), len(queue)], ["high", "high", 2])
    queue.cancel(top)
    assert same([queue.peek(), queue.pop(), len(queue)], ["low", "low", 0])


def test_no_ticket_is_given_twice(solution: Any) -> None:
    queue = solution.PriorityQueue()
    tickets = []
    for _ in range(50):
        tickets += [queue.push("same"), queue.push("same")]
        queue.pop()
        queue.cancel(tickets[-1])
    assert all(type(ticket) is int for ticket in tickets)
    assert same(len(set(tickets)), 100)


def test_a_cancelled_item_does_not_come(solution: Any) -> None:
    queue = solution.PriorityQueue()
    tickets = [queue.push(number, number) for number in range(5)]
    assert queue.cancel(tickets[4]) is True
    assert queue.cancel(tickets[2]) is True
    assert same(len(queue), 3)
    assert same(drained(queue), [3, 1, 0])


def test_what_is_gone_cannot_be_cancelled_or_changed(solution: Any) -> None:
    queue = solution.PriorityQueue()
    popped, cancelled = queue.push("a", 2), queue.push("b", 1)
    assert same(queue.pop(), "a")
    assert queue.cancel(cancelled) is True
    for ticket in (popped, cancelled, 10**9):
        assert queue.cancel(ticket) is False
        assert queue.change(ticket, 5) is False
    assert same(len(queue), 0)


def test_change_moves_an_item_up_and_down(solution: Any) -> None:
    queue = solution.PriorityQueue()
    tickets = {name: queue.push(name, priority) for name, priority in (("a", 1), ("b", 2), ("c", 3))}
    assert queue.change(tickets["a"], 10) is True
    assert queue.change(tickets["c"], 0) is True
    assert same(len(queue), 3)
    assert same(drained(queue), ["a", "b", "c"])


def test_a_changed_item_comes_last_among_its_new_equals(solution: Any) -> None:
    queue = solution.PriorityQueue()
    moved = queue.push("moved", 1)
    queue.push("second", 2)
    queue.push("third", 2)
    queue.change(moved, 2)
    queue.push("fifth", 2)
    assert same(drained(queue), ["second", "third", "moved", "fifth"])


def test_a_change_to_the_same_priority_keeps_the_place(solution: Any) -> None:
    queue = solution.PriorityQueue()
    first = queue.push("first", 1)
    queue.push("second", 1)
    assert queue.change(first, 1) is True
    assert same(drained(queue), ["first", "second"])


def test_the_same_object_may_be_there_twice(solution: Any) -> None:
    queue = solution.PriorityQueue()
    item = ["same"]
    one, _ = queue.push(item, 1), queue.push(item, 2)
    assert queue.cancel(one) is True
    assert same(len(queue), 1)
    assert queue.pop() is item


def test_what_has_left_is_not_kept(solution: Any) -> None:
    queue = solution.PriorityQueue()
    queue.push("stays", -1)
    things = [Thing() for _ in range(3)]
    tickets = [queue.push(thing, number) for number, thing in enumerate(things)]
    references = [ref(thing) for thing in things]
    last = id(things.pop())
    del things
    queue.cancel(tickets[0])
    queue.change(tickets[1], 7)
    queue.cancel(tickets[1])
    assert id(queue.pop()) == last
    collect()
    assert same([reference() for reference in references], [None, None, None])


def test_work_grows_with_the_logarithm(solution: Any) -> None:
    """Lines of Python that are run, not seconds, are counted: a search through all items is seen at once."""
    compared = 0

    class CountedNumber(float):
        """A priority that counts how often it is compared."""

        def __lt__(self, other: float) -> bool:
            nonlocal compared
            compared += 1
            return float(self) < float(other)

        def __gt__(self, other: float) -> bool:
            nonlocal compared
            compared += 1
            return float(self) > float(other)

        def __neg__(self) -> CountedNumber:
            return CountedNumber(-float(self))

        __hash__ = float.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return float(self) == other

    def lines(size: int) -> int:
        nonlocal compared
        queue = solution.PriorityQueue()
        for number in range(size):
            ticket = queue.push(number, CountedNumber(number * 7919 % size))
            if number % 3 == 0:
                queue.change(ticket, CountedNumber(number % 5))
        compared = 0
        count = 0

        def trace(frame: Any, event: str, argument: Any) -> Any:
            nonlocal count
            count += event == "line"
            return trace

        settrace(trace)
        try:
            for number in range(50):
                queue.push(number, CountedNumber(number * 31 % size))
                queue.pop()
        finally:
            settrace(None)
        assert same(len(queue), size)
        return count + compared

    small, large = lines(200), lines(6400)
    assert large < 6 * small + 2000, f"{small} steps with 200 items, {large} with 6400"


def test_a_long_random_history_agrees_with_a_plain_list(solution: Any) -> None:
    chance = Random(7)

    def below(limit: int) -> int:
        return int(chance.random() * limit)

    queue = solution.PriorityQueue()
    model: list[list[Any]] = []  # priority, since when, item, ticket
    for now in range(3000):
        act = chance.random()
        if act < 0.45:
            priority = below(5)
            model.append([priority, now, now, queue.push(now, priority)])
        elif act < 0.6 and model:
            entry = model.pop(below(len(model)))
            assert queue.cancel(entry[3]) is True
        elif act < 0.75 and model:
            entry, priority = model[below(len(model))], below(5)
            assert queue.change(entry[3], priority) is True
            if entry[0] != priority:
                entry[:2] = [priority, now]
        elif model:
            entry = min(model, key=lambda one: (-one[0], one[1]))
            model.remove(entry)
            assert same(queue.pop(), entry[2])
        assert same(len(queue), len(model))
