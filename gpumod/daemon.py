"""gpumodd: builds everything, serves, and answers signals.

The order of a start: settings, the lock on the state directory, the store, the hardware, the
runners and engines, then adoption of what still runs; only then does it listen. Converging goes on
in the background, so that `gpumodctl status` answers from the first moment.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import faulthandler
import logging
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from gpumod import __version__
from gpumod.core.errors import ConfigError, GpumodError
from gpumod.core.names import BLANK
from gpumod.core.switch import SwitchRecord, SwitchRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from gpumod.config.settings import Settings
    from gpumod.core.job_ports import JobStore
    from gpumod.runners.notify import Notifier
    from gpumod.serving import Listeners
    from gpumod.supervisor.parts import Parts

_log = logging.getLogger("gpumod")

_WINDING_UP = 20.0
"""Seconds, besides the drain, that the end may take before the service manager loses its patience."""
_DESCRIPTORS = 65536
"""Open files that the daemon may have: a request has two connections, and streams wait by the thousand."""
EXIT_CONFIG = 78
"""EX_CONFIG of sysexits.h: a service manager is told not to try again."""


class SystemClock:
    """Time as the machine has it."""

    def now(self) -> float:
        """Unix time in seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since boot, more or less; never goes back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait that long."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Options:
    """The command line."""

    config: Path | None
    foreground: bool
    verbose: bool


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemon until it is told to stop; the exit status is returned."""
    options = parse_options(argv)
    faulthandler.enable()  # a watchdog's SIGABRT leaves in the log where the daemon hung
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.INFO,
        format="%(levelname)s %(name)s: %(message)s" if "JOURNAL_STREAM" in os.environ else _PLAIN_FORMAT,
        stream=sys.stderr,
    )
    for noisy in ("httpx2", "httpcore2", "alembic", "asyncio", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return run(options)


_PLAIN_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def run(options: Options, adapt: Callable[[Parts], Parts] = lambda parts: parts) -> int:
    """Run with given options. `adapt` may replace parts before anything starts, for fault injection."""
    from gpumod.config.settings import load_settings

    try:
        settings = load_settings(options.config)
    except ConfigError as error:
        print(error.detail, file=sys.stderr)  # noqa: T201 - before logging could be trusted to be read
        return EXIT_CONFIG
    allow_descriptors()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(settings, options, adapt))
    except ConfigError as error:
        _log.error("%s", error.detail)
        return EXIT_CONFIG
    except GpumodError as error:
        _log.error("%s", error.detail)
        return 1
    except KeyboardInterrupt:
        return 130


def allow_descriptors() -> None:
    """Raise the soft limit of open files: where it comes from, 1024 are the rule (getrlimit(2), systemd)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def parse_options(argv: Sequence[str] | None) -> Options:
    """The command line as options; exits with 2 on bad ones."""
    parser = argparse.ArgumentParser(prog="gpumodd", description="Owns the memory of the GPUs in this box.")
    parser.add_argument("--config", type=Path, help="the folder with config.yaml, presets/ and modes/")
    parser.add_argument("--foreground", action="store_true", help="Ctrl-C leaves the box as `on_exit` says")
    parser.add_argument("--verbose", action="store_true", help="log what is probed and decided")
    parser.add_argument("--version", action="version", version=f"gpumodd {__version__}")
    parsed = parser.parse_args(argv)
    return Options(parsed.config, parsed.foreground, parsed.verbose)


async def _serve(settings: Settings, options: Options, adapt: Callable[[Parts], Parts]) -> int:
    from gpumod.runners.notify import Notifier
    from gpumod.store.lock import StateLock
    from gpumod.wiring import build_parts

    notifier = Notifier()
    with StateLock(settings.state_dir):
        async with contextlib.AsyncExitStack() as stack:
            parts, job_store = await build_parts(settings, SystemClock(), stack)
            await Daemon(settings, options, adapt(parts), job_store, notifier).run()
    return 0


class Daemon:
    """The life of one daemon, from adoption to its last answer."""

    def __init__(
        self, settings: Settings, options: Options, parts: Parts, job_store: JobStore, notifier: Notifier
    ) -> None:
        self._settings = settings
        self._options = options
        self._parts = parts
        self._notifier = notifier
        from gpumod.supervisor.supervisor import Supervisor
        from gpumod.wiring import build_jobs

        self._supervisor = Supervisor(parts)
        self._jobs = build_jobs(parts, job_store, self._supervisor, settings.config_dir)
        self._ended = asyncio.Event()
        self._hurry = asyncio.Event()
        self._interrupts = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until a signal says to stop. Engines are left as the signal and `on_exit` say."""
        from gpumod.serving import Listeners

        # Bound before anything is touched: an address that is taken must not cost a running engine.
        listeners = Listeners(
            self._settings, self._supervisor, self._parts, self._jobs.queue, self._jobs.schedules
        )
        boot = self._settings.state_dir / "boot_id"
        try:
            listeners.bind()
            rebooted = _last_boot(boot) != self._parts.boot_id
            await self._supervisor.start(boot=self._settings.boot, rebooted=rebooted)
            self._handle_signals()
            await listeners.start()
            self._spawn(self._notifier.feed_watchdog())
            self._spawn(self._note_boot(boot))
            self._jobs.worker.start(self._supervisor.settled)
            await self._jobs.schedules.start()
            self._notifier.send("READY=1", f"STATUS=listening on {', '.join(listeners.addresses)}")
            _log.info("gpumodd %s listens on %s", __version__, ", ".join(listeners.addresses))
            await self._until_told(listeners)
            await self._drain(listeners)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._jobs.schedules.close()
            await self._jobs.worker.close()  # a job that runs goes on with the next daemon
            try:
                await self._supervisor.close()
            finally:
                await listeners.close()

    async def _until_told(self, listeners: Listeners) -> None:
        """Wait for the end. A server that ends by itself ends the daemon, which its manager starts again.

        Raises:
            GpumodError: the server ended by itself.
        """
        told = asyncio.ensure_future(self._ended.wait())
        server = asyncio.ensure_future(listeners.ended())
        try:
            await asyncio.wait({told, server}, return_when=asyncio.FIRST_COMPLETED)
            if not told.done():
                raise GpumodError(f"the HTTP server ended by itself: {server.result()}")
        finally:
            told.cancel()
            server.cancel()
            await asyncio.gather(told, server, return_exceptions=True)

    async def _drain(self, listeners: Listeners) -> None:
        """Let running requests finish; a further signal does not wait for that."""
        longest = self._settings.gateway.drain + _WINDING_UP
        self._notifier.send("STOPPING=1", f"EXTEND_TIMEOUT_USEC={longest * 1e6:.0f}")
        draining = asyncio.ensure_future(listeners.drain())
        hurry = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait({draining, hurry}, return_when=asyncio.FIRST_COMPLETED)
        for one in (draining, hurry):
            one.cancel()
        await asyncio.gather(draining, hurry, return_exceptions=True)

    async def _note_boot(self, path: Path) -> None:
        """Remember this boot once its mode has been brought up: until then `boot:` still counts."""
        await self._supervisor.settled()
        partial = path.with_suffix(".new")
        try:
            partial.write_text(self._parts.boot_id + "\n")
            partial.replace(path)
        except OSError as error:
            _log.error("%s cannot be written: %s", path, error.strerror)

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._terminated)
        loop.add_signal_handler(signal.SIGINT, self._interrupted)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self._reload()))

    def _terminated(self) -> None:
        if self._ended.is_set():
            self._hurry.set()
        self._ended.set()

    def _interrupted(self) -> None:
        """Ctrl-C: quiesce to blank if so configured; a second one does not wait for that."""
        self._interrupts += 1
        quiesce = self._options.foreground and self._settings.on_exit == "blank"
        if quiesce and self._interrupts == 1:
            self._spawn(self._quiesce())
        else:
            self._terminated()

    async def _quiesce(self) -> None:
        _log.info("going to blank; Ctrl-C again leaves the engines as they are")
        try:
            begun = await self._supervisor.begin(SwitchRequest(mode=BLANK, force=True, by="Ctrl-C"))
            if isinstance(begun, SwitchRecord) and not begun.state.ended:
                begun = await self._supervisor.wait(begun.id)
            if isinstance(begun, SwitchRecord):
                _log.info("%s", begun.left)
        except GpumodError as error:
            _log.error("%s", error.detail)
        finally:
            self._ended.set()

    async def _reload(self) -> None:
        self._notifier.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            catalog = await self._supervisor.reload()
            for problem in catalog.problems:
                _log.warning("%s:%s: %s: %s", problem.file, problem.line or "?", problem.key, problem.detail)
        except (GpumodError, OSError) as error:
            _log.error("the files could not be read again, what was read before holds: %s", error)
        finally:
            self._notifier.send("READY=1")  # else the manager would wait for it in vain

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _last_boot(path: Path) -> str:
    """The boot that the last daemon ran in; empty where there was none."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
