"""Opens files of strangers: nothing that could wait for a writer, or act when it is opened."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from gpumod.estimate.errors import ModelFileError


def open_regular(path: Path) -> BinaryIO:
    """A regular file, to be read and closed by the caller.

    The kind of file is asked for before it is opened: opening a device can act on it. Without O_NONBLOCK the
    opening of a pipe that took the file's place meanwhile would wait for a writer.

    Raises:
        OSError: as `open` does.
        ModelFileError: it is a folder, a pipe, a socket or a device.
    """
    _must_be_file(path, path.stat().st_mode)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _must_be_file(path, os.fstat(descriptor).st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def _must_be_file(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise ModelFileError(f"{path} is a folder: name the .gguf file in it, of several parts the first")
    if not stat.S_ISREG(mode):
        raise ModelFileError(f"{path} is not a file but a pipe, a socket or a device")
