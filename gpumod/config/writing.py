"""Writes one of the user's files so that nobody ever reads half of it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from gpumod.core.errors import InvalidRequestError


def write_file(target: Path, text: str) -> None:
    """Put a file in its place, or in that of another, in one step; links are followed, mode and owner kept.

    Raises:
        InvalidRequestError: it cannot be written.
    """
    target = target.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        present = target.stat() if target.exists() else None
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fchmod(descriptor, present.st_mode & 0o7777 if present else 0o644)
                if present and (present.st_uid, present.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(descriptor, present.st_uid, present.st_gid)
                os.fsync(descriptor)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InvalidRequestError(f"{target} cannot be written: {error.strerror}") from error
