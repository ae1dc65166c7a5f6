"""docs/landmines.md is what the table says."""

from pathlib import Path

from gpumod.estimate.landmines import TRAPS
from gpumod.estimate.landmines.page import page

PAGE = Path(__file__).resolve().parents[3] / "docs/landmines.md"


def test_the_page_is_written_from_the_table() -> None:
    assert PAGE.read_text() == page(), "run: python -m gpumod.estimate.landmines > docs/landmines.md"


def test_every_landmine_has_an_entry_with_its_severity_fix_and_source() -> None:
    text = PAGE.read_text()
    for one in TRAPS:
        entry = text.partition(f"### {one.id}\n")[2].partition("###")[0]
        assert one.reason in entry
        assert f"Fix: {one.fix}" in entry
        assert f"Source: {one.source}" in entry
        assert f"*{one.severity}*" in entry


def test_sentences_end_once() -> None:
    for one in TRAPS:
        assert one.reason.endswith(".")
        assert not one.fix.endswith(".")
        assert not one.source.endswith(".")
