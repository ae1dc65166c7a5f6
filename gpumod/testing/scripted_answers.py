"""Scripts of answers for `ScriptedServer`: what comes, in which packets, and when."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

Delta = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing happens for so many seconds of the clock."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Packet:
    """Deltas that are sent at once. `tokens`: how many were generated so far, told with the last of them."""

    deltas: tuple[Delta, ...]
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Torn:
    """One delta that is sent in so many packets, with a wait between each two."""

    delta: Delta
    packets: int
    gap: float


@dataclass(frozen=True, slots=True)
class Paced:
    """Deltas whose content is the monotonic time at which each was sent, at a steady rate."""

    count: int
    gap: float


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes, as they are."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The connection is reset (as by a crash), or closed politely in the middle."""

    reset: bool = True


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing more comes until the client goes."""


Step = Wait | Packet | Torn | Paced | Raw | Disconnect | Hang


@dataclass(frozen=True, slots=True)
class Script:
    """One answer.

    Args:
        steps: the body, before finish reason, usage and end, which follow by themselves.
        status: of HTTP; an error has `error` as its message and no steps.
        finish_reason: empty: there is none.
        usage: prompt and completion tokens, and what of the prompt was cached; None: the server does not say.
        timings: llama.cpp's, as it says them.
        done: whether `[DONE]` ends the stream.
        before: seconds before the headers.
    """

    steps: tuple[Step, ...] = ()
    status: int = 200
    error: str = "scripted failure"
    finish_reason: str = "stop"
    usage: tuple[int, int, int] | None = None
    timings: Mapping[str, float] | None = None
    done: bool = True
    before: float = 0.0


def say(
    text: str,
    *,
    first: float = 0.0,
    gap: float = 0.0,
    prompt: int = 10,
    cached: int = 0,
    finish_reason: str = "stop",
    timings: Mapping[str, float] | None = None,
) -> Script:
    """An answer of a token per word: the first after `first` seconds, the others `gap` seconds apart."""
    words = text.split(" ")
    steps: list[Step] = []
    for number, word in enumerate(words):
        steps += [Wait(gap if number else first), Packet((content(f" {word}" if number else word),))]
    usage = (prompt, len(words), cached)
    return Script(tuple(steps), usage=usage, finish_reason=finish_reason, timings=timings)


def call_tools(*calls: tuple[str, Mapping[str, object]], first: float = 0.0) -> Script:
    """An answer that asks for tools: name and arguments of each."""
    deltas = [
        tool_call(number, name, json.dumps(given), f"call_{number}")
        for number, (name, given) in enumerate(calls)
    ]
    return Script((Wait(first), Packet(tuple(deltas))), finish_reason="tool_calls", usage=(10, 10, 0))


def refuse(status: int, error: str = "scripted failure") -> Script:
    """An error instead of an answer."""
    return Script(status=status, error=error)


def content(text: str) -> Delta:
    """A delta of an answer's text."""
    return {"content": text}


def reasoning(text: str) -> Delta:
    """A delta of reasoning."""
    return {"reasoning_content": text}


def tool_call(index: int, name: str, arguments: str, call: str = "") -> Delta:
    """A delta of a tool call; later ones of the same index have no name."""
    function = {"name": name, "arguments": arguments} if name else {"arguments": arguments}
    return {"tool_calls": [{"index": index, "function": function} | ({"id": call} if call else {})]}
