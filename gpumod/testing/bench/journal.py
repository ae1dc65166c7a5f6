"""What a journal write costs, beside the bare database on the same disk."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from pathlib import Path

from gpumod.core.names import ModeId, SwitchId
from gpumod.core.plan import StepKind
from gpumod.core.switch import Phase, StepRecord, StepState, SwitchRecord, SwitchRequest, SwitchState
from gpumod.daemon import SystemClock
from gpumod.store import open_store
from gpumod.testing.bench.box import folder
from gpumod.testing.bench.numbers import Finding, compared

_SWITCH = SwitchId("bench")


def writes(rounds: int) -> list[Finding]:
    """One step written through the store, and as a row by sqlite3 in a file set up the same way.

    A step that begins is synced to the disk before it acts; one that has ended is not.
    """
    with folder() as root:
        return [
            _compared("journal: a step begins, synced", root / "begin", StepState.RUNNING, "FULL", rounds),
            _compared("journal: a step has ended", root / "end", StepState.DONE, "NORMAL", rounds),
        ]


def _compared(name: str, root: Path, state: StepState, sync: str, rounds: int) -> Finding:
    root.mkdir()
    ours, bare = asyncio.run(_measured(root, state, sync, rounds))
    return compared(name, "ms", ours, f"sqlite3, synchronous={sync}", bare)


async def _measured(root: Path, state: StepState, sync: str, rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each write."""
    ours, bare = [], []
    store = await open_store(root / "gpumod.db", SystemClock())
    try:
        await store.begin_switch(_record())
        with contextlib.closing(_bare_database(root / "bare.db", sync)) as database:
            for number in range(rounds):
                began = time.perf_counter()
                await store.write_step(_SWITCH, _step(number, state))
                written = time.perf_counter()
                database.execute("INSERT INTO steps VALUES (?, ?)", (number, "x" * 400))
                bare.append((time.perf_counter() - written) * 1000)
                ours.append((written - began) * 1000)
    finally:
        await store.close()
    return ours, bare


def _record() -> SwitchRecord:
    return SwitchRecord(
        _SWITCH, SwitchRequest(mode=ModeId("a")), ModeId("blank"), ModeId("a"), SwitchState.RUNNING, 0.0
    )


def _step(number: int, state: StepState) -> StepRecord:
    return StepRecord(
        Phase.DO,
        number,
        StepKind.START,
        "start a",
        state=state,
        started=0.0,
        ended=1.0,
        detail="x" * 80,
    )


def _bare_database(path: Path, sync: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute(f"PRAGMA synchronous={sync}")
    database.execute("CREATE TABLE steps (number INTEGER PRIMARY KEY, record TEXT)")
    return database
