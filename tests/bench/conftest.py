"""A box with a worker per test, closed at its end."""

import asyncio

import pytest

from gpumod.core.units import GIB
from gpumod.testing.box import SimulatedBox, mode, service
from tests.at_once import AtOnce
from tests.bench.worker_box import Bench

CHAT = mode("chat", service("gemma", 20 * GIB), service("embed", 2 * GIB))
CODE = mode("code", service("qwen", 20 * GIB))
SPARE = mode("spare", service("tiny", 1 * GIB))


@pytest.fixture
async def make_bench():
    asyncio.get_running_loop().set_default_executor(AtOnce())
    made = []

    async def make(*, start="chat", cards=1, **pace):
        box = SimulatedBox(CHAT, CODE, SPARE, cards=cards)
        await box.start()
        if start:
            await box.switch(start)
        bench = Bench(box, **pace)
        made.append(bench)
        return bench

    yield make
    for bench in made:
        await bench.close()
