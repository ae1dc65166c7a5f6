"""Keeps what was read of model files until a file changes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Lock
from typing import Final, Generic, TypeVar

from gpumod.estimate.errors import ModelFileError

_Header = TypeVar("_Header")
_MOST: Final = 64
"""Headers of a megabyte at most: a large box has some twenty models in use."""

_FileIdentity = tuple[str, int, int, int, int, int] | tuple[str]
"""A path with its size, both times of change, its inode and device; alone where there is no such file."""


class HeaderCache(Generic[_Header]):
    """Headers by the identity of all files that they were read from; also what was wrong with them.

    Any thread may ask. Two that ask for the same new file at once may both read it.

    Args:
        load: reads a model by its path; it raises ModelFileError for one that cannot be read.
        files: the paths that `load` reads for a path, whether they exist or not.
        most: headers to keep; the one that was asked for the longest ago goes first.
    """

    def __init__(
        self, load: Callable[[str], _Header], files: Callable[[str], Iterable[str]], *, most: int = _MOST
    ) -> None:
        self._load = load
        self._files = files
        self._most = most
        self._lock = Lock()
        self._kept: OrderedDict[str, tuple[tuple[_FileIdentity, ...], _Header | ModelFileError]] = (
            OrderedDict()
        )

    def get(self, path: str) -> _Header:
        """The header, from memory if none of its files has changed.

        Raises:
            ModelFileError: as `load` does.
        """
        identity = self._identity(path)
        with self._lock:
            kept = self._kept.get(path)
            if kept is not None and kept[0] == identity:
                self._kept.move_to_end(path)
                return _answer(kept[1])
        found = self._read(path)
        # Files that changed meanwhile may have been read half old and half new.
        if self._identity(path) == identity:
            with self._lock:
                self._kept[path] = (identity, found)
                self._kept.move_to_end(path)
                while len(self._kept) > self._most:
                    self._kept.popitem(last=False)
        return _answer(found)

    def _read(self, path: str) -> _Header | ModelFileError:
        try:
            return self._load(path)
        except ModelFileError as problem:
            # Without the traceback, which holds on to the reader's buffers.
            return ModelFileError(problem.detail, broken=problem.broken)

    def _identity(self, path: str) -> tuple[_FileIdentity, ...]:
        return tuple(_file_identity(one) for one in self._files(path))


def _file_identity(path: str) -> _FileIdentity:
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return (path,)
    return (
        path,
        status.st_size,
        status.st_mtime_ns,
        # Changes with the rights too, and cannot be set back as the time of modification can.
        status.st_ctime_ns,
        status.st_ino,
        status.st_dev,
    )


def _answer(found: _Header | ModelFileError) -> _Header:
    if isinstance(found, ModelFileError):
        raise ModelFileError(found.detail, broken=found.broken)
    return found
