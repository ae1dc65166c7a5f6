"""The account of one request: read from the last bytes of its answer. Pure.

Engines write usage and timings at the end of an answer, streamed or not: OpenAI's `usage` (llama.cpp, vLLM),
the Responses API's and Anthropic's `usage` with other names, llama.cpp's `timings`. The names stand in
quotes, which inside of generated text are escaped, so text cannot pass for them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from gpumod.core.account import Account, Ending, Tokens
from gpumod.gateway.exchange import Passage, Request, Transfer

_OBJECT: Final = rb'(?<!\\)"%s"\s*:\s*(\{(?:[^{}"]|"[^"]{0,64}"|\{[^{}]{0,1000}\}){0,200}\})'
_USAGE: Final = re.compile(_OBJECT % b"usage")
_TIMINGS: Final = re.compile(_OBJECT % b"timings")
_DONE: Final = b"data: [DONE]"


def account_of(
    request: Request, passage: Passage, transfer: Transfer, now: float, monotonic: float
) -> Account:
    """The account of a request that has ended.

    Args:
        request: as it came.
        passage: where it went.
        transfer: how it went.
        now: unix time.
        monotonic: the same moment by the clock that the transfer is timed by.
    """
    first = transfer.first_byte - request.received if transfer.first_byte else None
    streamed = transfer.event_stream and transfer.first_byte > 0
    return Account(
        at=now - (monotonic - request.received),
        route=request.route.name,
        model=request.model,
        service=str(passage.service),
        key=request.principal.name,
        ending=_ending(transfer),
        status=transfer.status,
        stream=transfer.event_stream,
        queued=passage.queued,
        first=first,
        seconds=transfer.ended - request.received,
        generating=transfer.ended - transfer.first_byte if streamed else None,
        tokens=Tokens() if transfer.encoded or not request.route.generates else tokens_of(transfer.tail),
    )


def _ending(transfer: Transfer) -> Ending:
    """How it ended for the client.

    OpenAI's clients hang up at the end mark of a stream, which llama.cpp sends before the end of the answer:
    they have got everything.
    """
    gone = transfer.ending is Ending.CLIENT_GONE
    if gone and transfer.event_stream and transfer.tail.rstrip().endswith(_DONE):
        return Ending.OK
    return transfer.ending


def tokens_of(tail: bytes) -> Tokens:
    """What the end of an answer tells of tokens."""
    usage, timings = _last(_USAGE, tail), _last(_TIMINGS, tail)
    details = _object(usage, "prompt_tokens_details") or _object(usage, "input_tokens_details") or {}
    cached = _whole(details, "cached_tokens")
    if cached is None:
        cached = _whole(usage, "cache_read_input_tokens")
    if cached is None:
        cached = _whole(timings, "cache_n")
    prompt = _either(usage, "prompt_tokens", "input_tokens")
    if prompt is None and (read := _whole(timings, "prompt_n")) is not None:
        prompt = read + (cached or 0)
    completion = _either(usage, "completion_tokens", "output_tokens")
    if completion is None:
        completion = _whole(timings, "predicted_n")
    return Tokens(
        prompt=prompt,
        cached=cached,
        completion=completion,
        drafted=_whole(timings, "draft_n"),
        accepted=_whole(timings, "draft_n_accepted"),
        prompt_seconds=_milliseconds(timings, "prompt_ms"),
        completion_seconds=_milliseconds(timings, "predicted_ms"),
    )


def _last(pattern: re.Pattern[bytes], tail: bytes) -> Mapping[str, Any]:
    found: Mapping[str, Any] = {}
    for match in pattern.finditer(tail):
        try:
            document = json.loads(match[1])
        except ValueError:
            continue
        found = document
    return found


def _object(document: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    value = document.get(name)
    return value if isinstance(value, dict) else None


def _either(document: Mapping[str, Any], first: str, second: str) -> int | None:
    found = _whole(document, first)
    return _whole(document, second) if found is None else found


def _whole(document: Mapping[str, Any], name: str) -> int | None:
    value = document.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _milliseconds(document: Mapping[str, Any], name: str) -> float | None:
    value = document.get(name)
    return (
        value / 1000
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
        else None
    )
