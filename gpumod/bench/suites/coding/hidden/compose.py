"""Level `compose`: a dispatcher out of three given modules."""

from __future__ import annotations

from _thread import _count, allocate_lock
from collections.abc import Callable
from typing import Any

from gpumod.bench.suites.coding.hidden.checking import PATIENCE, Background, Barrier, Event, a_moment, same


def ended(dispatcher: Any) -> Any:
    """The results of a run, which has to end in time."""
    return Background(dispatcher.run).end()


def failing(times: int, error: BaseException, calls: list[str]) -> Callable[[], str]:
    """A job that fails so many times."""

    def job() -> str:
        calls.append("call")
        if len(calls) <= times:
            raise error
        return "answer"

    return job


def no_sleep(seconds: float) -> None:
    """Instead of waiting."""


def test_results_have_tickets_and_values(solution: Any) -> None:
    dispatcher = solution.Dispatcher(sleep=no_sleep)
    tickets = [dispatcher.submit(lambda number=number: number * 10) for number in range(3)]
    assert all(type(ticket) is int and ticket >= 1 for ticket in tickets)
    assert same(len(set(tickets)), 3)
    assert same(
        list(ended(dispatcher)), [(ticket, "done", 10 * place) for place, ticket in enumerate(tickets)]
    )


def test_the_largest_priority_runs_first_and_equal_ones_in_order(solution: Any) -> None:
    dispatcher = solution.Dispatcher(workers=1, sleep=no_sleep)
    ran: list[str] = []
    for name, priority in (("c", 0), ("a", 5), ("d", 0), ("b", 5), ("e", -1)):
        dispatcher.submit(lambda name=name: ran.append(name), priority=priority)
    ended(dispatcher)
    assert same(ran, ["a", "b", "c", "d", "e"])


def test_a_failing_job_is_tried_again_with_growing_delays(solution: Any) -> None:
    delays: list[float] = []
    calls: list[str] = []
    dispatcher = solution.Dispatcher(attempts=4, base=0.25, sleep=delays.append)
    ticket = dispatcher.submit(failing(3, OSError("x"), calls))
    assert same(list(ended(dispatcher)), [(ticket, "done", "answer")])
    assert same(delays, [0.25, 0.5, 1.0])
    assert same(len(calls), 4)


def test_a_job_that_always_fails_is_reported_with_its_exception(solution: Any) -> None:
    error = OSError("always")
    calls: list[str] = []
    dispatcher = solution.Dispatcher(attempts=3, sleep=no_sleep)
    bad = dispatcher.submit(failing(99, error, calls), priority=1)
    good = dispatcher.submit(lambda: "fine")
    assert same(list(ended(dispatcher)), [(bad, "failed", error), (good, "done", "fine")])
    assert same(len(calls), 3)


def test_an_exit_is_a_failure_and_not_tried_again(solution: Any) -> None:
    calls: list[str] = []
    error = SystemExit("stop")
    dispatcher = solution.Dispatcher(sleep=no_sleep)
    bad = dispatcher.submit(failing(99, error, calls), priority=1)
    good = dispatcher.submit(lambda: "fine")
    assert same(list(ended(dispatcher)), [(bad, "failed", error), (good, "done", "fine")])
    assert same(calls, ["call"])


def test_a_cancelled_job_never_runs(solution: Any) -> None:
    ran: list[str] = []
    dispatcher = solution.Dispatcher(sleep=no_sleep)
    kept, gone = dispatcher.submit(lambda: ran.append("kept")), dispatcher.submit(lambda: ran.append("gone"))
    assert dispatcher.cancel(gone) is True
    assert dispatcher.cancel(gone) is False
    assert same(list(ended(dispatcher)), [(kept, "done", None)])
    assert same(ran, ["kept"])
    assert dispatcher.cancel(kept) is False


def test_a_running_job_cancels_one_that_waits(solution: Any) -> None:
    answers: list[bool] = []
    dispatcher = solution.Dispatcher(sleep=no_sleep)
    later: list[int] = []
    first = dispatcher.submit(lambda: answers.append(dispatcher.cancel(later[0])), priority=1)
    later.append(dispatcher.submit(lambda: answers.append(False)))
    assert same(list(ended(dispatcher)), [(first, "done", None)])
    assert same(answers, [True])


def test_workers_run_at_the_same_time(solution: Any) -> None:
    meeting = Barrier(4)
    dispatcher = solution.Dispatcher(workers=4, attempts=1, sleep=no_sleep)
    for _ in range(8):
        dispatcher.submit(meeting.wait)
    assert same([result[1:] for result in ended(dispatcher)], [("done", True)] * 8)


def test_never_more_jobs_than_workers_run_at_once(solution: Any) -> None:
    lock = allocate_lock()
    running, most = 0, 0

    def job() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        a_moment()
        with lock:
            running -= 1

    dispatcher = solution.Dispatcher(workers=2, sleep=no_sleep)
    for _ in range(6):
        dispatcher.submit(job)
    assert same(len(ended(dispatcher)), 6)
    assert same(most, 2)


def test_each_of_many_jobs_runs_once(solution: Any) -> None:
    ran: list[int] = []
    dispatcher = solution.Dispatcher(workers=8, sleep=no_sleep)
    tickets = [dispatcher.submit(lambda number=number: ran.append(number)) for number in range(400)]
    results = ended(dispatcher)
    assert same(sorted(ran), list(range(400)))
    assert same(sorted(result[0] for result in results), sorted(tickets))


def test_jobs_submitted_by_jobs_run_too(solution: Any) -> None:
    dispatcher = solution.Dispatcher(workers=2, sleep=no_sleep)
    ran: list[int] = []

    def job(depth: int) -> None:
        ran.append(depth)
        if depth < 5:
            dispatcher.submit(lambda: job(depth + 1))

    dispatcher.submit(lambda: job(0))
    assert same(len(ended(dispatcher)), 6)
    assert same(ran, [0, 1, 2, 3, 4, 5])


def test_an_idle_worker_takes_a_job_that_is_submitted_later(solution: Any) -> None:
    """Two workers; the first job's job can only end if the other worker, idle by then, takes it."""
    dispatcher = solution.Dispatcher(workers=2, attempts=1, sleep=no_sleep)
    met = Event()

    def outer() -> bool:
        a_moment()
        dispatcher.submit(met.set)
        return met.wait(PATIENCE)

    ticket = dispatcher.submit(outer)
    assert any(same(result, (ticket, "done", True)) for result in ended(dispatcher))


def test_another_worker_goes_on_while_one_waits_to_retry(solution: Any) -> None:
    other = Event()
    slept: list[bool] = []
    calls: list[str] = []
    dispatcher = solution.Dispatcher(
        workers=2, attempts=2, sleep=lambda seconds: slept.append(other.wait(PATIENCE))
    )
    dispatcher.submit(failing(1, OSError(), calls), priority=2)
    dispatcher.submit(lambda: "between", priority=1)
    dispatcher.submit(other.set)
    assert same(len(ended(dispatcher)), 3)
    assert same(slept, [True])


def test_results_are_in_the_order_in_which_jobs_ended(solution: Any) -> None:
    quick_ended = Event()
    dispatcher = solution.Dispatcher(workers=2, attempts=1, sleep=no_sleep)

    def slow() -> str:
        assert quick_ended.wait(PATIENCE)
        a_moment()
        return "slow"

    def quick() -> str:
        quick_ended.set()
        return "quick"

    first, second = dispatcher.submit(slow, priority=1), dispatcher.submit(quick)
    assert same(list(ended(dispatcher)), [(second, "done", "quick"), (first, "done", "slow")])


def test_a_second_run_has_only_what_came_since(solution: Any) -> None:
    before = _count()
    dispatcher = solution.Dispatcher(workers=3, sleep=no_sleep)
    first = dispatcher.submit(lambda: "first")
    assert same(list(ended(dispatcher)), [(first, "done", "first")])
    assert same(list(ended(dispatcher)), [])
    second = dispatcher.submit(lambda: "second")
    assert second != first
    assert same(list(ended(dispatcher)), [(second, "done", "second")])
    a_moment()
    assert same(_count(), before)
