"""Accounts of requests that went to a model through the gateway."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Ending(StrEnum):
    """How a request that was passed on has ended."""

    OK = "ok"
    """The engine's answer was passed on whole, whatever its status."""
    CLIENT_GONE = "client_gone"
    UNREACHABLE = "unreachable"
    """The engine took no connection, or closed it before it answered: the client got a retryable error."""
    BROKEN = "broken"
    """The engine's answer ended early, or was not HTTP."""
    STALLED = "stalled"
    """The engine, or the client, took nothing for too long."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of a request, as the engine told them; None: it did not.

    Args:
        prompt: of the prompt, cached ones included.
        cached: of these, not read again.
        completion: generated.
        drafted: proposed by the draft.
        accepted: of these, the ones that stayed.
        prompt_seconds: for reading the prompt, by the engine's clock.
        completion_seconds: for generating, by the engine's clock.
    """

    prompt: int | None = None
    cached: int | None = None
    completion: int | None = None
    drafted: int | None = None
    accepted: int | None = None
    prompt_seconds: float | None = None
    completion_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """One request that was passed on.

    Args:
        at: when it came, unix time.
        model: as the client named it.
        key: who sent it.
        status: of the engine's answer; 0 where there was none.
        queued: seconds that it waited for its service.
        first: seconds from its arrival to the first byte of the answer's body; None where none came. Of a
            stream that is its first event, which is the first token or just before it.
        seconds: from its arrival to its end.
        generating: seconds from the first byte to the end, for streams.
    """

    at: float
    route: str
    model: str
    service: str
    key: str
    ending: Ending
    status: int
    stream: bool
    queued: float
    first: float | None
    seconds: float
    generating: float | None
    tokens: Tokens

    @property
    def speed(self) -> float | None:
        """Tokens generated per second: by the engine's clock, else of a stream by ours."""
        count = self.tokens.completion
        seconds = self.tokens.completion_seconds or self.generating
        return None if count is None or count < 2 or not seconds else (count - 1) / seconds
