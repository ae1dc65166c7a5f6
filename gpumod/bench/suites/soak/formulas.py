"""What the numbers of `soak` are."""

from __future__ import annotations

from typing import Final

from gpumod.bench.formulas import Formula, Pooling

CLEAN: Final = Formula(
    "soak.clean.v1", "points",
    "A session has 1 if none of its turns failed or was silent, else 0. An answer cut at the token limit is "
    "neither.",
    larger_is_better=True, pooling=Pooling.SHARE,
)  # fmt: skip
REQUESTS: Final = Formula(
    "soak.requests.v1", "requests",
    "Requests sent in a session. It ends at the first one that fails; a silent one fails nothing.",
    pooling=Pooling.SUM,
)  # fmt: skip
ENDED: Final = Formula(
    "soak.ended.v1", "requests",
    "Requests of a session that ended in a way. At the outcome: `timeout`, `cut`, `empty`, `refused`, "
    "`disconnected`.",
    larger_is_better=False, pooling=Pooling.SUM,
)  # fmt: skip
EMPTY: Final = Formula(
    "soak.empty.v1", "points",
    "Points of a hundred: requests that succeeded and said nothing (no content, or nothing but blanks or a "
    "think block) of all requests, with Wilson's 95 % score interval over the requests.",
    larger_is_better=False, pooling=Pooling.OWN,
)  # fmt: skip
FAILED: Final = Formula(
    "soak.failed.v1", "points",
    "Points of a hundred: requests that were refused, late or broken off of all requests, with Wilson's "
    "95 % score interval over the requests.",
    larger_is_better=False, pooling=Pooling.OWN,
)  # fmt: skip
TTFT: Final = Formula(
    "soak.ttft.v1", "s",
    "Mean over a session's turns of the seconds from handing the request to the socket until the first "
    "delta was complete. Only of sessions all of whose turns have it.",
    larger_is_better=False,
)  # fmt: skip
DECODE: Final = Formula(
    "soak.decode.v1", "tokens/s",
    "Mean over a session's turns of the decode speed (as speed.decode.client.v1). Only of sessions all of "
    "whose turns have it.",
    larger_is_better=True,
)  # fmt: skip
TTFT_DRIFT: Final = Formula(
    "soak.ttft.drift.v1", "s",
    "Mean of soak.ttft.v1 over the last third of the sessions less that over the first third, in the order "
    "of their beginnings. No value of fewer than six sessions.",
    larger_is_better=False, pooling=Pooling.OWN,
)  # fmt: skip
TTFT_DRIFT_P: Final = Formula(
    "soak.ttft.drift.p.v1", "p",
    "Two-sided p of this difference by Welch's t test: below 0.05 there was a drift. Above, none was shown.",
    pooling=Pooling.OWN,
)  # fmt: skip
DECODE_DRIFT: Final = Formula(
    "soak.decode.drift.v1", "tokens/s",
    "The same for soak.decode.v1.",
    larger_is_better=True, pooling=Pooling.OWN,
)  # fmt: skip
DECODE_DRIFT_P: Final = Formula(
    "soak.decode.drift.p.v1", "p", "Two-sided p of this difference by Welch's t test.", pooling=Pooling.OWN
)  # fmt: skip
_SLOPE: Final = (
    "Slope of a straight line by least squares through what the target holds on the card, read after every "
    "request, with its 95 % t interval. Readings of the first session are left out where there are three "
    "sessions or more: what an engine takes at first use is no growth. An interval that holds 0 shows no "
    "growth; it is too narrow where memory grows in steps, and both lack a value under three readings. At "
    "the card. "
)
MEMORY_HOUR: Final = Formula(
    "soak.memory.hour.v1", "bytes/h",
    f"{_SLOPE}Over the hours at which they were read; none where those are less than two minutes.",
    larger_is_better=False, pooling=Pooling.OWN,
)  # fmt: skip
MEMORY_REQUEST: Final = Formula(
    "soak.memory.request.v1", "bytes/request",
    f"{_SLOPE}Over the number of requests sent until then, in all sessions.",
    larger_is_better=False, pooling=Pooling.OWN,
)  # fmt: skip
MEMORY_GROWTH: Final = Formula(
    "soak.memory.growth.v1", "bytes",
    "The last reading of what the target holds on the card, less the first one, which is from before the "
    "first request. At the card.",
    larger_is_better=False, pooling=Pooling.OWN,
)  # fmt: skip

FORMULAS: Final = (
    CLEAN, REQUESTS, ENDED, EMPTY, FAILED, TTFT, DECODE,
    TTFT_DRIFT, TTFT_DRIFT_P, DECODE_DRIFT, DECODE_DRIFT_P,
    MEMORY_HOUR, MEMORY_REQUEST, MEMORY_GROWTH,
)  # fmt: skip
