"""What SQLite and the operating system say, as a sentence that says what to do."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

from gpumod.core.errors import StoreError

_LEFT_ALONE = "Running services are left alone."


def explain(error: Exception, path: Path) -> StoreError:
    """The error as the user should see it; one that SQLAlchemy has wrapped is unwrapped.

    Codes are those of https://www.sqlite.org/rescode.html; the low byte is the primary one.
    """
    error = getattr(error, "orig", None) or error
    name = getattr(error, "sqlite_errorname", None) or type(error).__name__
    detail = f"{_sentence(error, path)} {_LEFT_ALONE}"
    return StoreError(detail, {"file": str(path), "error": name, "message": str(error)})


def _sentence(error: Exception, path: Path) -> str:
    if isinstance(error, OSError):
        return _of_system(error, path)
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return f"The disk that holds {path} is full: free some space there."
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"{path} is locked by another process: end it (`fuser {path}` names it)."
        case sqlite3.SQLITE_CORRUPT:
            return damaged(path, str(error))
        case sqlite3.SQLITE_NOTADB:
            return f"{path} is not a database of gpumod: move it away, or name another state directory."
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return f"{path} cannot be opened for writing ({error}): make the file and its directory writable."
        case sqlite3.SQLITE_IOERR:
            return f"The disk refuses {path} ({error}): look for a quota, a full disk or a disk error."
    return f"{path} cannot be used: {error}."


def _of_system(error: OSError, path: Path) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"The disk that holds {path} is full: free some space there."
    reason = error.strerror or str(error)
    return f"{path} cannot be opened for writing ({reason}): make the file and its directory writable."


def damaged(path: Path, what: str) -> str:
    """What to do about a damaged file; `what` is SQLite's finding, in one or several lines."""
    found = " ".join(what.replace("*** in database main ***", "").split()).rstrip(".")
    return (
        f"{path} is damaged ({found}): stop gpumodd, move the file away, put back a copy "
        "if you have one, and start it again; without a copy it starts empty."
    )
