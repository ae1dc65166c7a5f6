"""Starts the sandbox, reads what it says, and ends it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gpumod.bench.sandbox.command import Interpreter, bubblewrap, task
from gpumod.bench.sandbox.execution import DEFAULT_LIMITS, Ended, Execution, Limits, SandboxFailedError
from gpumod.bench.sandbox.syscalls import Machine
from gpumod.core.become import as_user

_NOBODY: Final = 65534
_CHUNK: Final = 64 * 1024
_KILLED_WITHIN: Final = 10.0
_STARTED_WITHIN: Final = 20.0
"""Seconds for the sandbox's own start and end, beside what the program may take."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Runs programs that must not be trusted. Made by `open_sandbox`, which tries it first.

    Args:
        program: bubblewrap's path.
        interpreter: the Python inside; its path is there as `python`.
        version: of that Python, for example `3.11.2`.
    """

    program: str
    interpreter: Interpreter
    machine: Machine
    version: str = ""

    @property
    def python(self) -> tuple[str, ...]:
        """How a Python script is started inside: without site packages, which differ from box to box."""
        return (self.interpreter.path, "-I", "-S", "-B")

    async def run(
        self, argv: Sequence[str], files: Mapping[str, str] | None = None, limits: Limits = DEFAULT_LIMITS
    ) -> Execution:
        """Run a program until it ends; when this returns, raises or is cancelled, nothing of it is left.

        Args:
            argv: the program, by its absolute path inside.
            files: texts by name, put into the working directory first.
            limits: all bounds.

        Raises:
            SandboxFailedError: nothing is known of the program; the detail says what failed.
            ValueError: a file's name leaves the working directory.
        """
        stop = asyncio.Event()
        work = task(argv, files or {}, limits, self.machine)
        running = asyncio.ensure_future(self._run(work, limits, stop))
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

    async def _run(self, work: bytes, limits: Limits, stop: asyncio.Event) -> Execution:
        """As `run`; it is not cancelled but stopped."""
        began = time.monotonic()
        with _pipe() as (reading, writing):
            process = await self._start(writing)
            os.close(writing.pop())
            inside = _Inside(process, stop)
            try:
                ended = await inside.follow(work, limits, reading.pop())
            finally:
                await inside.end()
        return inside.execution(ended, time.monotonic() - began)

    async def _start(self, writing: list[int]) -> asyncio.subprocess.Process:
        report = writing[0]
        status = os.dup(report)
        # The kernel does not limit the number of root's processes, not even those in a user namespace.
        as_nobody = os.geteuid() == 0
        try:
            return await asyncio.create_subprocess_exec(
                *(as_user(_NOBODY, _NOBODY) if as_nobody else ()),
                *bubblewrap(self.program, self.interpreter, status, report),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=_CHUNK,
                cwd="/",
                env={},
                pass_fds=(status, report),
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise SandboxFailedError(f"bubblewrap cannot be started: {error}") from error
        finally:
            os.close(status)


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[list[int], list[int]]]:
    """A pipe; an end that is still in its list is closed afterwards."""
    read, write = os.pipe()
    ends = [read], [write]
    try:
        yield ends
    finally:
        for one in (*ends[0], *ends[1]):
            os.close(one)


@dataclass(slots=True)
class _Inside:
    """One sandbox at work."""

    process: asyncio.subprocess.Process
    stop: asyncio.Event
    output: bytearray = field(default_factory=bytearray)
    errors: bytearray = field(default_factory=bytearray)
    report: dict[str, object] = field(default_factory=dict)
    _first: int | None = None
    """A descriptor of the first process: it stays that process, whoever gets its number later."""
    _transport: asyncio.ReadTransport | None = None
    _told: asyncio.StreamReader | None = None
    _too_much: asyncio.Event = field(default_factory=asyncio.Event)
    _readers: list[asyncio.Task[None]] = field(default_factory=list)

    async def follow(self, work: bytes, limits: Limits, pipe: int) -> Ended | None:
        """Wait until the program ends or has to be ended; None: as the report says."""
        assert self.process.stdout is not None  # noqa: S101 - it is a pipe
        assert self.process.stderr is not None  # noqa: S101 - as above
        self._readers = [
            asyncio.create_task(self._read(self.process.stdout, self.output, limits.output)),
            asyncio.create_task(self._read(self.process.stderr, self.errors, limits.output)),
        ]
        self._told = told = asyncio.StreamReader()
        self._transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(told), os.fdopen(pipe, "rb", 0)
        )
        listening = asyncio.create_task(self._listen(told))
        too_much = asyncio.create_task(self._too_much.wait())
        stopped = asyncio.create_task(self.stop.wait())
        try:
            async with asyncio.timeout(_STARTED_WITHIN):
                await self._feed(work)
            done, _ = await asyncio.wait(
                {listening, too_much, stopped}, timeout=limits.wall, return_when=asyncio.FIRST_COMPLETED
            )
        except TimeoutError:
            raise SandboxFailedError(f"the sandbox did not start within {_STARTED_WITHIN:g} s") from None
        finally:
            for one in (listening, too_much, stopped):
                one.cancel()
            await asyncio.gather(listening, too_much, stopped, return_exceptions=True)
        if too_much in done:
            return Ended.TOO_MUCH_OUTPUT
        return None if done else Ended.TIMED_OUT

    async def end(self) -> None:
        """Kill whatever is left, and wait until it is gone."""
        self._kill()
        try:
            async with asyncio.timeout(_KILLED_WITHIN):
                if self._told is not None:
                    await self._until_gone(self._told)
                await asyncio.gather(*self._readers)
                await self.process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            raise SandboxFailedError(f"the sandbox was not gone {_KILLED_WITHIN:g} s after SIGKILL") from None
        finally:
            for reader in self._readers:
                reader.cancel()
            await asyncio.gather(*self._readers, return_exceptions=True)
            if self._transport is not None:
                self._transport.close()
            if self._first is not None:
                os.close(self._first)
                self._first = None

    def execution(self, ended: Ended | None, seconds: float) -> Execution:
        """What came of it.

        Raises:
            SandboxFailedError: as `Sandbox.run`.
        """
        said = self.report
        errors = self.errors.decode(errors="replace")
        if ended is None:
            if "ended" not in said:
                why = str(said.get("failed") or errors.strip()[-500:] or "it ended without a word")
                raise SandboxFailedError(f"the sandbox failed: {why}")
            ended = Ended(str(said["ended"]))
        status, memory = said.get("status"), said.get("memory")
        stopped = ended not in {Ended.EXITED, Ended.SIGNALLED}
        return Execution(
            ended,
            status if isinstance(status, int) and not stopped else None,
            self.output.decode(errors="replace"),
            errors,
            memory if isinstance(memory, int) else 0,
            seconds,
        )

    def _kill(self) -> None:
        """Kill the first process, with which the kernel kills all in its namespace; bubblewrap then ends.

        As long as that process is not known, it is waited for: bubblewrap killed between its making and its
        first steps would leave it waiting for ever (bubblewrap 0.8: it reads an event of its parent's then).
        """
        if self._first is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._first, signal.SIGKILL)

    async def _until_gone(self, told: asyncio.StreamReader) -> None:
        """The pipe's end is the end of all who could write to it: bubblewrap and the first process."""
        while line := await told.readline():
            self._note(line)
            self._kill()

    async def _feed(self, work: bytes) -> None:
        stdin = self.process.stdin
        assert stdin is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has ended; its report says why
            stdin.write(work)
            await stdin.drain()
            stdin.close()
            await stdin.wait_closed()

    async def _listen(self, told: asyncio.StreamReader) -> None:
        while line := await told.readline():
            self._note(line)
            if "ended" in self.report or "failed" in self.report:
                return

    def _note(self, line: bytes) -> None:
        with contextlib.suppress(ValueError):
            document = json.loads(line)
            pid = document.get("child-pid")
            if pid is None:
                self.report.update(document)
            elif self._first is None:
                with contextlib.suppress(ProcessLookupError):
                    self._first = os.pidfd_open(pid)

    async def _read(self, stream: asyncio.StreamReader, into: bytearray, limit: int) -> None:
        while piece := await stream.read(_CHUNK):
            into += piece[: limit - len(into)]
            if len(into) >= limit:
                self._too_much.set()
