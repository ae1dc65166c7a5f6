"""What `doctor` says of one file or folder, however it looks."""

from types import SimpleNamespace
from typing import Any

import pytest

from gpumod.cli import checks
from gpumod.cli.checks import Verdict
from gpumod.core.names import ModeId
from gpumod.core.spec import BLANK_MODE, Catalog, Mode


@pytest.mark.parametrize("below", ["", "state/gpumod"])
def test_a_file_in_the_place_of_the_state_directory_is_bad(tmp_path, below):
    file = tmp_path / "file"
    file.write_text("")
    found = checks._state_directory(file / below)
    assert found.verdict is Verdict.BAD
    assert "is no directory" in found.detail
    assert str(file) in found.detail


def test_a_state_directory_that_is_not_made_yet_is_well(tmp_path):
    assert checks._state_directory(tmp_path / "state/gpumod").verdict is Verdict.OK


def test_one_mode_is_not_many(monkeypatch):
    settings: Any = SimpleNamespace()
    one = Catalog(modes=(BLANK_MODE, Mode(ModeId("chat"), "")))
    monkeypatch.setattr("gpumod.config.catalog.load_catalog", lambda _: one)
    (found,) = checks._catalog(settings)
    assert found.detail == "0 presets, 1 mode besides blank"
