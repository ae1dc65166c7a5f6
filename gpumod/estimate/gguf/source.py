"""Bounded reading of a header: a window on the file, and an allowance for what is kept of it."""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from typing import Final, NoReturn

from gpumod.core.units import MIB
from gpumod.estimate.errors import ModelFileError

_WINDOW: Final = MIB
_FIRST_WINDOW: Final = 64 * 1024
"""Enough for the later parts of a split model, whose headers are short."""

_U32: Final = struct.Struct("<I").unpack_from
_U64: Final = struct.Struct("<Q").unpack_from
_SHOWN: Final = 60

_RUN: Final = 256
_SHORTER: Final = b"|".join(re.escape(bytes([n])) + rb"\0{7}.{%d}" % n for n in range(64))
_RUN_OF_SHORT_STRINGS: Final = re.compile(rb"(?s:(?>%s){%d})" % (_SHORTER, _RUN))
"""So many strings of less than 64 bytes, each behind its length: nearly all that a vocabulary has.

A loop over them takes half as long again.
"""


@dataclass(slots=True)
class Allowance:
    """What reading one model may still take; a header that wants more is refused as corrupt.

    The largest real headers (262k tokens, 515k merges, 2000 tensors) need a twentieth of it.

    Args:
        memory: bytes of values to keep, as they are in Python's memory.
        strings: strings to step over: the only work that takes time, some 50 ns each.
    """

    memory: int = 64 * MIB
    strings: int = 2**24


class Source:
    """Reads a file from its beginning to the end of its header.

    Not a memory map: a file that is cut while it is mapped kills the process that looks at it.

    Args:
        descriptor: an open regular file; it stays the caller's.
        path: the file's name, for messages.
        size: the file's size in bytes.
        allowance: shared by all parts of a model.
    """

    def __init__(self, descriptor: int, path: str, size: int, allowance: Allowance) -> None:
        self.path = path
        self.size = size
        self.allowance = allowance
        self._descriptor = descriptor
        self._window = b""
        self._start = 0
        self._at = 0

    @property
    def position(self) -> int:
        """Where in the file the next read begins."""
        return self._start + self._at

    @property
    def left(self) -> int:
        """Bytes up to the end of the file."""
        return self.size - self.position

    def fail(self, what: str) -> NoReturn:
        """Raise ModelFileError: the path, and what is wrong with the file."""
        raise ModelFileError(f"{self.path} {what}")

    def fail_unknown(self, what: str) -> NoReturn:
        """Raise ModelFileError for what an engine that is newer than this reader may well load."""
        raise ModelFileError(f"{self.path} {what}", broken=False)

    def keep(self, memory: int) -> None:
        """Take memory from the allowance."""
        self.allowance.memory -= memory
        if self.allowance.memory < 0:
            self.fail("is corrupt: no model has as much metadata as its header says; fetch it again")

    def take(self, count: int) -> bytes:
        """The next bytes. The caller bounds the count."""
        at = self._at
        if at + count > len(self._window):
            self._fill(count)
            at = 0
        self._at = at + count
        return self._window[at : at + count]

    def rewind(self, position: int) -> None:
        """Go back to a position near the beginning, which is still in the window."""
        self._at = position - self._start

    def u32(self) -> int:
        """The next four bytes as an unsigned number."""
        return int(_U32(self.take(4))[0])

    def u64(self) -> int:
        """The next eight bytes as an unsigned number."""
        return int(_U64(self.take(8))[0])

    def skip(self, count: int) -> None:
        """Step over bytes without reading them."""
        if count > self.left:
            self._cut()
        self._at += count
        if self._at > len(self._window):
            self._start, self._at, self._window = self.position, 0, b""

    def skip_strings(self, count: int) -> None:
        """Step over so many strings, each a length of eight bytes and its text."""
        if count * 8 > self.left:
            self._cut()
        self.allowance.strings -= count
        if self.allowance.strings < 0:
            self.fail("is corrupt: no vocabulary has as many entries as its header says; fetch it again")
        while count:
            self._fill(8)
            count -= self._skip_in_window(count)

    def _skip_in_window(self, count: int) -> int:
        """How many strings were stepped over: all, or those whose length stands within the window."""
        done = 0
        while done < count:
            step = min(count - done, _RUN)
            run = _RUN_OF_SHORT_STRINGS.match(self._window, self._at) if step == _RUN else None
            if run:
                self._at = run.end()
                done += _RUN
                continue
            walked = self._walk(step)
            done += walked
            if walked < step:
                break
        return done

    def _walk(self, count: int) -> int:
        """As `_skip_in_window`, one by one.

        The end of the window is found by the failing read: a comparison for each string costs a third more.
        """
        window, at, done, length = self._window, self._at, 0, _U64
        try:
            for done in range(count):  # noqa: B007 - how far it came
                at += 8 + length(window, at)[0]
            done = count
        except (struct.error, OverflowError):
            # An offset behind the window, or no offset at all after a length of nearly 2^64.
            pass
        self.skip(at - self._at)
        return done

    def _fill(self, need: int) -> None:
        """Move the window to the position, and have at least so many bytes in it."""
        if need > self.left:
            self._cut()
        position = self.position
        want = min(max(need, _WINDOW if position else _FIRST_WINDOW), self.size - position)
        try:
            window = os.pread(self._descriptor, want, position)
        except OSError as problem:
            self.fail(f"cannot be read: {problem.strerror}")
        if len(window) < need:
            self.fail("became shorter while it was read: is it still being written?")
        self._window, self._start, self._at = window, position, 0

    def _cut(self) -> NoReturn:
        self.fail("ends inside its header: the download was cut off or the file is corrupt; fetch it again")


def shown(name: str) -> str:
    """A name out of the file, fit for a sentence."""
    return repr(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…")
