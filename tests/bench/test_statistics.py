import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpumod.bench.statistics import (
    Verdict,
    binomial_two_sided,
    drift,
    fisher_exact,
    hypergeometric,
    mcnemar_exact,
    mean_interval,
    paired_bootstrap,
    slope_interval,
    student_t_cdf,
    student_t_quantile,
    wilson_interval,
)

numbers = st.floats(-1e6, 1e6)


@given(t=st.floats(-1e4, 1e4))
def test_students_t_is_cauchys_with_one_degree_of_freedom_and_has_a_closed_form_with_two(t):
    assert student_t_cdf(t, 1) == pytest.approx(0.5 + math.atan(t) / math.pi, abs=1e-12)
    assert student_t_cdf(t, 2) == pytest.approx(0.5 + t / (2 * math.sqrt(2 + t * t)), abs=1e-12)


@pytest.mark.parametrize(
    ("probability", "freedom", "value"),
    [(0.975, 1, 12.7062), (0.975, 4, 2.7764), (0.975, 14, 2.1448), (0.995, 9, 3.2498), (0.95, 30, 1.6973)],
)
def test_quantiles_are_those_of_the_printed_tables(probability, freedom, value):
    assert student_t_quantile(probability, freedom) == pytest.approx(value, abs=5e-5)
    assert student_t_quantile(1 - probability, freedom) == pytest.approx(-value, abs=5e-5)


@given(probability=st.floats(0.001, 0.999), freedom=st.floats(0.5, 500))
def test_the_quantile_is_the_inverse_of_the_distribution(probability, freedom):
    assert student_t_cdf(student_t_quantile(probability, freedom), freedom) == pytest.approx(
        probability, abs=1e-9
    )


@pytest.mark.parametrize("probability", [0.0, 1.0, -1.0, math.nan])
def test_a_quantile_of_no_probability_is_refused(probability):
    with pytest.raises(ValueError, match="probability"):
        student_t_quantile(probability, 3)
    with pytest.raises(ValueError, match="freedom"):
        student_t_cdf(1.0, 0)


def test_an_interval_ends_where_its_scale_ends():
    found = mean_interval([100.0] * 14 + [90.0], scale=(0, 100))
    assert found.value == pytest.approx(99.333, abs=1e-3)
    assert found.low == pytest.approx(97.9035, abs=1e-3)
    assert found.high == 100


def test_one_sample_has_no_interval_but_the_whole_scale():
    assert mean_interval([50.0], scale=(0, 100)).low == 0
    assert mean_interval([50.0], scale=(0, 100)).high == 100
    assert mean_interval([50.0]).low == -math.inf


@pytest.mark.parametrize("samples", [[], [math.nan], [1.0, math.inf]])
def test_a_mean_of_nothing_is_refused(samples):
    with pytest.raises(ValueError, match="at least one sample"):
        mean_interval(samples)


@given(samples=st.lists(st.floats(0, 100), min_size=2, max_size=40))
def test_a_mean_lies_in_its_interval_and_the_interval_on_the_scale(samples):
    found = mean_interval(samples, scale=(0, 100))
    assert 0 <= found.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.high <= 100


def test_wilsons_interval_of_all_and_of_none():
    """Values as in Brown, Cai and DasGupta 2001: z²/(n+z²) for none of ten."""
    z = statistics.NormalDist().inv_cdf(0.975) ** 2
    assert wilson_interval(0, 10).high == pytest.approx(z / (10 + z))
    assert wilson_interval(0, 10).low == 0
    assert wilson_interval(15, 15).low == pytest.approx(15 / (15 + z))
    assert wilson_interval(15, 15).high == 1


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_interval_holds_the_rate_and_stays_a_rate(rate):
    found = wilson_interval(*rate)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_a_slope_is_found_with_its_interval():
    found = slope_interval([0, 1, 2, 3], [0.0, 1.1, 1.9, 3.0])
    assert found is not None
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(0.98)
    assert slope_interval([1, 1, 1], [1, 2, 3]) is None
    assert slope_interval([1, 2], [1, 2]) is None


def test_eleven_of_fifteen_against_fourteen_of_fifteen_shows_no_difference():
    found = fisher_exact((11, 15), (14, 15))
    assert found.p == pytest.approx(0.33, abs=0.005)
    assert found.verdict is Verdict.NOT_SHOWN
    assert fisher_exact((2, 15), (14, 15)).verdict is Verdict.HIGHER
    assert fisher_exact((14, 15), (2, 15)).verdict is Verdict.LOWER


def test_fishers_tea_tasting():
    """Fisher 1935: 3 of 4 cups right is p = 0.486 two-sided, 4 of 4 is 0.029."""
    assert fisher_exact((1, 4), (3, 4)).p == pytest.approx(34 / 70)
    assert fisher_exact((0, 4), (4, 4)).p == pytest.approx(2 / 70)


@given(marked=st.integers(0, 12), other=st.integers(0, 12), data=st.data())
def test_the_hypergeometric_probabilities_add_up(marked, other, data):
    drawn = data.draw(st.integers(0, marked + other))
    every = [hypergeometric(count, drawn, marked, marked + other) for count in range(drawn + 1)]
    assert sum(every) == pytest.approx(1)


def test_only_disagreements_count_for_mcnemar():
    agreed = [(True, True)] * 50 + [(False, False)] * 20
    assert mcnemar_exact([*agreed, *[(False, True)] * 5]).p == pytest.approx(2 / 32)
    assert mcnemar_exact([*agreed, *[(False, True)] * 5]).verdict is Verdict.NOT_SHOWN
    found = mcnemar_exact([*agreed, *[(False, True)] * 9, (True, False)])
    assert found.p == pytest.approx(2 * 11 / 1024)
    assert found.verdict is Verdict.HIGHER
    assert mcnemar_exact(agreed).p == 1.0
    assert mcnemar_exact([]).verdict is Verdict.NOT_SHOWN
    assert binomial_two_sided(3, 3) == pytest.approx(0.25)


def test_five_pairs_cannot_show_a_difference_and_six_can():
    assert paired_bootstrap([1.0] * 5, [100.0] * 5).verdict is Verdict.NOT_SHOWN
    found = paired_bootstrap([1.0, 2, 3, 4, 5, 6], [2.0, 3, 4, 5, 6, 7.5])
    assert found.p == pytest.approx(2 / 64)
    assert found.verdict is Verdict.HIGHER


def test_twenty_percent_more_speed_in_fifteen_pairs_is_shown():
    first = [50 + (index * 7 % 5) / 10 for index in range(15)]
    second = [speed * 1.2 + (index * 3 % 4) / 10 for index, speed in enumerate(first)]
    found = paired_bootstrap(first, second)
    assert found.verdict is Verdict.HIGHER
    assert found.low is not None
    assert found.low > 9
    assert paired_bootstrap(second, first).verdict is Verdict.LOWER


def test_the_same_samples_resample_to_the_same_numbers():
    first, second = [3.0, 1, 4, 1, 5, 9, 2], [2.0, 7, 1, 8, 2, 8, 1]
    assert paired_bootstrap(first, second) == paired_bootstrap(first, second)
    assert paired_bootstrap(first, second).verdict is Verdict.NOT_SHOWN


def test_pairs_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="pairs"):
        paired_bootstrap([1.0], [1.0, 2.0])


def test_a_run_that_slows_down_is_seen_and_a_steady_one_is_not():
    slowing = [100.0, 101, 99, 100, 95, 94, 96, 90, 91, 89]
    found = drift(slowing)
    assert found is not None
    assert found.verdict is Verdict.LOWER
    assert drift([1.0, 2, 3, 4, 5]) is None
    for steady in ([100.0, 101, 99, 100, 99, 101], [2.0] * 9):
        found = drift(steady)
        assert found is not None
        assert found.verdict is Verdict.NOT_SHOWN


@given(samples=st.lists(numbers, min_size=6, max_size=30))
def test_a_drift_has_a_probability(samples):
    found = drift(samples)
    assert found is not None
    assert 0 <= found.p <= 1


def test_fair_coins_rarely_seem_different():
    """Of 400 comparisons of the same thing, about one in twenty may err; a bug makes it many."""
    wrong = 0
    for seed in range(400):
        values = [math.sin(seed * 100 + index * index) for index in range(20)]
        wrong += paired_bootstrap(values[:10], values[10:], resamples=200).verdict is not Verdict.NOT_SHOWN
    assert wrong <= 40
