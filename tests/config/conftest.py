"""A folder of the user's, and what loading it says."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from gpumod.config import load_catalog, load_settings
from gpumod.core.spec import Catalog, Problem

ENV = {"HOME": "/home/ada"}


@dataclass
class Folder:
    path: Path

    def write(self, name: str, text: str) -> Path:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target

    def settings(self, **env: str):
        return load_settings(self.path, ENV | env)

    def catalog(self, **env: str) -> Catalog:
        return load_catalog(self.settings(**env))

    def preset(self, name: str, text: str) -> Path:
        return self.write(f"presets/{name}.yaml", text)

    def mode(self, name: str, text: str) -> Path:
        return self.write(f"modes/{name}.yaml", text)

    def problem(self, *, warning: bool = False) -> Problem:
        """The one problem of the catalog."""
        (problem,) = self.catalog().problems
        assert problem.warning is warning
        return problem


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path.resolve())
