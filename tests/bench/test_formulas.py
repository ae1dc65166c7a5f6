"""Numbers of samples to metrics, and the page that defines them."""

import math
from pathlib import Path

import pytest

from gpumod.bench.formulas import Formula, Pooling, metrics
from gpumod.bench.formulas_page import formulas, page
from gpumod.core.job import Outcome, Sample

PAGE = Path(__file__).resolve().parents[2] / "docs/benchmark-formulas.md"


def samples(*numbers):
    return [Sample("t", f"case-{place}", Outcome.OK, numbers=one) for place, one in enumerate(numbers)]


def test_the_page_is_written_from_the_tables():
    assert PAGE.read_text() == page(), (
        "run: python -m gpumod.bench.formulas_page > docs/benchmark-formulas.md"
    )


def test_ids_are_unique_and_ratios_have_their_parts():
    every = [one for those in formulas().values() for one in those]
    ids = [one.id for one in every]
    assert len(ids) == len(set(ids))
    assert all(part in ids for one in every for part in one.of or ())
    assert all((one.of is not None) == (one.pooling is Pooling.RATIO) for one in every)


def test_each_setting_has_its_own_metric():
    speed = Formula("s.v1", "x", "", larger_is_better=True)
    found = metrics([speed], samples({"s.v1@1": 1.0}, {"s.v1@2": 5.0}, {"s.v1@1": 3.0}, {"other.v1@1": 9.0}))
    assert [(one.formula, one.value, one.count) for one in found] == [("s.v1@1", 2.0, 2), ("s.v1@2", 5.0, 1)]
    assert found[0].by_case == {"case-0": 1.0, "case-2": 3.0}
    assert found[0].low == 0.0  # 2 - 12.7 is below the scale
    assert found[0].high == pytest.approx(2 + 12.706 * math.sqrt(2) / math.sqrt(2), abs=1e-3)
    assert (found[1].low, found[1].high) == (None, None)


@pytest.mark.parametrize(
    ("pooling", "value"),
    [(Pooling.FIRST, 3.0), (Pooling.MOST, 7.0), (Pooling.SUM, 15.0), (Pooling.MEAN, 5.0)],
)
def test_poolings(pooling, value):
    (one,) = metrics(
        [Formula("m.v1", "x", "", pooling=pooling)], samples(*({"m.v1": n} for n in (3.0, 7.0, 5.0)))
    )
    assert one.value == value


def test_a_ratio_is_pooled_and_not_a_mean_of_ratios():
    ratio = Formula("r.v1", "share", "", pooling=Pooling.RATIO, of=("a.v1", "d.v1"))
    (one,) = metrics([ratio], samples({"a.v1": 90, "d.v1": 100}, {"a.v1": 0, "d.v1": 10}, {"a.v1": 5}))
    assert one.value == pytest.approx(90 / 110)
    assert one.by_case == {"case-0": 0.9, "case-1": 0.0}
    assert one.low is not None
    assert one.high is not None
    assert 0 <= one.low <= 90 / 110 <= one.high <= 1
    assert metrics([ratio], samples({"d.v1": 0, "a.v1": 0})) == ()
