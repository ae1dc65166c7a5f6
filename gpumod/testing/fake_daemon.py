"""The API over a box in memory: `python -m gpumod.testing.fake_daemon --port 7780`.

For writing clients without cards or engines. Nothing that it shows runs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpumod.api import ApiDeps, create_app, serve
from gpumod.core.paths import DEFAULT_HOST
from gpumod.testing.jobs import FakeJobs
from gpumod.testing.switching import FakeBox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import FastAPI


def build(box: FakeBox, **more: Any) -> FastAPI:
    """The application over a fake box. `more` are further fields of ApiDeps."""
    jobs = more.pop("jobs", None) or FakeJobs(box)
    deps = ApiDeps(
        switching=box,
        leases=box.leases,
        events=box.events,
        store=box.history,
        jobs=jobs.queue,
        schedules=jobs.schedules,
        version="fake",
        **more,
    )
    return create_app(deps)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description="gpumod's API over a box in memory")
    parser.add_argument("--port", type=int, help="listen on 127.0.0.1; 0 takes a free port")
    parser.add_argument("--socket", type=Path, help="listen on this Unix socket")
    parser.add_argument("--step-seconds", type=float, default=0.2, help="how long a step of a switch takes")
    options = parser.parse_args(argv)
    if options.port is None and options.socket is None:
        parser.error("give --port or --socket")
    asyncio.run(_run(options))
    return 0


async def _run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with contextlib.ExitStack() as stack:
        sockets, names = _listen(options, stack)
        box = FakeBox(options.step_seconds)
        try:
            await serve(
                build(box),
                sockets,
                stop,
                on_started=lambda: print(f"listening on {', '.join(names)}", flush=True),
            )
        finally:
            await box.close()


def _listen(
    options: argparse.Namespace, stack: contextlib.ExitStack
) -> tuple[list[socket.socket], list[str]]:
    sockets, names = [], []
    if options.port is not None:
        tcp = stack.enter_context(socket.socket())
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind((DEFAULT_HOST, options.port))
        sockets.append(tcp)
        names.append(f"http://{DEFAULT_HOST}:{tcp.getsockname()[1]}")
    if options.socket is not None:
        options.socket.unlink(missing_ok=True)
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(str(options.socket))
        stack.callback(options.socket.unlink, missing_ok=True)
        sockets.append(unix)
        names.append(str(options.socket))
    return sockets, names


if __name__ == "__main__":
    raise SystemExit(main())
