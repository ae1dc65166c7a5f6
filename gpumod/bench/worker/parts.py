"""What a worker is built from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gpumod.bench.meter.engine_page import engine_page
from gpumod.core.service import Desired

if TYPE_CHECKING:
    from gpumod.core.job_ports import Endpoint, JobStore, Suite
    from gpumod.core.ports import Clock, Events, Leases, Switching


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a worker does what, in seconds."""

    beat: float = 10.0
    """Between two signs of life."""
    lease: float = 60.0
    """How long the target is leased; renewed with each sign of life."""
    stale: float = 60.0
    """A job whose owner was silent for so long is taken over."""
    look: float = 2.0
    """Between two looks at the box while something is under way."""
    idle: float = 5.0
    """Between two questions for the next job."""
    revive: float = 120.0
    """Beyond its start-up time, how long an engine that died may take to be ready again."""
    put_back_tries: int = 3
    """How often it is tried to put the box back ..."""
    put_back_pause: float = 10.0
    """... and how far apart."""


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """The ports behind a worker.

    Args:
        desired: what the box is to be, as the store has it; None in a new state directory.
        owner: names this daemon; no other one ever has the same.
        suites: what makes a suite, by its name.
        page: what an engine's server has at a path; empty where it has nothing.
    """

    store: JobStore
    switching: Switching
    leases: Leases
    events: Events
    clock: Clock
    desired: Callable[[], Awaitable[Desired | None]]
    owner: str
    suites: Mapping[str, Callable[[], Suite]]
    pace: Pace = field(default_factory=Pace)
    page: Callable[[Endpoint, str], Awaitable[str]] = engine_page
