"""What the benchmark's own client costs, and how late it notices a token, beside httpx2.

The server is another process: it stamps each delta with the monotonic clock, which all processes of a machine
share, and the client's time of the same delta less the stamp is its error. The kernel's way is in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Final

import httpx2

from gpumod.bench.meter.chat import chat
from gpumod.core.job_ports import Endpoint
from gpumod.daemon import SystemClock
from gpumod.testing.bench.box import BenchError
from gpumod.testing.bench.numbers import Figure, Finding, Goal, compared, in_turns
from gpumod.testing.scripted_answers import Paced, Script
from gpumod.testing.scripted_server import ScriptedServer

STREAMS: Final = 16
RATE: Final = 200
SECONDS: Final = 2.0
_ASK: Final = ({"role": "user", "content": "go"},)


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one run: share of a core in percent, and the error of its times in milliseconds."""

    core: float
    median: float
    p99: float


Streamed = list[tuple[float, float]]
"""Of each delta, when it was sent and when the client says that it came."""


def clients(rounds: int) -> list[Finding]:
    """16 streams of 200 deltas a second each, by the meter and by httpx2 in turns."""
    with _server() as port:
        endpoint = Endpoint("paced", f"http://127.0.0.1:{port}", "paced", "")
        ours, other = in_turns(
            rounds, lambda: _cost(_all_by_meter(endpoint)), lambda: _cost(_all_by_httpx2(endpoint))
        )
    what = f"client of {STREAMS} streams x {RATE}/s"
    beside = "httpx2"
    return [
        compared(
            f"{what}: of a core", "%", [one.core for one in ours], beside, [one.core for one in other],
            Goal(Figure.OURS, 25.0),
        ),
        compared(
            f"{what}: timing error, median", "ms", [one.median for one in ours], beside,
            [one.median for one in other], Goal(Figure.OURS, 1.0),
        ),
        compared(
            f"{what}: timing error, 99th percentile", "ms", [one.p99 for one in ours], beside,
            [one.p99 for one in other],
        ),
    ]  # fmt: skip


def _cost(work: Coroutine[None, None, list[Streamed]]) -> Cost:
    began, used = time.monotonic(), time.process_time()
    streams = asyncio.run(work)
    used, wall = time.process_time() - used, time.monotonic() - began
    late = sorted((came - sent) * 1000 for stream in streams for sent, came in stream)
    expected = STREAMS * int(RATE * SECONDS)
    if len(late) != expected:
        raise BenchError(f"{len(late)} of {expected} deltas came")
    return Cost(used / wall * 100, statistics.median(late), late[int(len(late) * 0.99)])


async def _all_by_meter(endpoint: Endpoint) -> list[Streamed]:
    return await asyncio.gather(*(_meter(endpoint) for _ in range(STREAMS)))


async def _all_by_httpx2(endpoint: Endpoint) -> list[Streamed]:
    # One client for all: making one costs more than a stream.
    async with httpx2.AsyncClient(timeout=60.0, trust_env=False, verify=False) as client:
        return await asyncio.gather(*(_httpx2(client, endpoint) for _ in range(STREAMS)))


async def _meter(endpoint: Endpoint) -> Streamed:
    reply = await chat(endpoint, _ASK, timeout=60.0, clock=SystemClock())
    if not reply.answered:
        raise BenchError(f"the paced server: {reply.error}")
    return list(zip(map(float, reply.text.split()), reply.times.chunks, strict=True))


async def _httpx2(client: httpx2.AsyncClient, endpoint: Endpoint) -> Streamed:
    found: Streamed = []
    body = {"model": "paced", "messages": list(_ASK), "stream": True}
    async with client.stream("POST", f"{endpoint.url}/v1/chat/completions", json=body) as answer:
        async for line in answer.aiter_lines():
            came = time.monotonic()
            if line.startswith("data: {"):
                said = json.loads(line[6:])["choices"][0]["delta"].get("content")
                if said:
                    found.append((float(said), came))
    return found


@contextlib.contextmanager
def _server() -> Iterator[int]:
    """The port of a paced server in a process of its own, which ends with its standard input."""
    argv = (sys.executable, "-m", __name__)
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            said = process.stdout.readline()
            if not said:
                raise BenchError("the paced server does not start")
            yield int(said)
        finally:
            process.stdin.close()


async def _serve() -> None:
    script = Script((Paced(int(RATE * SECONDS), 1 / RATE),))
    async with ScriptedServer(SystemClock(), [script]) as server:
        print(server.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
