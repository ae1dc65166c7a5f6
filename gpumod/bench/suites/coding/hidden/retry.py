"""Level `retry`: growing delays, on a clock of the test's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpumod.bench.suites.coding.hidden.checking import raises, same


class Failing:
    """Fails so many times, then answers; notes every call and every sleep in one list."""

    def __init__(self, failures: int, kind: Callable[[str], BaseException] = OSError) -> None:
        self.errors = [kind(f"failure {number}") for number in range(failures)]
        self.events: list[str | float] = []
        self._failures = failures

    def __call__(self) -> str:
        calls = self.events.count("call")
        self.events.append("call")
        if calls < self._failures:
            raise self.errors[calls]
        return "answer"

    @property
    def delays(self) -> list[float]:
        """What was slept."""
        return [event for event in self.events if isinstance(event, float | int)]


def test_a_success_needs_no_delay(solution: Any) -> None:
    function = Failing(0)
    assert same(solution.retry(function, sleep=function.events.append), "answer")
    assert same(function.events, ["call"])


def test_a_false_result_is_a_result(solution: Any) -> None:
    calls: list[int] = []

    def nothing() -> None:
        calls.append(1)

    assert solution.retry(nothing, sleep=calls.append) is None
    assert same(calls, [1])


def test_delays_double_between_the_calls(solution: Any) -> None:
    function = Failing(4)
    assert same(solution.retry(function, sleep=function.events.append), "answer")
    assert same(function.events, ["call", 0.5, "call", 1.0, "call", 2.0, "call", 4.0, "call"])


def test_base_and_factor_are_used(solution: Any) -> None:
    function = Failing(3)
    solution.retry(function, base=2.0, factor=3.0, sleep=function.events.append)
    assert same(function.delays, [2.0, 6.0, 18.0])


def test_no_delay_is_longer_than_the_limit(solution: Any) -> None:
    function = Failing(6)
    solution.retry(function, attempts=7, base=1.0, limit=5.0, sleep=function.events.append)
    assert same(function.delays, [1.0, 2.0, 4.0, 5.0, 5.0, 5.0])


def test_a_power_that_overflows_is_the_limit(solution: Any) -> None:
    function = Failing(3)
    solution.retry(function, base=1.0, factor=1e200, limit=7.0, sleep=function.events.append)
    assert same(function.delays, [1.0, 7.0, 7.0])


def test_it_gives_up_after_the_last_call_without_a_delay(solution: Any) -> None:
    function = Failing(9)
    with raises(OSError):
        solution.retry(function, attempts=3, sleep=function.events.append)
    assert same(function.events, ["call", 0.5, "call", 1.0, "call"])


def test_one_attempt_is_one_call(solution: Any) -> None:
    function = Failing(1)
    with raises(OSError):
        solution.retry(function, attempts=1, sleep=function.events.append)
    assert same(function.events, ["call"])


def test_the_last_exception_itself_is_raised(solution: Any) -> None:
    function = Failing(3)
    with raises(OSError) as caught:
        solution.retry(function, attempts=3, sleep=function.events.append)
    assert caught[0] is function.errors[2]


def test_other_exceptions_are_not_retried(solution: Any) -> None:
    function = Failing(2, KeyError)
    with raises(KeyError):
        solution.retry(function, retry_on=(OSError, ValueError), sleep=function.events.append)
    assert same(function.events, ["call"])


def test_chosen_exceptions_are_retried(solution: Any) -> None:
    function = Failing(2, ValueError)
    assert same(
        solution.retry(function, retry_on=(OSError, ValueError), sleep=function.events.append), "answer"
    )


def test_an_interrupt_is_not_retried(solution: Any) -> None:
    for kind in (KeyboardInterrupt, SystemExit):
        function = Failing(1, kind)
        with raises(kind):
            solution.retry(function, sleep=function.events.append)
        assert same(function.events, ["call"])


def test_jitter_lengthens_each_delay_by_a_new_share(solution: Any) -> None:
    function = Failing(3)
    shares = iter([0.0, 0.5, 1.0])
    solution.retry(
        function, base=8.0, limit=10.0, jitter=0.5, sleep=function.events.append, random=lambda: next(shares)
    )
    assert same(function.delays, [8.0, 12.5, 15.0])


def test_without_jitter_no_random_number_is_asked_for(solution: Any) -> None:
    function = Failing(2)

    def never() -> float:
        raise AssertionError("random was asked")

    assert same(solution.retry(function, sleep=function.events.append, random=never), "answer")
    assert same(function.delays, [0.5, 1.0])


def test_senseless_arguments_are_refused_before_the_first_call(solution: Any) -> None:
    for wrong in ({"attempts": 0}, {"attempts": -1}, {"base": -1.0}, {"limit": -0.1}, {"jitter": -0.5}):
        function = Failing(0)
        with raises(ValueError):
            solution.retry(function, sleep=function.events.append, **wrong)
        assert same(function.events, [])
