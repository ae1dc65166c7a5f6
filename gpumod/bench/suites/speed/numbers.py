"""Replies to numbers. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from gpumod.bench.formulas import AT, Formula
from gpumod.bench.meter.reply import Reply
from gpumod.bench.suites.speed import formulas as f

CACHED_LIMIT: Final = 0.1


def alone(reply: Reply, depth: int) -> dict[str, float]:
    """The numbers of one request on its own, at that depth."""
    told: list[tuple[Formula, float | None]] = [
        (f.TTFT, ttft(reply)),
        (f.PREFILL_CLIENT, prefill(reply)),
        (f.PREFILL_SERVER, _prefill_server(reply)),
        (f.DECODE_CLIENT, decode(reply)),
        (f.DECODE_SERVER, _decode_server(reply)),
        (f.CACHED, cached_share(reply)),
    ]
    if gaps := _gaps(reply):
        told += [
            (f.GAP_MEDIAN, statistics.median(gaps)),
            (f.GAP_P95, gaps[math.ceil(0.95 * len(gaps)) - 1]),
            (f.GAP_MOST, gaps[-1]),
        ]
    if (cached_share(reply) or 0.0) > CACHED_LIMIT:
        told = [one for one in told if one[0] not in {f.TTFT, f.PREFILL_CLIENT, f.PREFILL_SERVER}]
    return _at(depth, told)


def together(replies: Sequence[Reply]) -> dict[str, float]:
    """The numbers of requests that were sent at once."""
    return _at(
        len(replies),
        [
            (f.THROUGHPUT, _throughput(replies)),
            (f.TTFT_TOGETHER, _mean([ttft(one) for one in replies])),
            (f.DECODE_TOGETHER, _mean([decode(one) for one in replies])),
        ],
    )


def draft(replies: Sequence[Reply]) -> dict[str, float]:
    """Drafted and accepted tokens as llama.cpp tells them; nothing where no request had a draft."""
    timings = [one.timings for one in replies if one.timings is not None and one.timings.drafted]
    if not timings:
        return {}
    return {
        f.DRAFTED.id: sum(one.drafted or 0 for one in timings),
        f.ACCEPTED.id: sum(one.accepted or 0 for one in timings),
    }


def ttft(reply: Reply) -> float | None:
    """Time to first token in seconds."""
    times = reply.times
    if times.sent is None or times.first_token is None:
        return None
    return times.first_token - times.sent


def prefill(reply: Reply) -> float | None:
    """Tokens per second."""
    time = ttft(reply)
    if not time or reply.usage is None:
        return None
    tokens = reply.usage.prompt - (reply.usage.cached or 0)
    return tokens / time if tokens > 0 else None


def decode(reply: Reply) -> float | None:
    """Tokens per second."""
    chunks, told = reply.times.chunks, reply.times.tokens
    if len(chunks) < 2 or chunks[-1] <= chunks[0]:
        return None
    if told:
        tokens = told[-1] - told[0]
    elif reply.usage is not None:
        tokens = reply.usage.completion - 1
    else:
        return None
    return tokens / (chunks[-1] - chunks[0]) if tokens > 0 else None


def cached_share(reply: Reply) -> float | None:
    """Of the prompt; None where the server does not say."""
    usage, timings = reply.usage, reply.timings
    if usage is not None and usage.cached is not None and usage.prompt:
        return usage.cached / usage.prompt
    if timings is not None and timings.cached_tokens is not None:
        whole = timings.cached_tokens + timings.prompt_tokens
        return timings.cached_tokens / whole if whole else None
    return None


def _gaps(reply: Reply) -> list[float]:
    reads = sorted(set(reply.times.chunks))
    return sorted(later - earlier for earlier, later in pairwise(reads))


def _prefill_server(reply: Reply) -> float | None:
    timings = reply.timings
    if timings is None or timings.prompt_seconds <= 0:
        return None
    return timings.prompt_tokens / timings.prompt_seconds


def _decode_server(reply: Reply) -> float | None:
    timings = reply.timings
    if timings is None or timings.tokens < 2 or timings.seconds <= 0:
        return None
    return (timings.tokens - 1) / timings.seconds


def _throughput(replies: Sequence[Reply]) -> float | None:
    usages = [one.usage.completion for one in replies if one.usage is not None]
    sent = [one.times.sent for one in replies if one.times.sent is not None]
    if not replies or len(usages) < len(replies) or len(sent) < len(replies):
        return None
    span = max(one.times.ended for one in replies) - min(sent)
    return sum(usages) / span if span > 0 else None


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return statistics.fmean(there) if there and len(there) == len(values) else None


def _at(setting: int, told: Sequence[tuple[Formula, float | None]]) -> dict[str, float]:
    return {f"{formula.id}{AT}{setting}": value for formula, value in told if value is not None}
