"""Asks a model, and answers with what it said and when: every failure is an outcome, none an exception."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Final

from gpumod.bench.meter.answer import whole
from gpumod.bench.meter.exchange import Exchange, place
from gpumod.bench.meter.ledger import entered
from gpumod.bench.meter.reply import Reply, Times
from gpumod.bench.meter.sampler import SERVER_DEFAULT, Sampler
from gpumod.core.job import Outcome
from gpumod.core.job_ports import Endpoint
from gpumod.core.ports import Clock

_PATH: Final = "/v1/chat/completions"
_BULK: Final = ("messages", "tools")


async def chat(
    endpoint: Endpoint,
    messages: Sequence[Mapping[str, object]],
    *,
    sampler: Sampler = SERVER_DEFAULT,
    max_tokens: int | None = None,
    tools: Sequence[Mapping[str, object]] | None = None,
    timeout: float,
    extra: Mapping[str, object] | None = None,
    clock: Clock,
    stream: bool = True,
    heard: Callable[[], None] | None = None,
) -> Reply:
    """One chat completion. Cancelling it closes the connection, by which an engine knows to stop.

    Args:
        endpoint: the server.
        messages: as OpenAI's API has them.
        sampler: sent under the names that the engine understands.
        max_tokens: None leaves it to the server.
        tools: as OpenAI's API has them.
        timeout: seconds on `clock`, for all of it.
        extra: further fields of the body; they replace the others.
        clock: whose `monotonic` all times are of.
        stream: without, there is no time of a first token.
        heard: called after each read that brought a part of a streamed answer.
    """
    body = request_body(endpoint, messages, sampler, max_tokens, tools, extra, stream=stream)
    kept = {name: value for name, value in body.items() if name not in _BULK}
    try:
        host, port, path = place(endpoint.url)
        request = _request(f"{host}:{port}", path + _PATH, body)
    except (ValueError, TypeError) as error:
        return _nowhere(clock, error, kept)
    exchange = Exchange(request, clock.monotonic, stream=bool(body.get("stream")), heard=heard)
    with entered() as enter:
        if await _within(clock, timeout, _exchange(exchange, host, port)):
            return enter(_reply(exchange, kept))
        exchange.fail("")
        late = f"no complete answer within {timeout:g} s"
        return enter(_reply(exchange, kept, (Outcome.TIMEOUT, late)))


def request_body(
    endpoint: Endpoint,
    messages: Sequence[Mapping[str, object]],
    sampler: Sampler,
    max_tokens: int | None,
    tools: Sequence[Mapping[str, object]] | None,
    extra: Mapping[str, object] | None,
    *,
    stream: bool,
) -> dict[str, object]:
    """The body of a request, as it is sent."""
    body: dict[str, object] = {"model": endpoint.model, "messages": list(messages), "stream": stream}
    if stream:
        body["stream_options"] = {"include_usage": True}
    if max_tokens is not None:
        body["max_tokens"] = max_tokens
    if tools:
        body["tools"] = list(tools)
    return body | sampler.body(endpoint.engine) | dict(extra or {})


def _request(host: str, path: str, document: Mapping[str, object]) -> bytes:
    body = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _exchange(exchange: Exchange, host: str, port: int) -> None:
    try:
        await asyncio.get_running_loop().create_connection(lambda: exchange, host, port)
        await exchange.ended
    except OSError as error:
        exchange.fail(error.strerror or str(error))
    finally:
        exchange.abort()


async def _within(clock: Clock, seconds: float, work: Coroutine[None, None, None]) -> bool:
    """Whether the work was done before so much time had passed on that clock; it is cancelled otherwise."""
    task = asyncio.ensure_future(work)
    alarm = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({task, alarm}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            return False
        task.result()
        return True
    finally:
        alarm.cancel()
        task.cancel()
        await asyncio.gather(alarm, task, return_exceptions=True)


def _reply(
    exchange: Exchange, request: Mapping[str, object], verdict: tuple[Outcome, str] | None = None
) -> Reply:
    answer = exchange.answer
    outcome, error = verdict or _verdict(exchange)
    return Reply(
        outcome,
        text=whole(answer.content),
        reasoning=whole(answer.reasoning),
        tool_calls=answer.tool_calls,
        finish_reason=answer.finish_reason,
        error=error,
        status=exchange.status,
        times=Times(
            sent=exchange.sent,
            headers=exchange.headers,
            first_token=answer.first_token,
            first_content=answer.first_content,
            chunks=tuple(answer.chunks),
            tokens=tuple(answer.tokens) if len(answer.tokens) == len(answer.chunks) else (),
            ended=exchange.finished or 0.0,
        ),
        usage=answer.usage,
        timings=answer.timings,
        request=request,
    )


def _verdict(exchange: Exchange) -> tuple[Outcome, str]:
    answer = exchange.answer
    if exchange.status is not None and exchange.status >= 300:
        return Outcome.REFUSED, exchange.complaint
    if answer.error:
        return Outcome.REFUSED, answer.error
    if not answer.done and not answer.finish_reason:
        return Outcome.DISCONNECTED, exchange.failure or "the stream ended before the answer did"
    if not (answer.content or answer.reasoning or answer.tool_calls):
        return Outcome.EMPTY, ""
    if answer.finish_reason == "length":
        return Outcome.CUT, ""
    if not answer.tool_calls and not "".join(answer.content).strip():
        return Outcome.EMPTY, ""
    return Outcome.OK, ""


def _nowhere(clock: Clock, error: Exception, request: Mapping[str, object]) -> Reply:
    """The reply to what could not be sent at all."""
    why = f"it cannot be sent: {error}"
    return Reply(Outcome.REFUSED, error=why, times=Times(ended=clock.monotonic()), request=request)
