"""The journal under kill -9, and two processes at once."""

import asyncio
import random
import signal
import subprocess
import sys
import time

import pytest

from gpumod.core.errors import StoreError
from gpumod.core.events import EventKind
from gpumod.core.switch import StepState, SwitchState
from tests.store.samples import desired, new_file, opened, service, sql, step, switch

# Switch after switch; says which one it has committed only once the store has said so.
SWITCHING = """
import asyncio, sys
from pathlib import Path
from gpumod.core.errors import StoreError
from gpumod.core.events import EventKind
from gpumod.core.switch import StepState, SwitchState
from gpumod.store import open_store
from gpumod.testing.clock import FakeClock
from tests.store.samples import desired, service, step, switch
async def main():
    store = await open_store(Path(sys.argv[1]), FakeClock())
    for number in range(int(sys.argv[2]), 1_000_000):
        name = f"s{number}"
        await store.begin_switch(switch(name, steps=[step(0), step(1)]))
        print("begun", number, flush=True)
        for index in (0, 1):
            await store.write_step(name, step(index, state=StepState.RUNNING))
            await store.save_service(service(generation=await store.next_generation("chat")))
            await store.write_step(name, step(index, state=StepState.DONE))
        await store.commit_switch(switch(name, state=SwitchState.COMMITTED, ended=1.0), desired(f"m{number}"))
        print("committed", number, flush=True)
asyncio.run(main())
"""

COUNTING = """
import asyncio, sys
from pathlib import Path
from gpumod.store import open_store
from gpumod.testing.clock import FakeClock
from tests.store.samples import switch
async def main():
    async with await open_store(Path(sys.argv[1]), FakeClock()) as store:
        for number in range(200):
            await store.begin_switch(switch(f"{sys.argv[2]}-{number}"))  # reads before it writes
            print(await store.next_generation("chat"))
asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path):
    return new_file(tmp_path / "gpumod.db")


def child(script, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def killed_somewhere(path, first, chance):
    """The last lines of a child that was killed at a random moment."""
    told = {"begun": -1, "committed": -1}
    with child(SWITCHING, path, first) as process:
        stop_after = first + chance.randrange(1, 12)
        for line in process.stdout:
            word, number = line.split()
            told[word] = int(number)
            if told["begun"] >= stop_after:
                time.sleep(chance.random() * 0.004)
                process.send_signal(signal.SIGKILL)
                break
        for line in process.stdout:  # what it still said before it died
            if line.endswith("\n"):
                word, number = line.split()
                told[word] = int(number)
    assert process.returncode == -signal.SIGKILL
    return told


async def test_commit_is_whole_or_absent_and_nothing_acknowledged_is_lost(path):
    chance = random.Random(20)
    first = 0
    for _ in range(6):
        told = killed_somewhere(path, first, chance)
        assert sql(path, "PRAGMA integrity_check") == [("ok",)]
        async with await opened(path) as store:
            newest, *former = await store.switches(1000)
            assert int(newest.id[1:]) >= told["begun"]
            is_open = await store.open_switch() is not None
            assert is_open == (newest.state is SwitchState.RUNNING)
            committed = former[0] if is_open else newest
            assert committed.state is SwitchState.COMMITTED
            assert int(committed.id[1:]) >= told["committed"]
            assert (await store.desired()).mode == f"m{committed.id[1:]}"
            steps = (await store.switch(committed.id)).steps
            assert {step.state for step in steps} == {StepState.DONE}
            (kept,) = await store.services()
            assert await store.next_generation("chat") > kept.generation
        first = int(newest.id[1:]) + 1


def test_two_processes_take_turns_and_never_get_the_same_generation(path):
    with child(COUNTING, path, "a") as one, child(COUNTING, path, "b") as other:
        given = [*one.stdout.read().split(), *other.stdout.read().split()]
    assert (one.returncode, other.returncode) == (0, 0)
    assert sorted(map(int, given)) == list(range(1, 401))
    assert sql(path, "SELECT count(*) FROM switches") == [(400,)]


async def test_two_that_create_the_same_file_agree(tmp_path):
    path = tmp_path / "new.db"
    one, other = await asyncio.gather(opened(path), opened(path))
    await one.save_port("chat", 1)
    assert await other.sticky_ports() == {"chat": 1}
    await one.close()
    await other.save_port("chat", 2)
    await other.close()
    assert sql(path, "SELECT port FROM ports") == [(2,)]


async def test_commit_that_fails_half_way_changes_nothing(path):
    async with await opened(path) as store:
        await store.begin_switch(switch())
        sql(path, "CREATE TRIGGER refuse BEFORE INSERT ON desired BEGIN SELECT RAISE(ABORT, 'refused'); END")
        with pytest.raises(StoreError, match="refused"):
            await store.commit_switch(switch(state=SwitchState.COMMITTED), desired())
        assert (await store.open_switch(), await store.desired()) == (switch(), None)
        sql(path, "DROP TRIGGER refuse")
        await store.commit_switch(switch(state=SwitchState.COMMITTED), desired())
        assert (await store.open_switch(), await store.desired()) == (None, desired())


async def test_writes_are_flushed_before_they_return(path):
    """Without synchronous=FULL a commit in WAL mode is lost with the power."""
    async with await opened(path) as store:

        def pragma(connection, name):
            return connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()

        assert await store._writer.run(pragma, "synchronous") == 2
        assert await store._writer.run(pragma, "journal_mode") == "wal"
        assert await store._writer.run(pragma, "foreign_keys") == 1
        assert await store._reader.run(pragma, "query_only") == 1


async def test_only_what_must_be_known_before_an_act_waits_for_the_disk(path):
    """A loss of power takes the latest of the others: no act was done that is not known."""
    async with await opened(path) as store:

        async def synchronous():
            def asked():
                return store._writer._connection.connection.driver_connection.execute("PRAGMA synchronous")

            return (await store._writer.call(lambda: asked().fetchone()))[0]

        full, normal = 2, 1
        await store.begin_switch(switch())
        assert await synchronous() == full
        await store.write_step(switch().id, step(0, state=StepState.DONE))
        assert await synchronous() == normal
        await store.write_step(switch().id, step(1, state=StepState.RUNNING))
        assert await synchronous() == full
        await store.save_service(service())
        assert await synchronous() == normal
        await store.commit_switch(switch(state=SwitchState.COMMITTED), desired())
        assert await synchronous() == full
        await store.append_event(1.0, EventKind.SWITCH, "a", "b", {})
        assert await synchronous() == normal
        await store.next_generation(service().id)
        assert await synchronous() == full
