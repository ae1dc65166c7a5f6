"""`python -m gpumod.store.upgrade FILE MIGRATIONS`: bring a database to the newest schema.

A program of its own, since Alembic takes 11 MB and 80 ms that the daemon does not need to spend. All
migrations run in one transaction: interrupted at any moment, the file is as it was.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError

from gpumod.core.bounds import DEFAULT_BOUNDS
from gpumod.core.errors import GpumodError
from gpumod.store.failures import explain
from gpumod.store.schema import revision
from gpumod.store.worker import Access, make_engine, open_file


def upgrade(path: Path, migrations: Path, to: str = "head") -> None:
    """Bring the file to a schema; one that has content is copied first, to `FILE.before-REVISION`."""
    config = alembic_config(migrations)
    target = ScriptDirectory.from_config(config).as_revision_number(to)
    with contextlib.closing(open_file(path, busy=DEFAULT_BOUNDS.store_locked)) as connection:
        found = revision(connection, path)
        if found is not None and found != target:
            _copy(connection, Path(f"{path}.before-{target}"))
    engine = make_engine(path, Access.MIGRATE)
    try:
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, to)
    finally:
        engine.dispose()


def alembic_config(migrations: Path) -> Config:
    """Alembic's configuration, without an alembic.ini."""
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    return config


def _copy(connection: sqlite3.Connection, target: Path) -> None:
    """A copy that is complete and on disk, or none; one from an earlier attempt is replaced."""
    partial = target.with_name(f"{target.name}.partial")
    partial.unlink(missing_ok=True)
    connection.execute("VACUUM INTO ?", (str(partial),))
    for name in (partial, partial.parent):
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if name == partial:
            partial.replace(target)


def main() -> int:
    """Upgrade; what went wrong is the last line on standard error."""
    os.umask(0o077)
    path, migrations = map(Path, sys.argv[1:])
    try:
        upgrade(path, migrations)
    except GpumodError as error:
        print(error.detail, file=sys.stderr)  # noqa: T201
        return 1
    except (DBAPIError, sqlite3.Error, OSError) as error:
        print(explain(error, path).detail, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
