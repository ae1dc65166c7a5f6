"""What docs/footprints.md says of recorded launches holds, and its tables are today's formulas'."""

import re
from pathlib import Path
from statistics import median

import pytest

from gpumod.core.spec import EngineKind
from gpumod.core.units import MIB
from tests.estimate.proof.launches import SEEN
from tests.estimate.proof.page import written
from tests.estimate.proof.reasons import reason
from tests.estimate.proof.tables import ANOTHER, LIKE, NOTHING, cases, missed, pool_range, tables
from tests.estimate.vllm import readings as vllm

PAGE = Path(__file__).resolve().parents[2] / "docs/footprints.md"
PUBLISHED = Path(__file__).parent / "vllm/test_published.py"


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    return cases(tmp_path_factory.mktemp("models"))


def test_the_tables_of_the_page_are_current(judged):
    page = PAGE.read_text()
    assert page == written(page, tables(judged)), (
        "run: python -m tests.estimate.proof --write docs/footprints.md"
    )


def test_enough_launches_are_judged(judged):
    untaught = [case for case in judged if (case.sample, case.knowledge) == (SEEN, NOTHING)]
    count = {case.engine: len(case.verdicts) for case in untaught}
    assert count[EngineKind.LLAMA_CPP] >= 24
    assert count[EngineKind.VLLM] >= 6


def test_the_usual_error_is_below_half_a_percent(judged):
    """Not so for vLLM with a cache of a given size, which all its held-out launches have."""
    for case in judged:
        shares = [abs(one.share) for one in case.verdicts if not one.launch.name.endswith("-kvbytes")]
        assert not shares or median(shares) < 0.5, (case.engine, case.sample, case.knowledge)


def test_with_nothing_learned_exactly_these_launches_are_off_by_four_percent(judged):
    verdicts = [one for case in judged if case.knowledge == NOTHING for one in case.verdicts]
    far_off = {one.launch.name.split(" context")[0] for one in verdicts if abs(one.share) >= 4}
    assert far_off == {
        "126 nomic-embed batch-2048",
        "next-12l-64e-kvbytes",
        "gptoss-20b-kvbytes",
        "7b-gptq-kvbytes",
    }


def test_with_nothing_learned_or_any_one_launch_seen_exactly_these_are_under_by_100_mib(judged):
    chosen = (case for case in judged if case.knowledge in {NOTHING, ANOTHER})
    verdicts = [one for case in chosen for one in case.verdicts]
    assert {one.launch.name for one in verdicts if one.error <= -100 * MIB} == {
        "next-12l-64e-kvbytes",
        "gptoss-20b-kvbytes",
        "8b-fp8-kvbytes",
        "dsv2-lite-kvbytes",
        "llama31-8b-16k-kvbytes",
        "8b-awq-kvbytes",
        "7b-gptq-kvbytes",
    }


def test_what_is_carried_over_is_under_only_where_pictures_are_shown(judged):
    for one in (one for case in judged if case.knowledge == LIKE for one in case.verdicts):
        if "projector" not in one.launch.parameters:
            assert one.error > -100 * MIB, (one.launch.name, one.teacher.name)


def test_every_miss_has_its_reason(judged):
    for verdicts in missed(judged).values():
        assert reason(verdicts[0].launch), verdicts[0].launch.name


@pytest.mark.parametrize(
    "reading", [one for one in vllm.every() if one.complete], ids=lambda one: f"{one.file} {one.name}"
)
def test_the_cache_of_vllm_is_known_within_a_block_of_what_the_log_s_rounding_leaves(reading):
    least, most = pool_range(reading)
    assert least - 1 <= reading.blocks <= most + 1


def test_the_page_names_every_published_log_that_is_tested():
    section = PAGE.read_text().partition("## Published logs")[2].partition("\n## ")[0]
    assert set(re.findall(r"https://[^\s\")>]+", section)) == set(
        re.findall(r"https://[^\s\"]+", PUBLISHED.read_text())
    )
