"""A simulated box per test, closed at its end."""

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from gpumod.testing.box import SimulatedBox


class _AtOnce(ThreadPoolExecutor):
    """No threads: virtual time would pass while they work."""

    def submit(self, fn, /, *args, **named):
        done: Future[object] = Future()
        try:
            done.set_result(fn(*args, **named))
        except Exception as error:  # noqa: BLE001 - for whoever waits for it
            done.set_exception(error)
        return done


@pytest.fixture
async def make_box():
    asyncio.get_running_loop().set_default_executor(_AtOnce())
    boxes = []

    async def make(*modes, start=True, **fields):
        box = SimulatedBox(*modes, **fields)
        boxes.append(box)
        if start:
            await box.start()
        return box

    yield make
    for box in boxes:
        await box.supervisor.close()
