"""A simulated box per test, closed at its end."""

import asyncio

import pytest

from gpumod.testing.box import SimulatedBox
from tests.at_once import AtOnce


@pytest.fixture
async def make_box():
    asyncio.get_running_loop().set_default_executor(AtOnce())
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
