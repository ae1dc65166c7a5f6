"""Runs a harness: with every bound, and so that nothing of it is left when it ends or is ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gpumod.bench.suites.exec.leftovers import VARIABLE, kill_marked, new_mark
from gpumod.core.errors import GpumodError
from gpumod.engines.identity import identity

_CHUNK: Final = 64 * 1024
_MOST_OUTPUT: Final = 16 * 1024 * 1024
_TAIL: Final = 8 * 1024
_GRACE: Final = 5.0
"""Seconds between the polite signal and the one that cannot be ignored."""
_GONE_WITHIN: Final = 10.0


@dataclass(frozen=True, slots=True)
class Run:
    """A run that ended.

    Args:
        status: the exit code, negative for a signal; None where it was ended for its time.
        output: the standard output, at most 16 MiB of it.
        cut: there was more of it.
        errors: the end of the standard error.
    """

    status: int | None
    output: bytes
    cut: bool
    errors: str


async def run(
    argv: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    seconds: float,
    user: str | None = None,
) -> Run:
    """Run a program until it ends; when this returns, raises or is cancelled, nothing of it is left.

    Every process that descends from it has a variable of its own in its environment, by which also those are
    found that left the process group.

    Raises:
        OSError: it cannot be executed; as another user it ends with 127 instead.
        GpumodError: it could not be killed.
    """
    stop = asyncio.Event()
    running = asyncio.ensure_future(_run(argv, environment, folder, seconds, user, stop))
    try:
        return await asyncio.shield(running)
    finally:
        # Cancelled: it is told to stop, and is waited for, however often that is cancelled again.
        stop.set()
        while not running.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({running})
        if not running.cancelled():
            running.exception()  # seen


async def _run(
    argv: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    seconds: float,
    user: str | None,
    stop: asyncio.Event,
) -> Run:
    """As `run`; it is not cancelled but stopped."""
    mark = new_mark()
    process = await asyncio.create_subprocess_exec(
        *identity(user),
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**environment, VARIABLE: mark},
        cwd=folder,
        start_new_session=True,
        limit=_CHUNK,
    )
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    assert process.stderr is not None  # noqa: S101 - as above
    output, errors = _Kept(_MOST_OUTPUT), _Kept(_TAIL, end=True)
    readers = [
        asyncio.create_task(output.read(process.stdout)),
        asyncio.create_task(errors.read(process.stderr)),
    ]
    ending = asyncio.create_task(_exit_of(process.pid))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({ending, stopped}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        in_time = ending.done()
        if not in_time:
            await _ask_to_end(process, ending)
    finally:
        stopped.cancel()
        await _end(process, mark, ending, readers)
    return Run(
        process.returncode if in_time else None,
        bytes(output.content),
        output.cut,
        errors.content.decode(errors="replace"),
    )


@dataclass(slots=True)
class _Kept:
    """The beginning or the end of a stream; the rest is read and forgotten."""

    most: int
    end: bool = False
    cut: bool = False
    content: bytearray = field(default_factory=bytearray)

    async def read(self, stream: asyncio.StreamReader) -> None:
        while piece := await stream.read(_CHUNK):
            self.cut = self.cut or len(self.content) + len(piece) > self.most
            if self.end:
                self.content += piece
                del self.content[: -self.most]
            else:
                self.content += piece[: self.most - len(self.content)]


async def _exit_of(pid: int) -> None:
    """Wait until a child has ended. asyncio's own `wait` also waits for the end of its pipes."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return  # it was waited for already
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def _ask_to_end(process: asyncio.subprocess.Process, ending: asyncio.Task[None]) -> None:
    """An engine that is told to end gives memory of the card back; a killed one leaves it to the driver."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    await asyncio.wait({ending}, timeout=_GRACE)


async def _end(
    process: asyncio.subprocess.Process,
    mark: str,
    ending: asyncio.Task[None],
    readers: list[asyncio.Task[None]],
) -> None:
    """Kill whatever is left, and wait until it is gone.

    Raises:
        GpumodError: it is not.
    """
    try:
        async with asyncio.timeout(_GONE_WITHIN):
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            await asyncio.to_thread(kill_marked, mark)
            await asyncio.gather(ending, process.wait(), *readers)
    except TimeoutError:
        raise GpumodError(
            f"what process {process.pid} of the harness started was not gone {_GONE_WITHIN:g} s after SIGKILL"
        ) from None
    finally:
        for task in (ending, *readers):
            task.cancel()
        await asyncio.gather(ending, *readers, return_exceptions=True)
