"""What a key may use."""

from hypothesis import given
from hypothesis import strategies as st

from gpumod.gateway.demand.limits import Bucket, Meter


def test_a_bucket_fills_evenly():
    bucket = Bucket(2, 10.0, 2.0, 0.0)
    assert bucket.take(0.0) == 0.0
    assert bucket.take(0.0) == 0.0
    assert bucket.take(0.0) == 5.0
    assert bucket.take(2.5) == 2.5
    assert bucket.take(5.0) == 0.0


@given(st.integers(1, 20), st.floats(0.5, 100), st.lists(st.floats(0, 10), max_size=60))
def test_no_window_has_more_than_twice_its_share(count, seconds, pauses):
    bucket, now, taken = Bucket(count, seconds, float(count), 0.0), 0.0, []
    for pause in pauses:
        now += pause
        if bucket.take(now) == 0.0:
            taken.append(now)
    for start in taken:
        assert sum(start <= at <= start + seconds for at in taken) <= 2 * count


@given(st.integers(1, 5), st.floats(1, 100), st.lists(st.floats(0, 5), max_size=30))
def test_the_time_that_is_told_is_enough(count, seconds, pauses):
    bucket, now = Bucket(count, seconds, float(count), 0.0), 0.0
    for pause in pauses:
        now += pause
        after = bucket.take(now)
        if after:
            now += after + 1e-6
            assert bucket.take(now) == 0.0


def test_a_key_without_limits_has_none():
    meter = Meter(None, None, 0.0)
    assert all(meter.enter(0.0) is None for _ in range(1000))


def test_a_request_that_may_not_run_at_once_costs_none_of_the_rate():
    meter = Meter(1, (2, 60.0), 0.0)
    assert meter.enter(0.0) is None
    assert meter.enter(0.0) is not None
    meter.leave()
    assert meter.enter(0.0) is None


def test_what_exceeds_the_rate_is_not_inside():
    meter = Meter(None, (1, 60.0), 0.0)
    assert meter.enter(0.0) is None
    exceeded = meter.enter(15.0)
    assert exceeded is not None
    assert exceeded.after == 45.0
    assert meter.inside == 1
