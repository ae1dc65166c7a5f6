"""Clients of many kinds. Each says what became of its request, or that its answer was none it may get."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Any

PATIENCE = 300.0
"""Seconds after which a request hangs."""
_RETRYABLE = {429, 503}
_DEFINITE = {404, 409}
_PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}


class Kind(StrEnum):
    """What a client is like."""

    SMALL = auto()
    STREAM = auto()
    SLOW = auto()
    """A stream of large events that is read slowly."""
    ABORTS = auto()
    """It goes away at some moment."""


class Outcome(StrEnum):
    """What became of a request."""

    ANSWERED = auto()
    RETRYABLE = auto()
    """An error before the answer: 429 or 503, and when to ask again."""
    DEFINITE = auto()
    """409 with the plan, or 404 where requests do not switch."""
    CUT = auto()
    """An error within the stream, and its end mark."""
    ABORTED = auto()


class WrongAnswerError(AssertionError):
    """The client got what no client may get."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request.

    Args:
        tag: comes back in every part of the answer.
        seconds: how long the engine is to take.
        gate: the engine does not end its answer before this file is there.
        delay: until the client goes away, for `ABORTS`.
    """

    tag: str
    model: str
    kind: Kind = Kind.SMALL
    dialect: str = "openai"
    events: int = 3
    seconds: float = 0.0
    gate: str = ""
    delay: float = 0.0
    stream: bool = False

    @property
    def streams(self) -> bool:
        """Whether a stream of events is asked for."""
        return self.stream or self.kind in {Kind.STREAM, Kind.SLOW}

    @property
    def user(self) -> str:
        """What the engine echoes."""
        return self.tag + (" " * 20_000 if self.kind is Kind.SLOW else "")

    def bytes(self, path: str = "") -> bytes:
        """As it is sent."""
        document: dict[str, Any] = {"model": self.model, "user": self.user, "max_tokens": self.events}
        said = [{"role": "user", "content": "Hi"}]
        document |= {"seconds": self.seconds, "messages": said, "stream": self.streams, "gate": self.gate}
        body = json.dumps(document).encode()
        head = f"POST {path or _PATHS[self.dialect]} HTTP/1.1\r\nHost: localhost\r\n"
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class Client:
    """One client; its connection is kept as long as the gateway keeps it.

    Args:
        codes: the codes of errors that are told in place of an answer are counted here.
    """

    def __init__(self, port: int, codes: Counter[str] | None = None) -> None:
        self._port = port
        self._codes = codes if codes is not None else Counter()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, ask: Ask) -> Outcome:
        """Send a request and read its answer to the end.

        Raises:
            WrongAnswerError: it was none that a client may get.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._ask(ask)
        except TimeoutError:
            raise WrongAnswerError(f"{ask} hangs") from None
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise WrongAnswerError(f"{ask} was broken off: {error!r}") from error

    async def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(ConnectionError):
                await self._writer.wait_closed()
        self._reader = self._writer = None

    async def _ask(self, ask: Ask) -> Outcome:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(ask.bytes())
        if ask.kind is Kind.ABORTS:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ask.delay):
                    await self._reader.read(1)
            self._writer.transport.abort()
            await self.close()
            return Outcome.ABORTED
        status, headers = await self._head(self._reader)
        if headers.get("transfer-encoding") == "chunked":
            outcome = await self._events(ask, self._reader)
        else:
            body = await self._reader.readexactly(int(headers["content-length"]))
            outcome = _whole(ask, status, headers, body)
            if status != 200:
                self._codes[json.loads(body)["error"]["code"]] += 1
        if headers.get("connection") == "close":
            await self.close()
        return outcome

    @staticmethod
    async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
        first, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].decode().split("\r\n")
        fields = (line.partition(":") for line in lines)
        return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in fields}

    @staticmethod
    async def _events(ask: Ask, reader: asyncio.StreamReader) -> Outcome:
        text = bytearray()
        while size := int(await reader.readuntil(b"\r\n"), 16):
            text += await reader.readexactly(size)
            await reader.readexactly(2)
            if ask.kind is Kind.SLOW:
                await asyncio.sleep(0.002)
        await reader.readexactly(2)
        return _stream(ask, text.decode())


def _whole(ask: Ask, status: int, headers: dict[str, str], body: bytes) -> Outcome:
    document = json.loads(body)
    if status == 200:
        if document["user"] != ask.user:
            raise WrongAnswerError(f"{ask} got the answer to {document['user'].strip()}")
        return Outcome.ANSWERED
    _check_error(ask, document, status)
    if status in _RETRYABLE and int(headers["retry-after"]) >= 1:
        return Outcome.RETRYABLE
    if status in _DEFINITE:
        return Outcome.DEFINITE
    raise WrongAnswerError(f"{ask} got {status}: {document}")


def _check_error(ask: Ask, document: dict[str, Any], status: int) -> None:
    error = document.get("error")
    known = isinstance(error, dict) and error.get("message") and error.get("type") and error.get("code")
    if not known or (ask.dialect == "anthropic") != (document.get("type") == "error"):
        raise WrongAnswerError(f"{ask} got {status} in another dialect: {document}")


def _stream(ask: Ask, text: str) -> Outcome:
    """Events from 0 on, all of this request and one process, then the end mark, or an error and its own."""
    if not text.endswith("\n\n"):
        raise WrongAnswerError(f"{ask}: the stream ends within an event: {text[-200:]!r}")
    numbers, pids, error, ended = [], set(), False, False
    for block in text[:-2].split("\n\n"):
        lines = [line for line in block.split("\n") if not line.startswith(":")]
        if not lines or lines[0] == "event: ping":
            continue
        if ended:
            raise WrongAnswerError(f"{ask}: something follows the end: {block!r}")
        if lines[-1] == "data: [DONE]" or lines[0] == "event: message_stop":
            ended = True
            continue
        document = json.loads(lines[-1].removeprefix("data: "))
        if "error" in document:
            _check_error(ask, document, 0)
            error = True
            ended = ask.dialect == "anthropic"
            continue
        if document["user"] != ask.user:
            raise WrongAnswerError(f"{ask} got a part of the answer to {document['user'].strip()}")
        numbers.append(document["number"])
        pids.add(document["pid"])
    whole = list(range(ask.events))
    if not ended or len(pids) > 1 or numbers != whole[: len(numbers)] or (not error and numbers != whole):
        raise WrongAnswerError(f"{ask}: {numbers} of {pids}, error {error}, ended {ended}")
    return Outcome.CUT if error else Outcome.ANSWERED
