"""Waiting in tests: for as long as it takes on a busy machine, since only a failure takes all of it."""

import asyncio
import time

PATIENCE = 60.0


async def until(condition, pause: float = 0.0005) -> None:
    """Wait for a condition that nothing tells of."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"
        await asyncio.sleep(pause)
