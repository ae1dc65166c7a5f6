"""Keeps the accounts: the latest ones whole, and metrics over all."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from gpumod.core.account import Account, Ending
from gpumod.core.metrics import Histogram, Metric, Sample
from gpumod.gateway.exchange import Passage, Request, Transfer
from gpumod.gateway.seen.account import account_of

_LATEST: Final = 1000
_BACKLOG: Final = 20_000
"""Ended requests that may wait to be read; more are counted and not read."""
_BATCH: Final = 64
_PAUSE: Final = 0.05
_SHORT: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
"""Upper ends in seconds: from an embedding to an answer that waited for a switch."""
_OTHER: Final = "other"
_MOST_NAMES: Final = 200


class Ledger:
    """Takes what the door hands over, and reads it a little later, so that no answer waits for it."""

    def __init__(
        self, now: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._now = now
        self._monotonic = monotonic
        self._waiting: deque[tuple[Request, Passage, Transfer]] = deque()
        self._scheduled = False
        self._unread = 0
        self._keys: set[str] = set()
        self._requests: Counter[tuple[str, ...]] = Counter()
        self._answered: Counter[tuple[str, ...]] = Counter()
        self._tokens: Counter[tuple[str, ...]] = Counter()
        self._seconds = Histogram("service", "route", buckets=_SHORT)
        self._first = Histogram("service", "route", buckets=_SHORT)
        self._queued = Histogram("service", buckets=_SHORT)
        self._generating: dict[str, float] = {}
        self._generated: Counter[str] = Counter()
        self.latest: deque[Account] = deque(maxlen=_LATEST)

    def observe(self, request: Request, passage: Passage, transfer: Transfer) -> None:
        """A request that was passed on has ended. Takes no time."""
        request.body = b""  # nothing of it is told, and it may be large
        if len(self._waiting) >= _BACKLOG:
            self._unread += 1
            return
        self._waiting.append((request, passage, transfer))
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_later(_PAUSE, self._some)

    def refused(self, route: str, key: str, status: int, code: str) -> None:
        """The gateway answered a request itself, with an error."""
        self._answered[route, self._key(key), str(status), code] += 1

    def accounts(self, limit: int) -> tuple[Account, ...]:
        """The latest accounts, newest first."""
        self.settle()
        return tuple(islice(reversed(self.latest), limit))

    def settle(self) -> None:
        """Read everything that waits, now."""
        while self._waiting:
            self._read(*self._waiting.popleft())

    def _some(self) -> None:
        for _ in range(min(_BATCH, len(self._waiting))):
            self._read(*self._waiting.popleft())
        self._scheduled = bool(self._waiting)
        if self._scheduled:
            # The loop comes first: streams go on between two batches.
            asyncio.get_running_loop().call_soon(self._some)

    def _read(self, request: Request, passage: Passage, transfer: Transfer) -> None:
        account = account_of(request, passage, transfer, self._now(), self._monotonic())
        self.latest.append(account)
        where = (account.service, account.route)
        outcome = account.ending.value if account.ending is not Ending.OK else _class(account.status)
        self._requests[(*where, self._key(account.key), outcome)] += 1
        self._seconds.observe(account.seconds, *where)
        self._queued.observe(account.queued, account.service)
        if account.first is not None:
            self._first.observe(account.first, *where)
        self._count(account)

    def _count(self, account: Account) -> None:
        tokens, service = account.tokens, account.service
        told = {
            "prompt": tokens.prompt,
            "cached": tokens.cached,
            "completion": tokens.completion,
            "drafted": tokens.drafted,
            "accepted": tokens.accepted,
        }
        for kind, count in told.items():
            if count:
                self._tokens[service, kind] += count
        speed = account.speed
        if speed is not None and tokens.completion is not None:
            self._generated[service] += tokens.completion - 1
            seconds = (tokens.completion - 1) / speed
            self._generating[service] = self._generating.get(service, 0.0) + seconds

    def _key(self, name: str) -> str:
        """Names of keys are configured, so there are few; nothing may make them many."""
        if name not in self._keys:
            if len(self._keys) >= _MOST_NAMES:
                return _OTHER
            self._keys.add(name)
        return name

    def metrics(self) -> Iterator[Metric]:
        """Everything counted since the daemon began."""
        self.settle()
        yield _counter(
            "gpumod_gateway_requests_total",
            "Requests that were passed on, by how they ended.",
            _samples(self._requests, ("service", "route", "key", "outcome")),
        )
        yield _counter(
            "gpumod_gateway_errors_total",
            "Requests that the gateway answered itself with an error.",
            _samples(self._answered, ("route", "key", "status", "code")),
        )
        yield _counter(
            "gpumod_gateway_tokens_total",
            "Tokens as engines told them; those of the prompt include the cached ones.",
            _samples(self._tokens, ("service", "kind")),
        )
        yield Metric(
            "gpumod_gateway_request_duration_seconds",
            "From a request's arrival to the end of its answer.",
            "histogram",
            self._seconds.samples(),
        )
        yield Metric(
            "gpumod_gateway_time_to_first_byte_seconds",
            "From a request's arrival to the first byte of the answer's body.",
            "histogram",
            self._first.samples(),
        )
        yield Metric(
            "gpumod_gateway_queue_seconds",
            "How long requests waited for their service.",
            "histogram",
            self._queued.samples(),
        )
        yield _counter(
            "gpumod_gateway_generated_tokens_total",
            "Completion tokens after the first, of requests whose generating time is known.",
            tuple(Sample(count, {"service": name}) for name, count in sorted(self._generated.items())),
        )
        yield _counter(
            "gpumod_gateway_generating_seconds_total",
            "The time that these took: tokens divided by it is the speed.",
            tuple(Sample(count, {"service": name}) for name, count in sorted(self._generating.items())),
        )
        yield _counter(
            "gpumod_gateway_unread_total",
            "Requests that ended faster than their accounts could be read.",
            (Sample(self._unread),),
        )


def _class(status: int) -> str:
    return "ok" if 200 <= status < 400 else f"{status // 100}xx"


def _samples(
    counts: Counter[tuple[str, ...]] | Counter[tuple[str, str]], names: tuple[str, ...]
) -> tuple[Sample, ...]:
    return tuple(
        Sample(count, dict(zip(names, labels, strict=True))) for labels, count in sorted(counts.items())
    )


def _counter(name: str, text: str, samples: tuple[Sample, ...]) -> Metric:
    return Metric(name, text, "counter", samples)
