"""What every handler works with: bounded calls to the ports, the caller, and answers."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from starlette.responses import Response

from gpumod.access import Principal
from gpumod.api.deps import ApiDeps
from gpumod.api.metrics import Metrics
from gpumod.api.streams import Streams
from gpumod.api.wire import dumps
from gpumod.core.errors import TimedOutError
from gpumod.core.switch import SwitchRecord

T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer before it is written: what can be kept under an idempotency key."""

    status: int
    value: object
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        """The answer as it is sent."""
        return answer(self.value, self.status, self.headers)


def answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A core value as the answer."""
    kind = "application/json" if status < 400 else "application/problem+json"
    return Response(dumps(value), status, dict(headers or {}), media_type=kind)


class Context:
    """One API at work: its ports, and what it has under way."""

    def __init__(self, deps: ApiDeps) -> None:
        self.deps = deps
        self.streams = Streams(deps.limits)
        self.answers: Counter[tuple[str, int]] = Counter()
        self.metrics = Metrics(since=deps.now())
        self.under_way: dict[str, tuple[str, asyncio.Task[Answer]]] = {}
        """Effects by idempotency key, each with the fingerprint of its request."""
        self._tasks: set[asyncio.Task[Any]] = set()

    async def read(self, call: Coroutine[Any, Any, T], *, within: float | None = None) -> T:
        """The answer of a port that only reads.

        Raises:
            TimedOutError: it did not answer in time; it is no longer asked.
        """
        seconds = self.deps.limits.answer if within is None else within
        try:
            async with asyncio.timeout(seconds):
                return await call
        except TimeoutError:
            raise TimedOutError(f"no answer within {seconds:g} s: something the daemon needs hangs") from None

    def spawn(self, call: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Work that goes on if nobody waits for it any more."""
        task = asyncio.create_task(call)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    async def act(self, call: Coroutine[Any, Any, T]) -> T:
        """The answer of a port that changes something. It is never broken off in the middle.

        Raises:
            TimedOutError: it did not answer in time; it goes on.
        """
        task = self.spawn(call)
        seconds = self.deps.limits.planning
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise TimedOutError(f"no answer within {seconds:g} s; what was asked for may still happen")
        return task.result()

    async def ended(self, record: SwitchRecord, seconds: float) -> SwitchRecord:
        """The record once the switch has ended, the time has passed, or the daemon stops."""
        if record.state.ended or not seconds:
            return record
        waiting = asyncio.create_task(_wait(self.deps, record, seconds))
        closing = asyncio.create_task(self.streams.closing.wait())
        try:
            await asyncio.wait({waiting, closing}, timeout=seconds + 1, return_when=asyncio.FIRST_COMPLETED)
            return waiting.result() if waiting.done() else record
        finally:
            waiting.cancel()
            closing.cancel()
            await asyncio.gather(waiting, closing, return_exceptions=True)

    async def close(self) -> None:
        """End streams and whatever still waits for a port that does not answer."""
        self.streams.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.debug("a call ended with %r", error)


async def _wait(deps: ApiDeps, record: SwitchRecord, seconds: float) -> SwitchRecord:
    return await deps.switching.wait(record.id, seconds)


async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


async def _principal(request: Request) -> Principal:
    principal: Principal = request.state.principal
    return principal


Ctx = Annotated[Context, Depends(_context)]
Caller = Annotated[Principal, Depends(_principal)]
