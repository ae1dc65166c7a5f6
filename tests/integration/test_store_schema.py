"""The schema: created, upgraded, refused; the tables and the migrations agree."""

import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlmodel import SQLModel

from gpumod import __version__
from gpumod.core.errors import NewerSchemaError, StoreError
from gpumod.core.events import Event
from gpumod.core.footprint import Part
from gpumod.resources import shipped
from gpumod.store import tables
from gpumod.store.codec import encode
from gpumod.store.schema import REVISIONS, prepare
from gpumod.store.upgrade import alembic_config
from gpumod.store.worker import Access, make_engine
from tests.store.job_samples import full, job, result, sample, schedule
from tests.store.make_schema import DONE, EVENT, JOBS, OPEN
from tests.store.samples import FOOTPRINT, desired, lease, measurement, new_file, opened, service, sql

SCHEMAS = sorted(Path(__file__).parents[1].joinpath("store/schemas").glob("*.sql"))


def load(schema, path):
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(schema.read_text())
    return path


def shape(path):
    return sql(path, "SELECT type, name, sql FROM sqlite_master ORDER BY name")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "gpumod.db"


def test_tables_and_migrations_agree(path):
    assert tables.ServiceRow.metadata is SQLModel.metadata
    engine = make_engine(new_file(path), Access.READ)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []
    engine.dispose()


def test_known_revisions_are_those_of_the_migrations():
    scripts = ScriptDirectory.from_config(alembic_config(shipped("migrations")))
    assert tuple(script.revision for script in scripts.walk_revisions())[::-1] == REVISIONS


def test_every_released_schema_is_kept():
    assert tuple(schema.stem for schema in SCHEMAS) == REVISIONS


def test_released_schema_is_what_its_migration_still_makes(path, tmp_path):
    kept = load(SCHEMAS[-1], tmp_path / "kept.db")
    assert shape(kept) == shape(new_file(path))


def expected(schema):
    """The service as that release wrote it: the first knew a part's size, but not on which card."""
    if schema.stem >= "0002":
        return service()
    return replace(service(), footprint=replace(FOOTPRINT, parts=(Part("weights"),)))


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.stem)
async def test_file_of_each_release_is_opened_with_all_its_content(path, schema):
    load(schema, path)
    async with await opened(path) as store:
        assert await store.services() == (expected(schema),)
        assert await store.next_generation("chat") == 2
        assert await store.sticky_ports() == {"chat": 18001}
        assert await store.desired() == desired()
        assert await store.open_switch() == OPEN
        assert await store.switch("s0") == DONE
        assert await store.leases() == (lease(),)
        assert await store.measurements() == (measurement(),)
        assert await store.events() == (Event(1, *EVENT),)
        assert await store.idempotent("k") == ("f", "{}")
        assert await store.job_store.jobs() == (JOBS if schema.stem >= "0002" else ())
        assert await store.job_store.samples("j1") == ((sample(),) if schema.stem >= "0002" else ())
        assert await store.job_store.results() == ((result(),) if schema.stem >= "0002" else ())
        assert await store.job_store.schedules() == ((schedule(),) if schema.stem >= "0002" else ())
        assert store.unreadable == ()


async def test_jobs_of_a_file_of_the_first_release_can_be_queued(path):
    load(SCHEMAS[0], path)
    async with await opened(path) as store:
        await store.job_store.submit(full())
        assert (await store.job_store.claim("d1", 9e8, stale=60.0)) is None, "its window is closed"


async def test_new_file_and_its_directory_are_the_owners_alone(tmp_path):
    path = tmp_path / "state" / "deep % ä" / "gpumod.db"
    async with await opened(path) as store:
        await store.save_port("chat", 1)
        modes = {
            file.name: stat.S_IMODE(file.stat().st_mode) for file in (path.parent, *path.parent.iterdir())
        }
    assert modes == {
        path.parent.name: 0o700,
        "gpumod.db": 0o600,
        "gpumod.db-wal": 0o600,
        "gpumod.db-shm": 0o600,
    }
    assert [file.name for file in path.parent.iterdir()] == ["gpumod.db"], "the log was folded into the file"


def test_daemon_never_imports_alembic(path):
    script = """
import asyncio, sys
from pathlib import Path
from gpumod.store import open_store
from gpumod.testing.clock import FakeClock
async def main():
    await (await open_store(Path(sys.argv[1]), FakeClock())).close()
asyncio.run(main())
print([name for name in sys.modules if name.partition(".")[0] in ("alembic", "mako")])
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


# --- upgrades from one revision to the next, with a third revision of this test's making ------------

THIRD = """
import os, signal
import sqlalchemy as sa
from alembic import op
revision, down_revision = "0003", "0002"
def upgrade():
    op.add_column("leases", sa.Column("note", sa.String(), nullable=False, server_default="none"))
    with op.batch_alter_table("switches", recreate="always") as switches:
        switches.add_column(sa.Column("extra", sa.Integer()))
"""
THREE = (*REVISIONS, "0003")


@pytest.fixture
def migrations(tmp_path):
    directory = tmp_path / "migrations"
    shutil.copytree(shipped("migrations"), directory, ignore=shutil.ignore_patterns("__pycache__"))
    return directory


@pytest.fixture
def old(path):
    return load(SCHEMAS[-1], path)


def third(migrations, text=THIRD):
    migrations.joinpath("versions/0003_third.py").write_text(text)


def test_upgrade_keeps_the_rows_and_a_copy_of_the_former_file(old, migrations):
    third(migrations)
    steps = sql(old, "SELECT * FROM steps")
    prepare(old, revisions=THREE, migrations=migrations)
    assert sql(old, "SELECT version_num FROM alembic_version") == [("0003",)]
    assert sql(old, "SELECT id, note FROM leases") == [("l1", "none")]
    assert sql(old, "SELECT * FROM steps") == steps, "the rebuilt table took other tables' rows with it"
    copy = Path(f"{old}.before-0003")
    assert sql(copy, "SELECT version_num FROM alembic_version") == [(REVISIONS[-1],)]
    assert sql(copy, "SELECT * FROM steps") == steps
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert not list(old.parent.glob("*.partial"))


def test_current_file_is_neither_copied_nor_handed_to_a_child(old, monkeypatch):
    def never(*_, **__):
        raise AssertionError("no child is needed")

    monkeypatch.setattr(subprocess, "run", never)
    prepare(old)
    assert not list(old.parent.glob("*.before-*"))


@pytest.mark.parametrize(
    ("last_act", "words"),
    [
        ('    raise RuntimeError("the moon is full")', "the moon is full"),
        ("    os.kill(os.getpid(), signal.SIGKILL)", "exit code -9"),
        (
            "    op.execute(\"DELETE FROM switches WHERE id = 's0'\")",
            "rows that refer to nothing",
        ),
    ],
    ids=["raises", "killed", "breaks references"],
)
def test_upgrade_that_fails_leaves_the_file_as_it_was(old, migrations, last_act, words):
    third(migrations, THIRD + last_act)
    before = shape(old)
    with pytest.raises(StoreError, match=words):
        prepare(old, revisions=THREE, migrations=migrations)
    assert shape(old) == before
    assert sql(old, "PRAGMA integrity_check") == [("ok",)]
    third(migrations)
    prepare(old, revisions=THREE, migrations=migrations)
    assert sql(old, "SELECT version_num FROM alembic_version") == [("0003",)]


def test_migrations_that_lack_the_head_are_told(path, migrations):
    with pytest.raises(StoreError, match="could not be brought to schema 0003: reinstall"):
        prepare(path, revisions=THREE, migrations=migrations)


async def test_newer_schema_is_refused_and_untouched(old):
    sql(old, "UPDATE alembic_version SET version_num = '0099'")
    sql(old, "UPDATE meta SET value = '99.1' WHERE key = 'version'")
    before = old.read_bytes()
    with pytest.raises(NewerSchemaError) as caught:
        await opened(old)
    told = caught.value
    assert "schema 0099, written by gpumod 99.1" in told.detail
    assert f"gpumod {__version__}, which knows schemas up to {REVISIONS[-1]}: install" in told.detail
    assert (told.facts["found"], told.facts["known"]) == ("0099", REVISIONS[-1])
    assert old.read_bytes() == before


async def test_database_of_another_program_is_refused_and_untouched(path):
    sql(path, "CREATE TABLE recipes (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="database of another program: move it away"):
        await opened(path)
    assert path.read_bytes() == before


# --- rows that cannot be read ---------------------------------------------------------------------------


async def test_unreadable_rows_do_not_prevent_the_start_and_stay_in_the_file(old):
    sql(old, "UPDATE services SET record = '{}'")
    sql(
        old,
        "INSERT INTO services SELECT 'good', state, generation, since, ? FROM services",
        encode(replace(service(), id="good")),
    )
    sql(old, "UPDATE desired SET record = '{'")
    sql(old, "UPDATE switches SET record = '[]'")
    sql(old, """UPDATE steps SET record = replace(record, '"start"', '"teleport"') WHERE phase = 'undo'""")
    sql(old, "UPDATE leases SET record = 'null'")
    sql(old, "UPDATE events SET record = '1'")
    async with await opened(old) as store:
        assert [one.id for one in await store.services()] == ["good"]
        assert (await store.desired()).mode == "code", "what the box should be is known without the overrides"
        interrupted = await store.open_switch()
        assert (interrupted.id, interrupted.target, interrupted.state) == ("s1", "code", OPEN.state)
        assert interrupted.request.mode == "code"
        assert interrupted.steps == OPEN.steps[:1]
        assert await store.leases() == ()
        assert await store.events() == ()
        assert len(store.unreadable) == 6
        assert any("services 'chat'" in sentence for sentence in store.unreadable)
        await store.save_lease(lease())
        assert await store.leases() == (lease(),)
    assert sql(old, "SELECT record FROM services WHERE id = 'chat'") == [("{}",)]


async def test_unreadable_job_does_not_hold_up_the_others(old):
    sql(old, "UPDATE jobs SET record = '{}' WHERE id IN ('j1', 'full')")
    sql(old, "UPDATE jobs SET priority = 9, window = NULL WHERE id = 'full'")
    async with await opened(old) as store:
        jobs = store.job_store
        await jobs.submit(job("good"))
        assert [one.id for one in await jobs.jobs()] == ["good", "j2"]
        assert await jobs.job("j1") is None
        assert (await jobs.claim("d2", 9e5, stale=60.0)).id == "good"
        assert (await jobs.job("j2")).reason == "job j1, which has to be done first, failed"
        assert len(store.unreadable) == 2
    broken = sql(old, "SELECT record, state, reason FROM jobs WHERE id IN ('j1', 'full')")
    assert broken == [("{}", "failed", "its row cannot be read")] * 2


async def test_two_jobs_never_run_at_once_whatever_a_program_does(old):
    with pytest.raises(sqlite3.IntegrityError):
        sql(old, "UPDATE jobs SET state = 'running'")
