import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from gpumod.hardware.worker import Worker

BOUND = 0.05


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    worker = Worker("test-worker")
    yield worker
    await worker.close(10)


async def test_calls_run_in_one_thread_in_their_order(worker):
    order: list[int] = []

    def note(number: int) -> int:
        order.append(number)
        return threading.get_ident()

    threads = await asyncio.gather(*(worker.run(lambda number=n: note(number), 10) for n in range(5)))
    assert order == [0, 1, 2, 3, 4]
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


async def test_what_a_call_raises_is_raised_where_it_was_asked_for(worker):
    def fail() -> None:
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        await worker.run(fail, 10)
    assert await worker.run(lambda: 1, 10) == 1


async def test_a_hanging_call_is_given_up_without_a_second_thread(worker):
    free = threading.Event()
    ran: list[str] = []
    before = threading.active_count()
    try:
        with pytest.raises(TimeoutError):
            await worker.run(free.wait, BOUND)
        assert worker.busy_for >= BOUND
        for _ in range(50):
            with pytest.raises(TimeoutError):
                await worker.run(lambda: ran.append("given up"), BOUND)
        assert threading.active_count() == before + 1
    finally:
        free.set()
    await worker.run(lambda: ran.append("after"), 10)
    assert ran == ["after"], "calls that were given up are not run later"
    assert worker.busy_for == 0


async def test_a_call_that_could_not_answer_because_all_stood_still_gets_its_time_again(worker, monkeypatch):
    loop, free, stood_still = asyncio.get_running_loop(), threading.Event(), 0.0
    time = loop.time
    monkeypatch.setattr(loop, "time", lambda: time() + stood_still)
    try:
        asking = asyncio.ensure_future(worker.run(free.wait, 60))
        await asyncio.sleep(0.01)
        stood_still = 61.0
        await asyncio.sleep(0.01)  # its time is over, and it was told so too late
        assert not asking.done()
    finally:
        free.set()
    assert await asking is True


async def test_a_cancelled_caller_leaves_the_worker_usable(worker):
    free = threading.Event()
    task = asyncio.create_task(worker.run(free.wait, 10))
    await asyncio.sleep(0)
    task.cancel()
    free.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await worker.run(lambda: 2, 10) == 2


async def test_closing_gives_up_on_a_hanging_thread_which_ends_when_its_call_returns():
    worker = Worker("test-worker")
    free = threading.Event()
    with pytest.raises(TimeoutError):
        await worker.run(free.wait, BOUND)
    assert not await worker.close(BOUND)
    free.set()  # the check for leaked threads sees whether it ends now


async def test_closing_a_worker_that_never_worked_is_nothing():
    assert await Worker("test-worker").close(BOUND)
