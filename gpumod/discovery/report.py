"""What `gpumodctl init` tells: everything that it found, wrote and left alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from gpumod.core.cards import Card, HostMemory
from gpumod.core.spec import EngineKind, Task
from gpumod.discovery.values import Skipped


class Action(StrEnum):
    """What became of a file."""

    NEW = "new"
    REPLACED = "replaced"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine's program; `used` is whether new presets run on it, `problem` why it cannot be asked."""

    kind: EngineKind
    program: str
    version: str = ""
    used: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Looked:
    """A place that was looked in; `models` is what was found there."""

    path: str
    there: bool
    models: int = 0


@dataclass(frozen=True, slots=True)
class Model:
    """A model that has a preset now.

    Args:
        path: what the engine is given.
        preset: the preset's id.
        action: whether that is new.
        size: bytes of its files.
        context: tokens per slot; None for a preset of the user's that does not say.
        cards: bytes on each card.
        setting: what else memory decided, in words.
    """

    path: str
    preset: str
    action: Action
    engine: EngineKind
    task: Task
    size: int
    context: int | None = None
    cards: tuple[int, ...] = ()
    setting: str = ""


@dataclass(frozen=True, slots=True)
class File:
    """A file of the user's folder; `text` is empty for one that was left alone."""

    path: Path
    action: Action
    text: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was found and done.

    Args:
        config: the user's folder.
        cards: as they are now.
        driver: why there are no cards, or which the host is; empty where all is well.
        looked: the places, in order.
        skipped: what looks like a model and got no preset, each with its reason.
        files: what was written or would be.
        mode: the mode to switch to; empty where there is none.
        notes: sentences that a user should know.
        dry_run: nothing was written.
    """

    config: Path
    cards: tuple[Card, ...]
    host: HostMemory
    driver: str
    engines: tuple[Engine, ...]
    containers: tuple[str, ...]
    looked: tuple[Looked, ...]
    models: tuple[Model, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    files: tuple[File, ...] = ()
    mode: str = ""
    notes: tuple[str, ...] = ()
    dry_run: bool = False
