"""What the daemon costs while nothing happens: start, processor time, memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpumod.testing.bench.box import BenchBox, BenchError, box, folder
from gpumod.testing.bench.numbers import Figure, Finding, Goal, alone, compared, in_turns
from gpumod.testing.engine_server import Script

if TYPE_CHECKING:
    from collections.abc import Callable

_SERVICES = 3
_LIBRARIES = "fastapi, uvicorn, sqlmodel, pydantic_settings, httptools, ruamel.yaml"
"""What any daemon of this kind imports before its own first line."""
_LOOKED = 32.0
"""Seconds after which the daemon takes nobody to be looking any more."""
_POLL = 2.0
_MB = 1e6
_KIB = 1024


@dataclass(frozen=True, slots=True)
class Memory:
    """MB of one process: resident, and its proportional share of what is shared."""

    resident: float
    share: float


def start(rounds: int) -> list[Finding]:
    """From the daemon's second start, with its database there, to its first answer; beside its imports."""
    with folder() as root:
        state = root / "box"

        def ours() -> float:
            with box(state) as bench:
                bench.start()
                bench.stop()
                again = bench.start()
                bench.stop()
            shutil.rmtree(state)
            return again * 1000

        mine, libraries = in_turns(rounds, ours, lambda: _import_time() * 1000)
    return [compared("daemon: start to first answer", "ms", mine, "import of its libraries", libraries)]


def idle(seconds: float) -> list[Finding]:
    """Processor time and memory with three services: nobody looking, then a status every 2 s."""
    with folder() as root, box(root / "box", limit=4096) as bench:
        names = [f"idle-{number}" for number in range(_SERVICES)]
        for name in names:
            bench.scripted(name, Script(host_mib=16))
        bench.mode("all", *names)
        bench.start()
        bench.switch("all")
        time.sleep(_LOOKED)
        unwatched = _processor_share(bench, seconds, lambda: None)
        watched = _processor_share(bench, seconds, lambda: bench.ask("GET", "status"))
        memory, bare = _memory(bench.pid), _memory_of_libraries()
    half_percent = Goal(Figure.OURS, 0.5)
    return [
        alone(f"daemon: idle, {_SERVICES} services, unwatched", "% of a core", [unwatched], half_percent),
        alone("daemon: the same, status asked every 2 s", "% of a core", [watched], half_percent),
        compared(
            "daemon: resident memory",
            "MB",
            [memory.resident],
            "its libraries imported",
            [bare.resident],
            Goal(Figure.OURS, 100.0),
        ),
        compared(
            "daemon: proportional memory (PSS)", "MB", [memory.share], "its libraries imported", [bare.share]
        ),
    ]


def _processor_share(bench: BenchBox, seconds: float, look: Callable[[], object]) -> float:
    """Percent of a core that the daemon takes, with a look every two seconds."""
    before, began = _processor_seconds(bench.pid), time.monotonic()
    while (left := began + seconds - time.monotonic()) > 0:
        look()
        time.sleep(min(_POLL, left))
    return (_processor_seconds(bench.pid) - before) / (time.monotonic() - began) * 100


def _processor_seconds(pid: int) -> float:
    """User and system time, as proc_pid_stat(5) has them after the command's name."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> Memory:
    values = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        values[name] = int(rest.split()[0]) * _KIB / _MB
    return Memory(values["Rss"], values["Pss"])


def _import_time() -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", f"import {_LIBRARIES}"], check=True)
    return time.monotonic() - began


def _memory_of_libraries() -> Memory:
    program = f"import {_LIBRARIES}; print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        if process.stdout is None or not process.stdout.readline():
            raise BenchError("the libraries cannot be imported")
        memory = _memory(process.pid)
        process.communicate(b"\n")
    return memory
