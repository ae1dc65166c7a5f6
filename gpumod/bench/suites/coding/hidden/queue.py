"""Level `queue`: first in, first out, for many threads."""

from __future__ import annotations

from time import monotonic, process_time, sleep
from typing import Any

from gpumod.bench.suites.coding.hidden.checking import Background, a_moment, raises, same, together


def test_items_come_out_in_the_order_in_which_they_went_in(solution: Any) -> None:
    queue = solution.JobQueue()
    for number in range(100):
        queue.put(number)
    assert same([queue.get() for _ in range(100)], list(range(100)))


def test_order_holds_when_puts_and_gets_alternate(solution: Any) -> None:
    queue = solution.JobQueue()
    came = []
    for number in range(50):
        queue.put(2 * number)
        queue.put(2 * number + 1)
        came.append(queue.get())
    assert same(came + [queue.get() for _ in range(50)], list(range(100)))


def test_length_is_the_number_of_items(solution: Any) -> None:
    queue = solution.JobQueue()
    assert same(len(queue), 0)
    queue.put("a")
    queue.put("a")
    assert same(len(queue), 2)
    queue.get()
    assert same(len(queue), 1)


def test_none_is_an_item(solution: Any) -> None:
    queue = solution.JobQueue()
    queue.put(None)
    queue.put(0)
    assert queue.get(timeout=0) is None
    assert same(queue.get(timeout=0), 0)


def test_an_empty_queue_raises_when_the_time_is_over(solution: Any) -> None:
    queue = solution.JobQueue()
    with raises(solution.Empty):
        queue.get(timeout=0)
    began = monotonic()
    with raises(solution.Empty):
        queue.get(timeout=0.2)
    assert monotonic() - began > 0.15


def test_a_full_queue_raises_when_the_time_is_over(solution: Any) -> None:
    queue = solution.JobQueue(2)
    queue.put(1)
    queue.put(2)
    with raises(solution.Full):
        queue.put(3, timeout=0)
    with raises(solution.Full):
        queue.put(3, timeout=0.05)
    assert same([queue.get(), queue.get(), len(queue)], [1, 2, 0])


def test_a_capacity_below_one_is_an_error(solution: Any) -> None:
    for capacity in (0, -1):
        with raises(ValueError):
            solution.JobQueue(capacity)


def test_a_waiting_get_is_woken_by_a_put(solution: Any) -> None:
    queue = solution.JobQueue()
    getting = Background(queue.get)
    a_moment()
    assert getting.running
    queue.put("here")
    assert same(getting.end(), "here")


def test_a_waiting_put_is_woken_by_a_get(solution: Any) -> None:
    queue = solution.JobQueue(1)
    queue.put(1)
    putting = Background(lambda: queue.put(2))
    a_moment()
    assert putting.running
    assert same(queue.get(), 1)
    putting.end()
    assert same(queue.get(), 2)


def test_every_waiting_thread_gets_an_item(solution: Any) -> None:
    """Also where the items come faster than the threads wake."""
    queue = solution.JobQueue()
    getting = [Background(queue.get) for _ in range(8)]
    a_moment()
    for number in range(8):
        queue.put(number)
    assert same(sorted(one.end() for one in getting), list(range(8)))


def test_puts_and_gets_of_a_full_queue_wake_the_right_threads(solution: Any) -> None:
    """Getters and putters wait on one queue of capacity 1: a wake-up for the wrong side hangs it."""
    queue = solution.JobQueue(1)

    def fill() -> None:
        for number in range(300):
            queue.put(number)

    def drain() -> int:
        return sum(queue.get() for _ in range(300))

    sums = together(*[fill] * 4, *[drain] * 4)
    assert same(sum(one for one in sums if one), 4 * sum(range(300)))


def test_no_item_is_lost_or_doubled_among_many_threads(solution: Any) -> None:
    queue = solution.JobQueue(5)

    def fill(first: int) -> None:
        for number in range(500):
            queue.put((first, number))

    def drain() -> list[tuple[int, int]]:
        return [queue.get() for _ in range(500)]

    came = together(*(lambda first=first: fill(first) for first in range(4)), *[drain] * 4)[4:]
    everything = sorted(item for part in came for item in part)
    assert same(everything, [(first, number) for first in range(4) for number in range(500)])
    for part in came:
        for first in range(4):
            numbers = [number for who, number in part if who == first]
            assert same(numbers, sorted(numbers)), "one producer's items were taken out of order"


def test_waiting_costs_no_processor_time(solution: Any) -> None:
    queue = solution.JobQueue()
    getting = [Background(queue.get) for _ in range(3)]
    a_moment()
    assert all(one.running for one in getting)
    before = process_time()
    sleep(0.6)
    used = process_time() - before
    for _ in getting:
        queue.put(1)
    for one in getting:
        one.end()
    assert used < 0.1, "the threads turn in circles while they wait"


def test_a_closed_queue_gives_what_it_has_and_takes_nothing(solution: Any) -> None:
    queue = solution.JobQueue()
    queue.put(1)
    queue.put(2)
    queue.close()
    queue.close()
    with raises(solution.Closed):
        queue.put(3)
    assert same([queue.get(), queue.get()], [1, 2])
    with raises(solution.Closed):
        queue.get()
    with raises(solution.Closed):
        queue.get(timeout=0)


def test_closing_wakes_every_waiting_get(solution: Any) -> None:
    queue = solution.JobQueue()
    getting = [Background(queue.get) for _ in range(4)]
    a_moment()
    queue.close()
    for one in getting:
        with raises(solution.Closed):
            one.end()


def test_closing_wakes_every_waiting_put(solution: Any) -> None:
    queue = solution.JobQueue(1)
    queue.put("kept")
    putting = [Background(lambda: queue.put("late")) for _ in range(4)]
    a_moment()
    queue.close()
    for one in putting:
        with raises(solution.Closed):
            one.end()
    assert same(queue.get(), "kept")
    assert same(len(queue), 0)
