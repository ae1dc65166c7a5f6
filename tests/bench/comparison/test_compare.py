"""Two published comparisons in form, and what keeps a comparison honest."""

from dataclasses import replace

import pytest

from gpumod.bench.comparison import compare, markdown, recommend, report
from gpumod.bench.comparison.findings import adjusted, finding
from gpumod.bench.statistics import paired_bootstrap
from gpumod.core.errors import InvalidRequestError
from gpumod.core.job import JobId, Metric
from gpumod.core.names import ModeId, PresetId, ServiceId
from gpumod.core.spec import EngineKind, Mode, ServiceSpec
from gpumod.core.units import GIB
from tests.bench.comparison.made import attempts, numbers, points, provenance, result, service

IMATRIX = [50.0 + 0.1 * (number % 5) for number in range(15)]
QAT = [speed * (1.2 + 0.01 * (number % 3 - 1)) for number, speed in enumerate(IMATRIX)]
QAT_FILE = {"path": "/models/gemma-qat-Q4_0.gguf", "size": 90, "modified_ns": 1}


@pytest.fixture(autouse=True)
def _fewer_resamples(monkeypatch):
    monkeypatch.setattr("gpumod.bench.comparison.findings._RESAMPLES", 1000)


def mode(name: str, preset: str) -> Mode:
    spec = ServiceSpec(id=ServiceId(preset), preset=PresetId(preset), engine=EngineKind.LLAMA_CPP)
    return Mode(id=ModeId(name), services=(spec,))


def the_published_pair():
    base = result(
        "imatrix",
        points("coding.points.v1", [100.0] * 15),
        numbers("speed.decode.client.v1", "tokens/s", IMATRIX),
    )
    other = result(
        "qat",
        points("coding.points.v1", [100.0] * 15),
        numbers("speed.decode.client.v1", "tokens/s", QAT),
        provenance=provenance(service(files=[QAT_FILE])),
    )
    return base, other


def test_fifteen_iterations_of_qat_against_imatrix():
    found = compare(the_published_pair())
    score, speed = found.pairs[0].findings
    assert score.verdict == "no difference shown"
    assert score.sentence.startswith("no difference shown (100 against 100 points")
    assert speed.sentence == "qat decodes 20 % faster than imatrix (+20 to +20 %, n=15 pairs)"
    assert speed.relative == pytest.approx(0.2, abs=0.001)
    assert None not in (speed.low, speed.relative, speed.high)
    assert sorted([speed.high or 0, speed.low or 0, speed.relative or 0]) == [
        speed.low,
        speed.relative,
        speed.high,
    ]
    assert speed.better is True
    # 2 axes: neither is credited.
    assert [axis.name for axis in found.axes] == ["model", "quantisation"]
    assert found.axes[1].values == ("Q4_K_M", "Q4_0")
    assert "cannot be credited to any one of them alone" in found.credit


@pytest.mark.parametrize("formula", ["speed.memory.peak.v1", "speed.memory.idle.v1", "soak.ended.v1@refused"])
def test_a_maximum_that_never_changed_is_no_mean_of_as_many_samples(formula):
    """One reading that was taken twelve times is one piece of evidence."""
    base, other = (
        Metric(formula, held, "bytes", None, None, 12, False, {f"c{n}": held for n in range(12)})
        for held in (18_450_000.0, 18_460_000.0)
    )
    found = finding(base, other, ("a", "b"))
    assert (found.verdict, found.p, found.better) == ("not tested", None, None)


def test_a_small_difference_that_is_shown_does_not_look_like_none():
    base = numbers("speed.decode.client.v1", "tokens/s", [100.0 + n / 100 for n in range(12)])
    other = numbers("speed.decode.client.v1", "tokens/s", [99.6 + n / 100 for n in range(12)])
    assert "(-0.4 to -0.4 %, n=12 pairs)" in finding(base, other, ("a", "b")).sentence


def test_very_many_pairs_are_taken_together_before_they_are_resampled(monkeypatch):
    from gpumod.bench.comparison import findings

    resampled = []

    def bootstrap(first, second, **options):
        resampled.append(len(first))
        return paired_bootstrap(first, second, **options)

    monkeypatch.setattr(findings, "paired_bootstrap", bootstrap)
    slow = [10.0 + number % 7 for number in range(21_001)]
    base = numbers("speed.decode.client.v1", "tokens/s", slow)
    other = numbers("speed.decode.client.v1", "tokens/s", [1.1 * one for one in slow])
    found = finding(base, other, ("a", "b"))
    assert found.sentence == "b decodes 10 % faster than a (+10 to +10 %, n=21001 pairs)"
    assert resampled == [1909]  # by eleven, and without the ten that are left


def test_the_faster_one_of_the_same_score_is_recommended():
    told = report(the_published_pair(), [mode("hermes-agent", "imatrix"), mode("code", "other")])
    (one,) = told.recommendations
    assert one.commands == ("gpumodctl mode set hermes-agent --replace imatrix=qat",)
    assert any("decodes 20 % faster" in reason for reason in one.reasons)
    assert any(reason.startswith("Quality: no difference shown") for reason in one.reasons)


def test_eleven_against_fourteen_of_fifteen_shows_no_difference():
    base = result("heretic", attempts("smoke.passed.v1", 11, 15), suite="smoke")
    other = result("baseline", attempts("smoke.passed.v1", 14, 15), suite="smoke")
    told = report([base, other], [mode("agent", "heretic")])
    found = told.comparisons[0].pairs[0].findings[0]
    assert found.sentence == "no difference shown (11/15 against 14/15, Fisher p = 0.33)"
    assert found.p == pytest.approx(0.3295, abs=1e-4)
    assert (found.verdict, found.better) == ("no difference shown", None)
    assert told.recommendations[0].commands == ()


def test_a_quality_that_came_out_much_lower_is_not_recommended_although_that_is_not_shown():
    base, other = the_published_pair()
    base = replace(base, metrics=(*base.metrics, attempts("coding.perfect.v1", 14, 15)))
    other = replace(other, metrics=(*other.metrics, attempts("coding.perfect.v1", 11, 15)))
    (one,) = report([base, other], [mode("agent", "imatrix")]).recommendations
    assert one.commands == ()
    assert "neither shown nor ruled out" in one.reasons[0]


def test_fewer_errors_are_no_loss_and_more_are():
    base, other = the_published_pair()
    for first, second, commands in ((5, 1, 1), (1, 5, 0), (0, 3, 0)):
        errors = [
            replace(attempts("coding.failed.v1", n, 15), larger_is_better=False) for n in (first, second)
        ]
        sides = [
            replace(one, metrics=(*one.metrics, error))
            for one, error in zip((base, other), errors, strict=True)
        ]
        (told,) = report(sides, [mode("m", "imatrix")]).recommendations
        assert len(told.commands) == commands, (first, second)


def test_the_same_scenarios_pair_and_only_disagreements_count():
    keys = [f"cli-40/task-{number}" for number in range(40)]

    def scored(lost):
        by_case = {key: float(key not in lost) for key in keys}
        return Metric("quality.points.v1", 100 - 2.5 * len(lost), "points", None, None, 40, True, by_case)

    found = finding(scored(keys[:10]), scored(()), ("a", "b"))
    assert found.test == "exact McNemar"
    assert found.p == pytest.approx(2 / 2**10)
    assert found.sentence == (
        "b is higher in quality.points.v1 than a (30/40 against 40/40, McNemar p = 0.002, n=40 pairs)"
    )


def test_only_common_cases_are_paired_and_that_is_said():
    first = numbers("speed.decode.client.v1", "tokens/s", [10.0 + number for number in range(8)])
    second = numbers("speed.decode.client.v1", "tokens/s", [20.0 + number for number in range(12)])
    found = finding(first, second, ("a", "b"))
    assert found.count == 8
    assert found.second == 23.5  # the mean of its first eight, not of its twelve
    assert "4 cases of one of them alone left out" in found.sentence


def test_too_few_pairs_show_nothing_however_large_the_difference():
    first = numbers("speed.decode.client.v1", "tokens/s", [10.0, 11.0, 12.0])
    found = finding(first, numbers("speed.decode.client.v1", "tokens/s", [20.0, 22.0, 24.0]), ("a", "b"))
    assert found.verdict == "no difference shown"
    assert found.sentence.endswith("fewer than 6 pairs cannot show one")


def test_less_time_is_better():
    values = [10.0 + 0.1 * number for number in range(10)]
    first = numbers("coding.request_seconds.v1", "s", values, larger=False)
    second = numbers("coding.request_seconds.v1", "s", [0.8 * one for one in values], larger=False)
    found = finding(first, second, ("a", "b"))
    assert found.better is True
    assert found.sentence.startswith(
        "b takes 20 % less time (coding.request_seconds.v1) than a (-20 to -20 %"
    )


def test_a_sum_or_a_maximum_is_not_tested_by_its_mean():
    first = Metric("speed.memory.peak.v1", 30.0, "bytes", None, None, 2, False, {"a": 10.0, "b": 30.0})
    found = finding(first, replace(first, value=60.0, by_case={"a": 60.0, "b": 20.0}), ("a", "b"))
    assert (found.verdict, found.p, found.relative) == ("not tested", None, 1.0)
    assert "30 against 60 bytes" in found.sentence


def test_a_formula_or_a_setting_that_only_one_has_is_not_compared():
    base = result("a", points("coding.points.v1", [1.0] * 9), numbers("speed.ttft.v1@512", "s", [1.0] * 9))
    other = result("b", points("coding.points.v2", [2.0] * 9), numbers("speed.ttft.v1@4096", "s", [2.0] * 9))
    pair = compare([base, other]).pairs[0]
    assert pair.findings == ()
    assert "coding.points.v2" in pair.notes[0]
    assert "speed.ttft.v1@4096" in pair.notes[0]


def test_holm_counts_every_test():
    shown = numbers("x.y.v1", "tokens/s", [1.0 + number for number in range(10)])
    one = finding(
        shown, replace(shown, by_case={k: 2 * v for k, v in shown.by_case.items()}, value=11.0), ("a", "b")
    )
    assert one.p == pytest.approx(2 / 2**10)
    made = adjusted([replace(one, p=0.04), replace(one, p=0.01), replace(one, p=None), replace(one, p=0.03)])
    assert [each.adjusted_p for each in made] == [
        pytest.approx(0.06),
        pytest.approx(0.03),
        None,
        pytest.approx(0.06),
    ]


def test_many_tests_are_warned_of():
    base, other = the_published_pair()
    one_run, many = compare([base, other]).pairs[0].notes
    assert "how much two runs of the very same thing differ is not in them" in one_run
    assert "2 tests were made" in many
    assert "1 show one here; 1 still do" in many


def test_a_busy_host_is_warned_of():
    base, other = the_published_pair()
    loaded = provenance(host_load_at_end={"load_max": 12.0})
    found = compare([base, replace(other, provenance=loaded)])
    assert found.warnings == ("The host was busy while qat was measured: up to 75 % of its processors",)


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"suite_version": "2"}, "Different states of the suite"),
        ({"suite_hash": "b" * 64}, "Different states of the suite"),
        (
            {"parameters": {"iterations": 15, "max_tokens": 128}},
            "parameter max_tokens differs (4096 against 128)",
        ),
        ({"parameters": {"iterations": 15, "max_tokens": 4096, "packs": ["own@1"]}}, "Packs of your own"),
    ],
)
def test_what_was_not_the_same_task_is_not_compared(more, word):
    base, other = the_published_pair()
    told = report([base, replace(other, **more)], [mode("m", "imatrix")])
    found = told.comparisons[0]
    assert found.pairs == ()
    assert word in found.not_comparable[0]
    assert word.replace("(", "\\(") or word in markdown(told)
    assert told.recommendations[0].commands == ()
    assert "not comparable" in told.recommendations[0].reasons[0]


def test_a_result_that_cannot_be_trusted_says_so_first_and_recommends_nothing():
    base, other = the_published_pair()
    told = report([base, replace(other, integrity=("a browser held memory",))], [mode("m", "imatrix")])
    assert told.comparisons[0].warnings == ("Do not trust qat: a browser held memory",)
    assert told.recommendations[0].commands == ()
    assert "should not be trusted" in told.recommendations[0].reasons[0]
    page = markdown(told)
    assert page.index("Do not trust qat") < page.index("decodes 20 % faster")


def test_samples_that_say_nothing_of_the_model_are_told_of():
    base, other = the_published_pair()
    found = compare([base, replace(other, outcomes={"ok": 12, "refused": 2, "sandbox": 1})])
    assert found.warnings == ("3 of 15 samples of qat say nothing of the model: 1 sandbox, 2 refused",)


def test_speed_without_quality_recommends_nothing():
    base, other = (
        result(name, numbers("speed.decode.client.v1", "tokens/s", values), suite="speed")
        for name, values in (("a", IMATRIX), ("b", QAT))
    )
    (one,) = recommend([compare([base, other])], [mode("m", "a")])
    assert one.commands == ()
    assert "quality was not compared" in one.reasons[0]


def test_speed_and_quality_of_several_suites_are_one_recommendation():
    every = []
    for name, values in (("a", IMATRIX), ("b", QAT)):
        every.append(result(name, numbers("speed.decode.client.v1", "tokens/s", values), suite="speed"))
        every.append(result(name, points("coding.points.v1", [100.0] * 15)))
    told = report(every, [mode("m", "a")])
    assert [one.suite for one in told.comparisons] == ["speed", "coding"]
    assert told.recommendations[0].commands == ("gpumodctl mode set m --replace a=b",)


def test_a_better_score_at_a_lower_speed_is_for_people_to_weigh():
    base = result(
        "a", points("coding.points.v1", [70.0 + n for n in range(15)]), numbers("x.y.v1", "tokens/s", QAT)
    )
    other = result(
        "b", points("coding.points.v1", [80.0 + n for n in range(15)]), numbers("x.y.v1", "tokens/s", IMATRIX)
    )
    (one,) = report([base, other], [mode("m", "a")]).recommendations
    assert one.commands == ()
    assert "only you can weigh" in one.reasons[0]


def test_many_numbers_of_a_lower_speed_are_one_reason_that_names_the_worst():
    slower = [[0.9 * one for one in QAT], [0.5 * one for one in QAT], [0.8 * one for one in QAT]]
    names = [f"speed.decode.client.v1@{depth}" for depth in (512, 4096, 8192)]
    sides = [
        result(side, *(numbers(name, "tokens/s", one) for name, one in zip(names, values, strict=True)))
        for side, values in (("a", [QAT] * 3), ("b", slower))
    ]
    (one,) = report(sides).recommendations
    (said,) = (reason for reason in one.reasons if "speed" in reason)
    assert "lower in 3 numbers, which only you can weigh; the worst: b decodes 50 % slower at 4096" in said


def test_memory_is_written_as_a_size():
    told = report(
        [
            result(name, numbers("x.y.v1", "bytes", [size] * 15))
            for name, size in (("a", GIB), ("b", 20 * GIB))
        ]
    )
    assert "| 1024 MiB | 20.0 GiB |" in markdown(told)


def test_the_same_target_of_two_jobs_is_told_apart():
    base, _ = the_published_pair()
    found = compare([base, replace(base, job=JobId("J2"))])
    assert [side.name for side in found.sides] == ["imatrix (J1)", "imatrix (J2)"]
    assert report([base, replace(base, job=JobId("J2"))]).recommendations == ()


def test_what_cannot_be_compared_is_an_error():
    base, other = the_published_pair()
    for wrong in ([base], [base, base], [base, replace(other, suite="speed")], [base] * 9):
        with pytest.raises(InvalidRequestError):
            compare(wrong)
    with pytest.raises(InvalidRequestError, match="two results of one suite are needed"):
        report([base, replace(other, suite="speed")])


def test_names_of_others_make_no_markup():
    base, other = the_published_pair()
    page = markdown(report([base, replace(other, target="<b>|x|\n# head")]))
    assert "<b>" not in page
    assert "\n# head" not in page
    assert "\\|x\\|" in page


def test_no_sentence_ever_says_equal():
    base, other = the_published_pair()
    page = markdown(report([base, replace(other, metrics=base.metrics)]))
    assert "no difference shown" in page
    assert "equal" not in page
