"""Puts an answer together from what a server sends: deltas of a stream, or one document.

A server's JSON may have any shape: what is not as OpenAI's API has it is left out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gpumod.bench.meter.reply import ServerTimings, ToolCall, Usage

_DONE: Final = b"[DONE]"
_MOST: Final = 10**15
_LEAST: Final = 1e-9
"""Counts and milliseconds beyond these are no measurements, and would make speeds that no mean is of."""
# llama.cpp and vLLM until 0.11 say reasoning_content, newer vLLM says reasoning.
_REASONING: Final = ("reasoning_content", "reasoning")


class NoAnswerError(Exception):
    """What came is not what OpenAI's API answers with."""


@dataclass(slots=True)
class _Call:
    """A tool call whose pieces still come."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Answer:
    """What has come so far.

    Args:
        error: the server's, told in the stream.
        done: whether the server said that nothing follows.
    """

    content: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    finish_reason: str = ""
    usage: Usage | None = None
    timings: ServerTimings | None = None
    error: str = ""
    done: bool = False
    first_token: float | None = None
    first_content: float | None = None
    chunks: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    _calls: dict[int, _Call] = field(default_factory=dict)

    def event(self, data: bytes, at: float) -> None:
        """Take one event of a stream that was complete at that time.

        Raises:
            NoAnswerError: it is no JSON object.
        """
        if data == _DONE:
            self.done = True
            return
        document = _document(data)
        told = self._account(document)
        if "error" in document or "choices" not in document:
            self._fail(document)
            return
        choice = _first(document["choices"])
        delta = choice.get("delta")
        if isinstance(delta, dict):
            self._delta(delta, at, told)
        self._finish(choice)

    def document(self, data: bytes) -> None:
        """Take a whole answer.

        Raises:
            NoAnswerError: it is no JSON object with a message.
        """
        document = _document(data)
        self._account(document)
        if "error" in document:
            self._fail(document)
            return
        choice = _first(document.get("choices"))
        message = choice.get("message")
        if not isinstance(message, dict):
            raise NoAnswerError("it has no message")
        self._take(message)
        self._finish(choice)
        self.done = True

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """In the order of their indexes."""
        calls = (self._calls[index] for index in sorted(self._calls))
        return tuple(ToolCall(whole([one.id]), whole([one.name]), whole(one.arguments)) for one in calls)

    def _delta(self, delta: dict[str, Any], at: float, told: int) -> None:
        spoke = len(self.content)
        if self._take(delta):
            self.chunks.append(at)
            if told:
                self.tokens.append(told)
            if self.first_token is None:
                self.first_token = at
            if self.first_content is None and len(self.content) > spoke:
                self.first_content = at

    def _take(self, delta: dict[str, Any]) -> bool:
        """Whether there was something in it."""
        something = False
        content = delta.get("content")
        if content and isinstance(content, str):
            self.content.append(content)
            something = True
        for name in _REASONING:
            thought = delta.get(name)
            if thought and isinstance(thought, str):
                self.reasoning.append(thought)
                something = True
                break  # a server that says both says the same twice
        calls = delta.get("tool_calls")
        if calls and isinstance(calls, list):
            for place, one in enumerate(calls):
                something = self._call(one, place) or something
        return something

    def _call(self, piece: object, place: int) -> bool:
        if not isinstance(piece, dict):
            return False
        index = piece.get("index", place)
        function = piece.get("function")
        if not isinstance(index, int) or not isinstance(function, dict):
            return False
        call = self._calls.setdefault(index, _Call())
        call.id = _text(piece.get("id")) or call.id
        name, arguments = _text(function.get("name")), function.get("arguments")
        call.name += name
        if isinstance(arguments, dict):  # some servers parse them
            arguments = json.dumps(arguments)
        call.arguments.append(_text(arguments))
        return bool(name or call.arguments[-1])

    def _finish(self, choice: dict[str, Any]) -> None:
        self.finish_reason = _text(choice.get("finish_reason")) or self.finish_reason

    def _account(self, document: dict[str, Any]) -> int:
        """How many tokens were generated up to here; 0 where that is not said."""
        told = 0
        if (given := document.get("usage")) and (usage := _usage(given)):
            self.usage, told = usage, usage.completion
        if (given := document.get("timings")) and (timings := _timings(given)):
            self.timings, told = timings, timings.tokens
        return told

    def _fail(self, document: dict[str, Any]) -> None:
        error = document.get("error", document if "message" in document else None)
        if isinstance(error, dict):
            error = error.get("message", error)
        if error is not None:
            self.error = str(error)[:300]


def whole(pieces: Sequence[str]) -> str:
    """The pieces as one text that can be encoded.

    A server that cuts a character in two at a token's end may send half a surrogate pair in each delta:
    halves that meet are one character again, and a half on its own becomes U+FFFD.
    """
    text = "".join(pieces)
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _document(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NoAnswerError(f"it is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise NoAnswerError("it is no JSON object")
    return document


def _first(choices: object) -> dict[str, Any]:
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0]
    return {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(document: dict[str, Any], name: str) -> int | None:
    value = document.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST else None


def _seconds(document: dict[str, Any], name: str) -> float | None:
    value = document.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return value / 1000 if value == 0 or _LEAST <= value <= _MOST else None


def _usage(document: object) -> Usage | None:
    if not isinstance(document, dict):
        return None
    prompt, completion = _count(document, "prompt_tokens"), _count(document, "completion_tokens")
    details = document.get("prompt_tokens_details")
    cached = _count(details, "cached_tokens") if isinstance(details, dict) else None
    return None if prompt is None or completion is None else Usage(prompt, completion, cached)


def _timings(document: object) -> ServerTimings | None:
    """llama.cpp: `result_timings::to_json` in tools/server/server-task.cpp."""
    if not isinstance(document, dict):
        return None
    prompt, prompt_seconds = _count(document, "prompt_n"), _seconds(document, "prompt_ms")
    tokens, seconds = _count(document, "predicted_n"), _seconds(document, "predicted_ms")
    if prompt is None or prompt_seconds is None or tokens is None or seconds is None:
        return None
    return ServerTimings(
        prompt_tokens=prompt,
        prompt_seconds=prompt_seconds,
        tokens=tokens,
        seconds=seconds,
        cached_tokens=_count(document, "cache_n"),
        drafted=_count(document, "draft_n"),
        accepted=_count(document, "draft_n_accepted"),
    )
