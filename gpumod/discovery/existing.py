"""What the user's folder has already."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gpumod.config.catalog import load_catalog
from gpumod.config.documents import DocumentError, read_text
from gpumod.config.settings import Settings
from gpumod.config.sources import Kind, Reader, Source
from gpumod.core.spec import Catalog, ServiceSpec
from gpumod.discovery.marks import is_ours


@dataclass(frozen=True, slots=True)
class Written:
    """A file of the user's folder; `ours` is whether init wrote it and nobody changed it."""

    id: str
    path: Path
    ours: bool


@dataclass(frozen=True, slots=True)
class Existing:
    """Everything that must not be overwritten.

    Args:
        catalog: presets and modes as they are.
        presets: files of presets by id.
        modes: files of modes by id.
        by_model: presets in use by the real path of their model.
    """

    catalog: Catalog
    presets: Mapping[str, Written]
    modes: Mapping[str, Written]
    by_model: Mapping[str, ServiceSpec]

    @property
    def ids(self) -> frozenset[str]:
        """Ids and names of files that are taken."""
        catalog = self.catalog
        names = {*self.presets, *self.modes, *(name for name, _ in catalog.disabled)}
        names |= {path.path.stem for path in (*self.presets.values(), *self.modes.values())}
        names |= {name for spec in catalog.presets for name in (str(spec.preset), spec.name, *spec.aliases)}
        return frozenset(names)


def existing(settings: Settings) -> Existing:
    """Read the user's folder. Never raises for what is in it."""
    catalog = load_catalog(settings)
    reader = Reader(settings.variables)
    by_model = {
        real(spec.model): spec for spec in catalog.presets if spec.model and spec.model.startswith("/")
    }
    return Existing(catalog, _files(reader, settings, "presets"), _files(reader, settings, "modes"), by_model)


def real(path: str) -> str:
    """A path without links, so that two ways to one file are the same."""
    return os.path.realpath(path)


def unchanged_ours(path: Path) -> bool:
    """Whether a file is there, written by init, and not changed since."""
    try:
        return is_ours(read_text(path))
    except DocumentError:
        return False


def _files(reader: Reader, settings: Settings, kind: Kind) -> dict[str, Written]:
    sources: Iterable[Source] = reader.users(settings.config_dir / kind)[0]
    found = {}
    for source in sources:
        path = Path(source.document.file)
        found[source.id] = Written(source.id, path, unchanged_ours(path))
    return found
