"""Virtual time, and what makes it pass."""

import asyncio

from gpumod.testing.clock import FakeClock


async def test_a_sleeper_that_was_cancelled_does_not_make_a_long_jump_a_short_one():
    """Real work of a few milliseconds ends before an hour of virtual time has passed."""
    clock = FakeClock()
    began = clock.now()
    near, far = (asyncio.create_task(clock.sleep(seconds)) for seconds in (1.0, 3600.0))
    await asyncio.sleep(0)
    near.cancel()
    await asyncio.sleep(0.01)
    assert clock.now() == began
    await far
    assert clock.now() == began + 3600.0
