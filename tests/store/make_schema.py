"""`python -m tests.store.make_schema FILE`: dump the present schema with a row of every kind."""

import asyncio
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from gpumod.core.events import EventKind
from gpumod.core.switch import Phase, StepState, SwitchState
from gpumod.store import open_store
from gpumod.testing.clock import FakeClock
from tests.store.samples import CHAT, desired, lease, measurement, service, step, switch

DONE = switch("s0", state=SwitchState.COMMITTED, ended=900.0, left="in mode code", steps=[step()])
OPEN = switch("s1", steps=[step(state=StepState.RUNNING, started=1.0), step(0, Phase.UNDO)])
EVENT = (1.5, EventKind.SERVICE, "chat", "ready", {"n": 1})


async def fill(path):
    async with await open_store(path, FakeClock()) as store:
        await store.save_service(service())
        await store.next_generation(CHAT)
        await store.save_port(CHAT, 18001)
        await store.begin_switch(switch("s0", steps=[step()]))
        await store.commit_switch(DONE, desired())
        await store.begin_switch(OPEN)
        await store.save_lease(lease())
        await store.add_measurement(measurement())
        await store.append_event(*EVENT)
        await store.save_idempotent("k", "f", "{}", 1_000_000.0)


def main():
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "gpumod.db"
        asyncio.run(fill(path))
        with closing(sqlite3.connect(path)) as connection:
            Path(sys.argv[1]).write_text("\n".join(connection.iterdump()) + "\n")


if __name__ == "__main__":
    main()
