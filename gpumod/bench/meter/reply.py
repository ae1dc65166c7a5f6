"""What came back for one request, and when. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gpumod.core.job import Outcome


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call that the model asks for.

    Args:
        arguments: as the model wrote them: JSON, if it wrote JSON.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Times:
    """Points in time of one request, all in seconds of one monotonic clock, taken right after a socket read.

    Args:
        sent: when the request was handed to the socket; None where there was no connection.
        headers: when the answer's headers had arrived.
        first_token: when the first delta was complete that has content, reasoning or a tool call in it.
        first_content: when the first content was complete, so without the reasoning before it.
        chunks: when each delta with something in it was complete. Deltas of one packet share their time; a
            delta in several packets has the time of the last. A delta may hold several tokens.
        tokens: how many had been generated at each of the chunks, where the server said so for every one
            (llama.cpp with `timings_per_token`, vLLM with `continuous_usage_stats`); empty otherwise.
        ended: when the answer was complete, or had failed.
    """

    sent: float | None = None
    headers: float | None = None
    first_token: float | None = None
    first_content: float | None = None
    chunks: tuple[float, ...] = ()
    tokens: tuple[int, ...] = ()
    ended: float = 0.0


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the server counted them (OpenAI's `usage`).

    Args:
        cached: tokens of the prompt that the server did not have to read again; None where it does not say.
    """

    prompt: int
    completion: int
    cached: int | None = None


@dataclass(frozen=True, slots=True)
class ServerTimings:
    """llama.cpp's own account of a request (its server's `timings`); milliseconds there, seconds here.

    Args:
        prompt_tokens: read anew, so without those from the cache.
        prompt_seconds: for reading them.
        cached_tokens: of the prompt, taken from the cache.
        tokens: generated.
        seconds: for generating them.
        drafted: tokens that the draft proposed; None without speculative decoding.
        accepted: of these, the ones that the model agreed with.
    """

    prompt_tokens: int
    prompt_seconds: float
    tokens: int
    seconds: float
    cached_tokens: int | None = None
    drafted: int | None = None
    accepted: int | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """The end of one request, however it ended.

    Args:
        outcome: `ok`, `cut` (at the token limit), `empty` (neither content nor a tool call, though it ended
            by itself), `timeout`, `refused` (an error status, or an error in the stream) or `disconnected`
            (nobody listens, the stream ended early, or what came is not HTTP or not JSON). With all but `ok`,
            what had come until then is there too.
        error: a sentence where the outcome is neither `ok`, `cut` nor `empty`.
        finish_reason: the server's word, empty where there was none.
        status: of HTTP; None without an answer.
        request: the body as it was sent, without messages and tools: sampler, limits, flags.
    """

    outcome: Outcome
    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str = ""
    error: str = ""
    status: int | None = None
    times: Times = Times()
    usage: Usage | None = None
    timings: ServerTimings | None = None
    request: Mapping[str, object] = field(default_factory=dict)

    @property
    def answered(self) -> bool:
        """Whether the server did its part: the answer may be cut or empty, but nothing failed."""
        return self.outcome in {Outcome.OK, Outcome.CUT, Outcome.EMPTY}
