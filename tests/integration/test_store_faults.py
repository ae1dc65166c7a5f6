"""A database that cannot be used: it is told in a sentence, and the next write works once it is over."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from gpumod.core.bounds import DEFAULT_BOUNDS
from gpumod.core.errors import StoreError
from gpumod.core.events import EventKind
from gpumod.core.switch import StepState, SwitchState
from tests.store.samples import desired, new_file, opened, service, sql, step, switch

IMPATIENT = replace(DEFAULT_BOUNDS, store_locked=0.05)
NOBODY = 65534


@pytest.fixture
def path(tmp_path):
    return new_file(tmp_path / "gpumod.db")


@contextlib.contextmanager
def unprivileged():
    """File permissions mean something: as they do not for root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextlib.contextmanager
def locked(path):
    """Hold the write lock as another process would."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


# --- locked ---------------------------------------------------------------------------------------------


async def test_write_to_a_locked_file_fails_in_time_and_works_once_it_is_free(path):
    async with await opened(path, bounds=IMPATIENT) as store:
        await store.begin_switch(switch(steps=[step()]))
        with locked(path):
            with pytest.raises(StoreError, match=r"gpumod\.db is locked by another process: end it"):
                await store.write_step("s1", step(state=StepState.RUNNING))
            with pytest.raises(StoreError, match="locked"):
                await store.append_event(1.0, EventKind.STEP, "s1", "m", {})
            assert (await store.open_switch()).steps == (step(),), "reading needs no lock"
        await store.write_step("s1", step(state=StepState.DONE))
        assert (await store.append_event(1.0, EventKind.STEP, "s1", "m", {})).seq == 1
        assert (await store.open_switch()).steps == (step(state=StepState.DONE),)


async def test_neither_the_loop_nor_a_reader_waits_for_a_write_that_waits(path):
    async with await opened(path, bounds=replace(DEFAULT_BOUNDS, store_locked=120.0)) as store:
        await store.save_port("chat", 1)
        with locked(path):
            write = asyncio.create_task(store.save_port("chat", 2))
            for _ in range(20):
                assert await store.sticky_ports() == {"chat": 1}
            assert not write.done()
        await write
        assert await store.sticky_ports() == {"chat": 2}


async def test_locked_file_is_told_at_the_start(path):
    with locked(path), pytest.raises(StoreError, match="locked by another process"):
        await opened(path, bounds=IMPATIENT)


async def test_job_that_breaks_its_connection_does_not_break_the_next_one(path):
    def breaks(connection):
        connection.close()
        raise sqlite3.OperationalError("broken")

    async with await opened(path) as store:
        with pytest.raises(StoreError, match=r"gpumod\.db cannot be used: broken"):
            await store._writer.run(breaks)
        await store.save_port("chat", 3)
        assert await store.sticky_ports() == {"chat": 3}


async def test_write_that_nobody_waits_for_any_more_is_done_and_later_ones_keep_their_order(path):
    async with await opened(path) as store:
        with locked(path):
            writes = [asyncio.create_task(store.save_port("chat", port)) for port in range(5)]
            await asyncio.sleep(0)
            writes[3].cancel()
            writes[4].cancel()
        answers = await asyncio.gather(*writes, return_exceptions=True)
        await store.save_port("embed", 9)
        assert [type(answer) for answer in answers] == [type(None)] * 3 + [asyncio.CancelledError] * 2
        assert await store.sticky_ports() == {"chat": 4, "embed": 9}


async def test_events_waiting_at_close_are_written(path):
    store = await opened(path)
    appends = [
        asyncio.create_task(store.append_event(1.0, EventKind.STEP, "s", f"{n}", {})) for n in range(100)
    ]
    await asyncio.sleep(0)
    await store.close()
    assert [event.seq for event in await asyncio.gather(*appends)] == list(range(1, 101))
    assert sql(path, "SELECT count(*) FROM events") == [(100,)]


async def test_journal_does_not_wait_for_all_events_that_wait(path):
    async with await opened(path) as store:
        await store.begin_switch(switch(steps=[step()]))
        order = []

        async def note(name, call):
            await call
            order.append(name)

        events = [
            asyncio.create_task(note(n, store.append_event(1.0, EventKind.STEP, "s", f"{n}", {})))
            for n in range(500)
        ]
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # the first of them are being written
        await note("step", store.write_step("s1", step(state=StepState.DONE)))
        await asyncio.gather(*events)
        assert order.index("step") < 100
        assert [name for name in order if name != "step"] == list(range(500))


# --- damaged --------------------------------------------------------------------------------------------


def overwrite(path, offset, data):
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def spoil_table(path, name):
    [(page,)] = sql(path, "SELECT rootpage FROM sqlite_master WHERE name = ?", name)
    [(size,)] = sql(path, "PRAGMA page_size")
    overwrite(path, (page - 1) * size, os.urandom(size))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            lambda path: overwrite(path, 0, b"not a database at all"),
            "is not a database of gpumod: move it away",
        ),
        (lambda path: os.truncate(path, path.stat().st_size // 2), "is damaged .*put back a copy"),
        (lambda path: os.truncate(path, 100), "is damaged|not a database"),
        (lambda path: overwrite(path, 4096, os.urandom(path.stat().st_size - 4096)), "is damaged .*put back"),
        (lambda path: spoil_table(path, "steps"), "is damaged .*put back"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be opened"),
    ],
    ids=["header", "half", "header only", "pages", "one table", "directory"],
)
async def test_damaged_file_is_told_at_the_start(path, damage, words):
    damage(path)
    with pytest.raises(StoreError, match=words) as caught:
        await opened(path)
    assert str(path) in caught.value.detail


async def test_damage_under_a_running_daemon_is_told(path):
    async with await opened(path) as store:
        await store.save_service(service())
        sql(path, "PRAGMA wal_checkpoint(TRUNCATE)")
        overwrite(path, 100, os.urandom(path.stat().st_size - 100))
        with pytest.raises(StoreError, match=r"gpumod\.db is damaged .*left alone"):
            await store.services()


# --- not writable ---------------------------------------------------------------------------------------


@pytest.fixture
def public():
    """A directory that an unprivileged user may see."""
    directory = Path(tempfile.mkdtemp(prefix="gpumod-test-"))
    directory.chmod(0o755)
    yield directory
    directory.chmod(0o755)
    shutil.rmtree(directory)


async def test_read_only_file_is_told(public):
    path = new_file(public / "gpumod.db")
    path.chmod(0o444)
    public.chmod(0o777)
    with unprivileged(), pytest.raises(StoreError, match="make the file and its directory writable"):
        await opened(path)


async def test_directory_that_is_not_writable_is_told(public):
    public.chmod(0o555)
    with (
        unprivileged(),
        pytest.raises(StoreError, match=r"Permission denied.*make the file and its directory"),
    ):
        await opened(public / "gpumod.db")
    with unprivileged(), pytest.raises(StoreError, match="Permission denied"):
        await opened(public / "state" / "gpumod.db")


async def test_existing_file_in_a_directory_that_is_not_writable_is_told(public):
    path = new_file(public / "gpumod.db")
    path.chmod(0o666)
    public.chmod(0o555)
    with unprivileged(), pytest.raises(StoreError, match="make the file and its directory writable"):
        await opened(path)


# --- full disk ------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A file system of half a megabyte."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


async def save_services(store, count):
    for number in range(count):
        await store.save_service(service(f"s{number}"))


def fill(directory):
    with (directory / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 1024):
            pass


async def test_full_disk_is_told_nothing_is_lost_and_the_next_write_works_after_it(small_disk):
    path = new_file(small_disk / "gpumod.db")
    async with await opened(path) as store:
        await store.begin_switch(switch(steps=[step()]))
        await store.save_desired(desired("former"))
        fill(small_disk)
        with pytest.raises(StoreError, match=r"The disk that holds .*gpumod\.db is full: free some space"):
            await save_services(store, 500)
        kept = await store.services()
        with pytest.raises(StoreError, match="full"):
            await store.commit_switch(switch(state=SwitchState.COMMITTED, reason="x" * 300_000), desired())
        assert (await store.desired(), (await store.open_switch()).id) == (desired("former"), "s1")
        with pytest.raises(StoreError, match="full"):
            await store.append_event(1.0, EventKind.STEP, "s1", "x" * 300_000, {})

        (small_disk / "ballast").unlink()

        await store.commit_switch(switch(state=SwitchState.COMMITTED), desired())
        assert (await store.append_event(1.0, EventKind.STEP, "s1", "m", {})).message == "m"
        assert (await store.services(), await store.desired()) == (kept, desired())
    assert sql(path, "PRAGMA integrity_check") == [("ok",)]


async def test_full_disk_is_told_at_the_first_start(small_disk):
    fill(small_disk)
    with pytest.raises(StoreError, match=r"free some space|full disk"):
        await opened(small_disk / "gpumod.db")
    (small_disk / "ballast").unlink()
    async with await opened(small_disk / "gpumod.db") as store:
        assert await store.services() == ()


LIMITED = """
import asyncio, resource, sys
from pathlib import Path
from gpumod.core.errors import StoreError
from gpumod.store import open_store
from gpumod.testing.clock import FakeClock
async def main():
    path = Path(sys.argv[1])
    async with await open_store(path, FakeClock()) as store:
        await store.save_port("chat", 1)
        size = Path(f"{path}-wal").stat().st_size
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            await store.save_port("chat", 2)
        except StoreError as error:
            print(error.detail)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        print(await store.sticky_ports())
        await store.save_port("chat", 3)
        print(await store.sticky_ports())
asyncio.run(main())
"""


def test_refused_write_is_told_and_the_next_one_works_after_it(path):
    """A quota or a file size limit: the system refuses with another error than for a full disk."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LIMITED, path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    told, before, after = done.stdout.splitlines()
    assert told.startswith(f"The disk refuses {path} (disk I/O error): look for a quota")
    assert (before, after, done.stderr) == ("{'chat': 1}", "{'chat': 3}", "")
