"""Reports of every suite that there is, by its own formulas."""

import json

import pytest

from gpumod.bench import formulas
from gpumod.bench.formulas import Formula
from gpumod.bench.formulas_page import formulas as by_suite
from gpumod.bench.report import ReportFormat, render
from gpumod.bench.report.shapes import shape_of
from gpumod.bench.suites import SUITES
from gpumod.core.job import JobId, Outcome, Result, Sample
from gpumod.core.job_ports import Endpoint
from tests.bench.report.examples import PROVENANCE, job

FORMULAS = {name: tuple(those) for name, those in by_suite().items()}


OWN = {"coding", "smoke"} & set(SUITES)
"""Those that make their metrics themselves, under the same formulas."""


def ids(suite: str) -> set[str]:
    """The formulas that a suite measures by."""
    return {one.id for one in FORMULAS[suite]}


@pytest.mark.parametrize("suite", SUITES)
def test_a_headline_names_formulas_that_exist(suite: str) -> None:
    shape, known = shape_of(suite), ids(suite)
    for wanted in (*shape.first, *(one for grid in shape.grids for one in grid.formulas.values())):
        assert any(one == wanted or one.startswith(wanted.rstrip("*")) for one in known), wanted
    assert set(shape.full()) <= known


def samples(known: tuple[Formula, ...]) -> list[Sample]:
    """Three samples that have every number at two settings."""
    numbers = {f"{one.id}{setting}": 0.5 for one in known for setting in ("@512", "@a b")}
    return [
        Sample("chat", f"c{number}", Outcome.OK, 1.0, numbers, {}, 60.0 * number, 1.0) for number in range(3)
    ]


def own_samples(suite: str) -> list[Sample]:
    """One for each case of three rounds."""
    one, numbers = SUITES[suite](), {formula.id: 0.5 for formula in FORMULAS[suite]}
    parameters = one.parameters({"iterations": 3} if suite == "coding" else {"attempts": 3})
    cases = one.cases(parameters, Endpoint("chat", "http://127.0.0.1:1", "m", "llama.cpp"))
    return [
        Sample("chat", case.key, Outcome.OK, 1.0, numbers, {}, 60.0 * place, 1.0)
        for place, case in enumerate(cases)
    ]


@pytest.mark.parametrize("suite", FORMULAS)
def test_every_number_of_every_suite_is_in_the_report_with_what_it_means(suite: str) -> None:
    if suite in OWN:
        taken = own_samples(suite)
        found = SUITES[suite]().metrics(taken, {})
    else:
        taken = samples(FORMULAS[suite])
        found = formulas.metrics(FORMULAS[suite], taken)
    result = Result(
        JobId("J1"), "chat", suite, "1", "00", {}, PROVENANCE, found, {"ok": 3}, 1.0, 2.0
    )  # fmt: skip
    texts = {kind: render(job(suite=suite), [result], taken, kind) for kind in ReportFormat}
    metrics = json.loads(texts[ReportFormat.JSON])["targets"][0]["metrics"]
    assert len(metrics) == len(found) > 0
    assert all(one["definition"] for one in metrics)
    for metric in found:
        assert metric.formula in texts[ReportFormat.HTML]
    assert texts[ReportFormat.HTML].count("<svg") > 1
    assert any(n in texts[ReportFormat.MARKDOWN] for n in ("n = 3)", "| 3 |"))
