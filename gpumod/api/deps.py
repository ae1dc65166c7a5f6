"""What the API is built from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gpumod.access import AccessRules
from gpumod.core.account import Account
from gpumod.core.events import Event
from gpumod.core.job_ports import Jobs, ScheduleBook
from gpumod.core.metrics import Metric
from gpumod.core.ports import Events, Leases, Switching


class ApiStore(Protocol):
    """The part of the `Store` port that the API uses itself."""

    async def events(self, after: int = 0, limit: int = 1000) -> tuple[Event, ...]:
        """Events with a larger number, oldest first."""
        ...

    async def idempotent(self, key: str) -> tuple[str, str] | None:
        """(fingerprint of the request, JSON of the answer) kept under an idempotency key."""
        ...

    async def save_idempotent(self, key: str, fingerprint: str, answer: str, at: float) -> None:
        """Keep an answer under an idempotency key."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the API, in seconds unless the name says otherwise."""

    answer: float = 8.0
    """What is answered from memory or from the store."""
    planning: float = 55.0
    """What reads cards and files first."""
    waiting: float = 2 * 3600.0
    """The longest wait for the end of a switch."""
    body: float = 10.0
    """A body has to arrive in this time."""
    heartbeat: float = 15.0
    """A stream is never silent for longer."""
    stalled: float = 30.0
    """A reader of a stream that takes nothing for so long is cut off; it can resume."""
    streams: int = 64
    """How many streams there may be at once."""


@dataclass(frozen=True, slots=True)
class ApiDeps:
    """The ports and settings behind the API.

    Args:
        config_dir: the folder of the users' files; empty where there is none.
        ready: empty when recovery is done and nothing is broken, else one sentence why not.
            Must answer from memory.
        schema: the JSON Schema of the files that users write.
        metrics: further metrics, read at each scrape. Must answer from memory.
        requests: the latest requests to models, newest first, at most so many. Must answer from memory.
        now: Unix time.
    """

    switching: Switching
    leases: Leases
    events: Events
    store: ApiStore
    jobs: Jobs
    schedules: ScheduleBook
    version: str
    config_dir: str = ""
    access: AccessRules = field(default_factory=AccessRules)
    ready: Callable[[], str] = str
    schema: Callable[[], Mapping[str, object]] = dict
    metrics: Callable[[], Iterable[Metric]] = tuple
    requests: Callable[[int], Sequence[Account]] = lambda _limit: ()
    now: Callable[[], float] = time.time
    limits: Limits = field(default_factory=Limits)
