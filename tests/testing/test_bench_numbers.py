import json

import pytest

from gpumod.testing.bench.numbers import Figure, Goal, Skipped, Spread, alone, compared, in_turns, spread
from gpumod.testing.bench.report import as_json, number, table, verdict


def test_a_spread_is_told_by_its_least_median_and_most():
    told = spread([3.0, 1.0, 2.0, 10.0])
    assert (told.least, told.median, told.most, told.count) == (1.0, 2.5, 10.0, 4)


def test_nothing_measured_is_an_error():
    with pytest.raises(ValueError, match="nothing was measured"):
        spread([])


def test_figures_are_compared_round_by_round():
    # The machine is twice as slow in the second round: the ratio does not see it.
    finding = compared("x", "ms", [11.0, 22.0, 11.0], "bare", [10.0, 20.0, 10.0])
    assert finding.ratio is not None
    assert finding.ratio.least == pytest.approx(1.1)
    assert finding.ratio.most == pytest.approx(1.1)
    assert finding.difference == Spread(1.0, 1.0, 2.0, 3)


def test_rounds_that_lack_one_side_are_an_error():
    with pytest.raises(ValueError, match="shorter"):
        compared("x", "ms", [1.0, 2.0], "bare", [1.0])


def test_there_is_no_ratio_to_nothing():
    finding = compared("x", "ms", [1.0, 2.0], "bare", [0.0, 1.0])
    assert finding.ratio is None
    assert finding.difference == Spread(1.0, 1.0, 1.0, 2)


def test_goals_are_about_medians_and_a_figure_on_the_limit_misses():
    finding = compared(
        "x",
        "ms",
        [10.0, 11.0, 900.0],
        "bare",
        [10.0, 10.0, 10.0],
        Goal(Figure.RATIO, 1.2),
        Goal(Figure.DIFFERENCE, 1.0),
        Goal(Figure.OURS, 12.0),
    )
    assert finding.missed() == (Goal(Figure.DIFFERENCE, 1.0),)


def test_a_goal_about_a_figure_that_could_not_be_taken_is_missed():
    assert alone("x", "ms", [1.0], Goal(Figure.RATIO, 2.0)).missed() == (Goal(Figure.RATIO, 2.0),)


def test_turns_alternate_and_who_goes_first_changes():
    order: list[str] = []

    def turn(name):
        order.append(name)
        return len(order)

    first, second = in_turns(3, lambda: turn("a"), lambda: turn("b"))
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert (first, second) == ([1, 4, 5], [2, 3, 6])


def test_the_table_shows_every_figure_and_the_verdict_names_what_was_missed():
    good = alone("start", "ms", [1.0, 2.0, 3.0], Goal(Figure.OURS, 5.0))
    bad = compared("switch", "ms", [2080.0], "engine alone", [2000.0], Goal(Figure.DIFFERENCE, 60.0))
    text = table([good, bad])
    assert "| 2.00 ms (1.00 to 3.00) " in text
    assert "| engine alone: 2000 ms " in text
    assert "| 1.04 x " in text
    assert "< 5.00 ms met" in text
    assert len({len(line) for line in text.splitlines()}) == 1
    assert verdict([good, bad]) == "Missed: switch: difference < 60.0 ms."
    assert verdict([good]) == "Every goal was met."
    assert verdict([alone("x", "ms", [1.0])]) == "No goal was checked."


def test_the_document_is_json_with_the_machine_the_goals_missed_and_what_was_skipped():
    bad = alone("idle", "%", [0.7], Goal(Figure.OURS, 0.5))
    document = json.loads(json.dumps(as_json([bad], [Skipped("nvml", "no gcc")], {"cores": 2})))
    assert document["machine"] == {"cores": 2}
    assert document["findings"][0]["ours"] == {"least": 0.7, "median": 0.7, "most": 0.7, "count": 1}
    assert document["findings"][0]["missed"] == [{"figure": "ours", "below": 0.5}]
    assert document["skipped"] == [{"name": "nvml", "reason": "no gcc"}]


@pytest.mark.parametrize(
    ("value", "text"),
    [(2129.4, "2129"), (45.04, "45.0"), (7.568, "7.57"), (0.0404, "0.040"), (-6.46, "-6.46")],
)
def test_numbers_have_the_digits_that_say_something(value, text):
    assert number(value) == text
