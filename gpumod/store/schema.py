"""Which schema a file has, and bringing it up to date before it is used.

Alembic is only ever imported by a child process, `gpumod.store.upgrade`: the daemon compares revisions with
plain SQL and stays small. A new revision is a file in `migrations/versions`, its name added to `REVISIONS`,
and a dump of the new schema in `tests/store/schemas`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Final

from gpumod import __version__
from gpumod.core.bounds import DEFAULT_BOUNDS
from gpumod.core.errors import NewerSchemaError, StoreError
from gpumod.resources import shipped
from gpumod.store.failures import damaged
from gpumod.store.worker import open_file

REVISIONS: Final = ("0001", "0002")
"""Every revision that this version knows, oldest first."""


def prepare(
    path: Path,
    *,
    busy: float = DEFAULT_BOUNDS.store_locked,
    revisions: tuple[str, ...] = REVISIONS,
    migrations: Path | None = None,
) -> None:
    """Create the file or bring it up to date, if need be; refuse one that cannot be used. Blocks.

    Raises:
        NewerSchemaError: a newer gpumod wrote it.
        StoreError: it is damaged, not ours, or could not be brought up to date.
        OSError, sqlite3.Error: as the system says it.
    """
    _create(path)
    if _is_current(path, busy, revisions):
        return
    _upgrade_in_child(path, migrations or shipped("migrations"))
    if not _is_current(path, busy, revisions):
        raise StoreError(
            f"{path} could not be brought to schema {revisions[-1]}: reinstall gpumod {__version__}.",
            {"file": str(path), "schema": revisions[-1]},
        )


def _create(path: Path) -> None:
    """Make an empty file that only its owner may read: services' environments are in it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Only where there is none: closing a second descriptor of an open database drops SQLite's locks.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _is_current(path: Path, busy: float, revisions: tuple[str, ...]) -> bool:
    with contextlib.closing(open_file(path, busy=busy)) as connection:
        found = revision(connection, path)
        if found is not None and found not in revisions:
            raise _newer(connection, path, found, revisions[-1])
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise StoreError(damaged(path, verdict), {"file": str(path), "message": verdict})
    return found == revisions[-1]


def revision(connection: sqlite3.Connection, path: Path) -> str | None:
    """The schema's revision, None in an empty file.

    Raises:
        StoreError: the file has tables and none of them is ours.
    """
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return None
    row = (
        connection.execute("SELECT version_num FROM alembic_version").fetchone()
        if "alembic_version" in tables
        else None
    )
    if row is None:
        raise StoreError(
            f"{path} is a database of another program: move it away, or name another state directory.",
            {"file": str(path), "tables": sorted(tables)},
        )
    return str(row[0])


def _newer(connection: sqlite3.Connection, path: Path, found: str, known: str) -> NewerSchemaError:
    try:
        row = connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
    except sqlite3.Error:
        row = None
    writer = f"gpumod {row[0]}" if row else "a newer gpumod"
    return NewerSchemaError(
        f"{path} has schema {found}, written by {writer}; this is gpumod {__version__}, which knows schemas "
        f"up to {known}: install that version again, or put back the copy that was made before the upgrade "
        f"({path}.before-{found}).",
        {"file": str(path), "found": found, "known": known, "writer": writer},
    )


def _upgrade_in_child(path: Path, migrations: Path) -> None:
    # -P: not whatever is called gpumod in the working directory.
    command = [sys.executable, "-P", "-m", "gpumod.store.upgrade", str(path), str(migrations)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=DEFAULT_BOUNDS.store_upgrade,
        )
    except subprocess.TimeoutExpired:
        raise StoreError(
            f"{path} was not brought up to date within {DEFAULT_BOUNDS.store_upgrade:.0f} s: look for a slow "
            "disk; the file is as it was.",
            {"file": str(path)},
        ) from None
    if done.returncode != 0:
        last = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise StoreError(last, {"file": str(path), "output": done.stderr[-4000:]})
