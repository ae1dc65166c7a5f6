"""Asks the gateway as agents do, and says what became of each request."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Any, Self

import httpx2

PATIENCE = 120.0
"""Seconds after which a request hangs."""
_RETRYABLE = {429, 503}
_DEFINITE = {404, 409}


class Outcome(StrEnum):
    """What became of a request."""

    ANSWERED = auto()
    RETRYABLE = auto()
    """An error that says when to ask again."""
    DEFINITE = auto()
    """404 or 409: no request may bring that model now."""
    CUT = auto()
    """An error event within the stream, and the end mark."""
    LEFT = auto()
    """The client went away, as it had meant to."""


class WrongAnswerError(AssertionError):
    """The client got what no client may get."""


@dataclass(slots=True)
class Asked:
    """A request and what came of it; times in seconds from its sending.

    Attributes:
        code: of the error, if it is one.
        models: who answered, by what the answer says.
        waits: comments that said to keep waiting.
        first_byte: of anything.
        first_event: of the answer itself.
    """

    model: str
    sent: float
    outcome: Outcome = Outcome.ANSWERED
    code: str = ""
    models: set[str] = field(default_factory=set)
    waits: int = 0
    events: int = 0
    first_byte: float | None = None
    first_event: float | None = None
    seconds: float = 0.0


def agent(port: int) -> httpx2.AsyncClient:
    """An agent's client; it keeps its connections."""
    return httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, trust_env=False)


def body(model: str, tokens: int, *, stream: bool = False) -> dict[str, Any]:
    """A small question with an answer of exactly so many tokens."""
    said = [{"role": "user", "content": "Go on."}]
    return {"model": model, "messages": said, "max_tokens": tokens, "ignore_eos": True, "stream": stream}


async def ask(
    client: httpx2.AsyncClient, model: str, *, tokens: int = 4, stream: bool = False, leave: int | None = None
) -> Asked:
    """Ask, and read the answer to its end; with `leave`, go away after so many events of a stream.

    Raises:
        WrongAnswerError: the request hangs, its connection breaks, or its answer is none that may come.
    """
    asked = Asked(model, time.time())
    began = time.monotonic()
    try:
        async with asyncio.timeout(PATIENCE):
            await _ask(client, asked, body(model, tokens, stream=stream), began, leave)
    except TimeoutError:
        raise WrongAnswerError(f"{asked} hangs") from None
    except httpx2.HTTPError as error:
        raise WrongAnswerError(f"{asked} was broken off: {error!r}") from error
    asked.seconds = time.monotonic() - began
    return asked


async def _ask(
    client: httpx2.AsyncClient, asked: Asked, question: dict[str, Any], began: float, leave: int | None
) -> None:
    async with client.stream("POST", "/v1/chat/completions", json=question) as answer:
        if answer.headers["content-type"].startswith("text/event-stream"):
            await _events(answer, asked, began, leave)
            return
        document = json.loads(await answer.aread())
        asked.first_byte = asked.first_event = time.monotonic() - began
        if answer.status_code == 200:
            asked.models.add(document["model"])
            return
        asked.code = document["error"]["code"]
        if answer.status_code in _RETRYABLE and int(answer.headers["retry-after"]) >= 1:
            asked.outcome = Outcome.RETRYABLE
        elif answer.status_code in _DEFINITE:
            asked.outcome = Outcome.DEFINITE
        else:
            raise WrongAnswerError(f"{asked} got {answer.status_code}: {document}")


async def _events(answer: httpx2.Response, asked: Asked, began: float, leave: int | None) -> None:
    ended = False
    async for line in answer.aiter_lines():
        now = time.monotonic() - began
        asked.first_byte = now if asked.first_byte is None else asked.first_byte
        if line.startswith(":"):
            asked.waits += 1
        elif line == "data: [DONE]":
            ended = True
        elif line.startswith("data: "):
            asked.first_event = now if asked.first_event is None else asked.first_event
            _event(asked, json.loads(line.removeprefix("data: ")))
            if leave is not None and asked.events >= leave:
                asked.outcome = Outcome.LEFT
                return
    if not ended:
        raise WrongAnswerError(f"{asked}: the stream has no end")


def _event(asked: Asked, document: dict[str, Any]) -> None:
    if "error" in document:
        asked.outcome, asked.code = Outcome.CUT, document["error"]["code"]
        return
    asked.events += 1
    asked.models.add(document["model"])


class Line:
    """One kept connection, for times that are to be compared; use it as a context manager."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def post(self, path: str, document: object) -> tuple[float, Any]:
        """Seconds from sending to the last byte, and the answer.

        Raises:
            WrongAnswerError: it is not 200.
        """
        data = json.dumps(document).encode()
        began = time.perf_counter()
        self._connection.request("POST", path, data, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        text = answer.read()
        took = time.perf_counter() - began
        if answer.status != 200:
            raise WrongAnswerError(f"{path} got {answer.status}: {text[:500]!r}")
        return took, json.loads(text)
