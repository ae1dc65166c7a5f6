"""One thread for calls that may hang: whoever waits for it gives up in time, and no second one is started."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_STANDSTILL = 0.5
"""Seconds after its time at which a timer says that the loop, or the whole machine, stood still."""


@dataclass(slots=True)
class _Job:
    call: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    given_up: bool = False


class Worker:
    """Runs calls one after the other in a thread of its own, which the first call starts.

    A call that does not return keeps the thread; calls that are asked for meanwhile fail with
    TimeoutError, at once when the present call is past the bound already, and are never run.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._since: float | None = None

    @property
    def busy_for(self) -> float:
        """Seconds that the present call has been running; 0 between calls."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    async def run(self, call: Callable[[], _T], bound: float) -> _T:
        """The call's result, or what it raises.

        Raises:
            TimeoutError: not finished within `bound` seconds.
        """
        if self.busy_for > bound:
            raise TimeoutError
        loop = asyncio.get_running_loop()
        job = _Job(call, loop, loop.create_future())
        if self._thread is None:
            # A daemon thread: one that hangs in a driver must not keep the process from ending.
            self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            self._thread.start()
        self._jobs.put(job)
        try:
            due = loop.time() + bound
            await asyncio.wait({job.future}, timeout=bound)
            if not job.future.done() and loop.time() - due > _STANDSTILL:
                # All stood still, not the driver: the call has not had its time.
                await asyncio.wait({job.future}, timeout=bound)
            if not job.future.done():
                raise TimeoutError
            result: _T = job.future.result()
            return result
        finally:
            job.given_up = True
            job.future.cancel()

    async def close(self, bound: float) -> bool:
        """End the thread; False when it hangs in a call and had to be left behind."""
        thread, self._thread = self._thread, None
        if thread is None:
            return True
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._jobs.put(_Job(lambda: loop.call_soon_threadsafe(ended.set), loop, loop.create_future()))
        self._jobs.put(None)
        try:
            async with asyncio.timeout(bound):
                await ended.wait()
        except TimeoutError:
            _log.warning("thread %s hangs in a call and is left behind", self._name)
            return False
        thread.join()
        return True

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            if job.given_up:
                continue
            self._since = time.monotonic()
            try:
                result, error = job.call(), None
            except Exception as raised:  # noqa: BLE001 - handed to whoever asked
                result, error = None, raised
            self._since = None
            # The loop may have been closed while the call hung.
            with contextlib.suppress(RuntimeError):
                job.loop.call_soon_threadsafe(_deliver, job.future, result, error)
            del job, result, error


def _deliver(future: asyncio.Future[Any], result: object, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
