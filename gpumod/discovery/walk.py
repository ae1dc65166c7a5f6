"""Walks folders for files that may be models: bounded in depth, number and time, and never twice."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gpumod.discovery.values import FoundFile, Place, Skipped

_WANTED: Final = (
    ".gguf",
    ".safetensors",
    ".safetensors.index.json",
    "/config.json",
    "/model_index.json",
    "/modules.json",
    "/adapter_config.json",
)
_PARTIAL: Final = (
    ".aria2",
    ".crdownload",
    ".download",
    ".downloadInProgress",
    ".incomplete",
    ".part",
    ".partial",
    ".tmp",
)
_BLOB: Final = "sha256-"
"""How Ollama names what it keeps, models and their parts alike."""
_PASSED_OVER: Final = frozenset({"node_modules", "site-packages", "__pycache__", "lost+found", "proc", "sys"})


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a look goes.

    Args:
        depth: folders below a place.
        entries: files and folders of one place.
        seconds: for all places together.
    """

    depth: int = 8
    entries: int = 100_000
    seconds: float = 20.0


@dataclass(slots=True)
class Walked:
    """What was come across, in the order of the places and by name within them.

    Args:
        files: each once, however many links there are to it.
        there: the places that exist.
        skipped: what could not be looked at, or not to its end.
    """

    files: list[FoundFile] = field(default_factory=list)
    there: list[Place] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def walk(places: Iterable[Place], limits: Limits, monotonic: Callable[[], float]) -> Walked:
    """Look through the places. Never raises for what is in them."""
    looking = _Walk(limits, monotonic)
    for place in places:
        looking.place(place)
    return looking.found


def interesting(path: str) -> bool:
    """Whether a file's name says that it may be a model, belong to one, or become one."""
    name = path.rpartition("/")[2]
    if name.startswith("."):
        return False
    return path.endswith(_WANTED) or is_partial(name) or (name.startswith(_BLOB) and "/blobs/" in path)


def is_partial(name: str) -> bool:
    """Whether a file's name is that of a download under way, or of one that was broken off."""
    if name.startswith(_BLOB):
        return "-partial" in name
    return name.endswith(_PARTIAL) and (
        ".gguf" in name or ".safetensors" in name or name.endswith(".incomplete")
    )


class _Walk:
    def __init__(self, limits: Limits, monotonic: Callable[[], float]) -> None:
        self.found = Walked()
        self._limits = limits
        self._monotonic = monotonic
        self._deadline = monotonic() + limits.seconds
        self._folders: set[tuple[int, int]] = set()
        self._files: set[tuple[int, int]] = set()
        self._left = 0
        self._late = False

    def place(self, place: Place) -> None:
        """Look through one place."""
        try:
            there = Path(place.path).stat()
        except OSError as error:
            if place.given or not isinstance(error, FileNotFoundError | NotADirectoryError):
                self._skip(place.path, f"cannot be looked at: {error.strerror}")
            return
        self.found.there.append(place)
        self._left = self._limits.entries
        if stat.S_ISDIR(there.st_mode):
            self._folder(place.path, (there.st_dev, there.st_ino), 0)
        else:
            self._file(place.path, there)

    def _folder(self, path: str, identity: tuple[int, int], depth: int) -> None:
        if identity in self._folders:
            return
        self._folders.add(identity)
        try:
            with os.scandir(path) as entries:
                listed = self._ordered(path, list(self._counted(entries, path)))
        except OSError as error:
            self._skip(path, f"cannot be read: {error.strerror}")
            return
        deeper = []
        for entry in listed:
            try:
                seen = entry.stat()
                if entry.is_dir():
                    deeper.append((entry, (seen.st_dev, seen.st_ino)))
                elif entry.is_file() and interesting(entry.path):
                    self._file(entry.path, seen)
            except OSError as error:
                self._odd(entry, error)
        for entry, inode in deeper:
            if entry.name.startswith(".") or entry.name in _PASSED_OVER:
                continue
            if depth >= self._limits.depth:
                self._skip(entry.path, f"is deeper than {self._limits.depth} folders: name it to look there")
            elif self._in_time(entry.path):
                self._folder(entry.path, inode, depth + 1)

    def _counted(self, entries: Iterable[os.DirEntry[str]], path: str) -> Iterator[os.DirEntry[str]]:
        for entry in entries:
            if self._left <= 0:
                self._skip(path, f"more than {self._limits.entries} files: the others were not looked at")
                return
            self._left -= 1
            yield entry

    def _ordered(self, path: str, entries: list[os.DirEntry[str]]) -> list[os.DirEntry[str]]:
        """By name; revisions in a hub's cache the newest first, so that their files are found there."""
        if path.endswith("/snapshots"):
            return sorted(entries, key=lambda entry: (-entry.stat().st_mtime_ns, entry.name))
        return sorted(entries, key=lambda entry: entry.name)

    def _file(self, path: str, seen: os.stat_result) -> None:
        identity = (seen.st_dev, seen.st_ino)
        if identity not in self._files:
            # config.json of two revisions may be one blob, and each revision needs its own.
            if path.endswith((".gguf", ".safetensors")) or "/blobs/" in path:
                self._files.add(identity)
            self.found.files.append(FoundFile(path, seen.st_size, identity))

    def _odd(self, entry: os.DirEntry[str], error: OSError) -> None:
        if not interesting(entry.path):
            return
        if entry.is_symlink() and isinstance(error, FileNotFoundError):
            self._skip(entry.path, "is a link to a file that is not there")
        else:
            self._skip(entry.path, f"cannot be looked at: {error.strerror}")

    def _in_time(self, path: str) -> bool:
        if self._monotonic() < self._deadline:
            return True
        if not self._late:
            self._skip(
                path, f"this and what follows was not looked at: {self._limits.seconds:g} s had passed"
            )
        self._late = True
        return False

    def _skip(self, path: str, reason: str) -> None:
        self.found.skipped.append(Skipped(path, reason))
