"""A service's log: one file that processes append to, rotated by copy and truncate.

Writers keep the file open for appending and never learn of a rotation, so the file stays and its
content is moved away: `LOG.1` is the newest copy. What is written between the end of the copy and
the truncation, some microseconds, is lost.

A position in a log is a byte offset. A rotation starts offsets again at 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

MAX_BYTES = 16 << 20
"""A log that has grown beyond this is rotated."""
KEEP = 3
"""So many rotated copies are kept."""
_MARK = "=== gpumod: "
_CHUNK = 1 << 16
_MAX_LINE = 1 << 20
_LOOK_INTERVAL = 0.1


def rotate(path: str, *, max_bytes: int = MAX_BYTES, keep: int = KEEP) -> bool:
    """Rotate a log that has grown beyond `max_bytes`; whether it was rotated.

    Raises:
        OSError: the copy cannot be written; the log is left as it is.
    """
    try:
        log = open(path, "r+b", buffering=0)  # noqa: SIM115 - closed below, its absence is no error
    except FileNotFoundError:
        return False
    with log:
        if os.fstat(log.fileno()).st_size <= max_bytes:
            return False
        if keep:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{path}.{keep}")  # first, since the disk may be nearly full
            _copy(log.fileno(), f"{path}.0", os.fstat(log.fileno()).st_mode)
            for number in range(keep, 0, -1):
                with contextlib.suppress(FileNotFoundError):
                    os.replace(f"{path}.{number - 1}", f"{path}.{number}")
        log.truncate(0)
    return True


def tail(path: str, lines: int = 200) -> tuple[str, ...]:
    """The last lines, oldest first, continued into the newest copy; what was never written is short."""
    found = _last_lines(path, lines)
    if len(found) < lines:
        found = _last_lines(f"{path}.1", lines - len(found)) + found
    return tuple(found)


def mark(path: str, words: str) -> None:
    """Write a line that tells where an attempt begins. A log that cannot be written is no reason to fail."""
    with contextlib.suppress(OSError), open(path, "ab") as log:
        log.write(f"{_MARK}{words}\n".encode())


def last_attempt(path: str, lines: int) -> tuple[str, ...]:
    """The last lines of the last attempt: what an earlier one said explains nothing."""
    found = tail(path, lines)
    marks = [number for number, line in enumerate(found) if line.startswith(_MARK)]
    return found[marks[-1] + 1 :] if marks else found


async def follow(path: str, after: int | None = None) -> AsyncGenerator[tuple[int, str], None]:
    """Lines with the offset behind each, from an offset (None: from the end), then those to come.

    An offset beyond the file's end was of the content before a rotation: the rest of the newest
    copy comes first. A log that does not exist yet is waited for.
    """
    position = await asyncio.to_thread(_begin, path, after)
    while True:
        position, lines = await asyncio.to_thread(_read_on, path, position)
        for line in lines:
            yield line
        if not lines:
            await asyncio.sleep(_LOOK_INTERVAL)


class _Position(NamedTuple):
    offset: int
    copy: tuple[int, int] | None
    """The newest copy's device and inode when it was last looked at."""


def _begin(path: str, after: int | None) -> _Position:
    size = _size(path)
    copy = _identity(f"{path}.1")
    if after is None:
        return _Position(size, copy)
    return _Position(after, None if after > size else copy)


def _read_on(path: str, position: _Position) -> tuple[_Position, list[tuple[int, str]]]:
    """The next complete lines, and where they end."""
    newest = f"{path}.1"
    copy = _identity(newest)
    if copy is not None and copy != position.copy:
        rest = _lines_from(newest, position.offset, final=True)
        if rest:
            return _Position(rest[-1][0], position.copy), rest
        if _size(path) >= _size(newest) and _head(path) == _head(newest):
            return position, []  # copied, and about to be truncated
        return _Position(0, copy), []
    if _size(path) < position.offset:  # truncated without a copy
        return _Position(0, copy), []
    lines = _lines_from(path, position.offset)
    return _Position(lines[-1][0] if lines else position.offset, copy), lines


def _lines_from(path: str, offset: int, *, final: bool = False) -> list[tuple[int, str]]:
    """A bounded amount of complete lines from an offset on; `final`: nothing will be added."""
    data = b""
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            while b"\n" not in data and len(data) < _MAX_LINE:
                more = file.read(_CHUNK)
                data += more
                if not more:
                    break
            at_end = not file.peek(1)
    except FileNotFoundError:
        return []
    *complete, rest = data.split(b"\n")
    found = []
    for line in complete:
        offset += len(line) + 1
        found.append((offset, _text(line)))
    if rest and ((final and at_end) or len(rest) >= _MAX_LINE):
        found.append((offset + len(rest), _text(rest)))
    return found


def _last_lines(path: str, count: int) -> list[str]:
    """Reads backwards, so that a long log costs no more than its last lines."""
    blocks: deque[bytes] = deque()
    newlines = 0
    try:
        with open(path, "rb") as file:
            position = file.seek(0, os.SEEK_END)
            while position > 0 and newlines <= count and len(blocks) * _CHUNK < _MAX_LINE * 8:
                start = max(0, position - _CHUNK)
                file.seek(start)
                block = file.read(position - start)
                newlines += block.count(b"\n")
                blocks.appendleft(block)
                position = start
    except FileNotFoundError:
        return []
    lines = b"".join(blocks).split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [_text(line) for line in lines[-count:]] if count > 0 else []


def _text(line: bytes) -> str:
    """Progress bars rewrite a line with carriage returns: what was last to be seen counts."""
    return line.rstrip(b"\r\n").rpartition(b"\r")[2].decode(errors="replace")


def _copy(source: int, path: str, mode: int) -> None:
    """Copy all there is, what is appended meanwhile included."""
    partial = f"{path}.new"
    try:
        with (
            open(source, "rb", closefd=False) as old,
            open(partial, "wb", opener=lambda name, flags: os.open(name, flags, mode & 0o777)) as new,
        ):
            shutil.copyfileobj(old, new, _CHUNK * 16)
        os.replace(partial, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise


def _head(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(256)
    except FileNotFoundError:
        return b""


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
