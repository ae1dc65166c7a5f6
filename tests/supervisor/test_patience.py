import pytest

from gpumod.supervisor.patience import Patience
from gpumod.testing.clock import FakeClock


async def looks_until_over(clock: FakeClock, patience: Patience, pause: float) -> int:
    looks = 0
    while patience.left():
        looks += 1
        await clock.sleep(pause)
    return looks


@pytest.mark.parametrize(("bound", "pause", "looks"), [(15.0, 0.5, 30), (0.5, 0.1, 5), (600.0, 4.0, 150)])
async def test_without_a_standstill_it_is_the_bound(bound, pause, looks):
    clock = FakeClock()
    patience = Patience(clock, bound)
    assert await looks_until_over(clock, patience, pause) == pytest.approx(looks, abs=1)
    assert patience.waited == pytest.approx(bound, abs=pause)


async def test_a_standstill_counts_for_a_third_at_the_most():
    clock = FakeClock()
    patience = Patience(clock, 15.0)
    clock.stand_still(3600.0, after=5)
    assert await looks_until_over(clock, patience, 0.5) == pytest.approx(20, abs=1)
    assert patience.waited > 3600


async def test_a_bound_of_nothing_is_over_at_once():
    assert not Patience(FakeClock(), 0.0).left()
