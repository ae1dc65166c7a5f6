"""Finds models of the Hugging Face hub that are on this box."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from gpumod.estimate.errors import ModelFileError
from gpumod.estimate.regular import open_regular

_NAME: Final = re.compile(r"[\w-][\w.-]{0,95}(?:/[\w-][\w.-]{0,95})?")
_COMMIT: Final = re.compile(r"[0-9a-f]{40,64}")
_LONGEST_REF: Final = 128


def find_model(name: str, caches: Iterable[Path], revision: str = "main") -> Path | None:
    """The folder of a hub's model in one of the caches, None where none has it.

    Args:
        name: `org/model`, or the path of a folder, which is its own answer.
        caches: folders such as `$HF_HUB_CACHE` (models directly in it) or `$HF_HOME` (models under `hub`).
        revision: a branch, tag or commit.

    A model lies in `models--org--model/snapshots/COMMIT`; `refs/main` names the commit. Where the ref is
    missing, the newest snapshot with a configuration counts.
    """
    if name.startswith(("/", "./", "../", "~")):
        folder = Path(name).expanduser()
        return folder if folder.is_dir() else None
    if not _NAME.fullmatch(name) or ".." in name:
        return None
    folder_name = "models--" + name.replace("/", "--")
    for cache in caches:
        for root in (cache / folder_name, cache / "hub" / folder_name):
            snapshot = _snapshot(root, revision)
            if snapshot is not None:
                return snapshot
    return None


def _snapshot(root: Path, revision: str) -> Path | None:
    commit = _commit(root, revision)
    if commit is not None and (root / "snapshots" / commit / "config.json").is_file():
        return root / "snapshots" / commit
    found = sorted(_with_config(root / "snapshots"), key=lambda pair: pair[0])
    return found[-1][1] if found else None


def _commit(root: Path, revision: str) -> str | None:
    if _COMMIT.fullmatch(revision):
        return revision
    if not _NAME.fullmatch(revision) or ".." in revision:
        return None
    try:
        with open_regular(root / "refs" / revision) as file:
            text = file.read(_LONGEST_REF).decode().strip()
    except (OSError, UnicodeDecodeError, ModelFileError):
        return None
    return text if _COMMIT.fullmatch(text) else None


def _with_config(snapshots: Path) -> Iterator[tuple[int, Path]]:
    """Snapshots with a configuration, each with its time of change."""
    try:
        folders = list(snapshots.iterdir())
    except OSError:
        return
    for folder in folders:
        try:
            yield (folder / "config.json").stat().st_mtime_ns, folder
        except OSError:
            continue
