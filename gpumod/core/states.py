"""The states of a service and the one table of transitions between them.

Every row has a stable index and a phrase; the documentation's diagram is generated from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gpumod.core.errors import IllegalTransitionError


class ServiceState(StrEnum):
    """What a service is doing."""

    STOPPED = "stopped"
    STARTING = "starting"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
    SLEEPING = "sleeping"
    PARKED = "parked"
    FAILED = "failed"

    @property
    def may_hold_memory(self) -> bool:
        """Whether processes of the service may exist in this state."""
        return self not in {ServiceState.STOPPED, ServiceState.FAILED}

    @property
    def is_starting(self) -> bool:
        """Whether the service has not taken all its memory yet, and is charged in full."""
        return self in {ServiceState.STARTING, ServiceState.LOADING}


@dataclass(frozen=True, slots=True)
class Transition:
    """One allowed change of a service's state."""

    index: int
    source: ServiceState
    target: ServiceState
    phrase: str


def _table() -> tuple[Transition, ...]:
    s = ServiceState
    rows = (
        (1, s.STOPPED, s.STARTING, "a plan starts it"),
        (2, s.FAILED, s.STARTING, "a plan or its restart policy starts it again"),
        (3, s.STARTING, s.LOADING, "its process tree exists"),
        (4, s.LOADING, s.READY, "its own listener serves our model and answered a warm-up request"),
        (5, s.READY, s.DRAINING, "a plan closes its admission"),
        (6, s.DRAINING, s.READY, "the plan was taken back before anything was signalled"),
        (7, s.DRAINING, s.STOPPING, "no request is in flight, or the drain deadline passed"),
        (8, s.READY, s.STOPPING, "it is stopped without a drain"),
        (9, s.STARTING, s.STOPPING, "its start was cancelled"),
        (10, s.LOADING, s.STOPPING, "its loading was cancelled or took too long"),
        (11, s.STOPPING, s.STOPPED, "no process of it is left"),
        (12, s.STOPPING, s.FAILED, "a process of it cannot be killed"),
        (13, s.STARTING, s.FAILED, "its process could not be started"),
        (14, s.LOADING, s.FAILED, "it exited while loading"),
        (15, s.READY, s.FAILED, "it exited, or its card was lost, and nobody asked for that"),
        (16, s.DRAINING, s.FAILED, "it exited while draining"),
        (17, s.FAILED, s.STOPPED, "a plan no longer wants it and nothing of it is left"),
        (18, s.FAILED, s.STOPPING, "what is left of it is removed"),
        (19, s.DRAINING, s.SLEEPING, "the engine released its memory and keeps its weights on the host"),
        (20, s.DRAINING, s.PARKED, "the driver moved its memory to the host"),
        (21, s.SLEEPING, s.LOADING, "a plan wakes it"),
        (22, s.PARKED, s.LOADING, "a plan wakes it"),
        (23, s.SLEEPING, s.STOPPING, "a plan stops it"),
        (24, s.PARKED, s.STOPPING, "a plan stops it"),
        (25, s.SLEEPING, s.FAILED, "it exited while asleep"),
        (26, s.PARKED, s.FAILED, "it exited while parked"),
    )
    return tuple(Transition(*row) for row in rows)


TRANSITIONS: Final = _table()
_ALLOWED: Final = {(row.source, row.target): row for row in TRANSITIONS}


def transition(source: ServiceState, target: ServiceState) -> Transition:
    """The table's row for a change of state.

    Raises:
        IllegalTransitionError: the table has no such row.
    """
    row = _ALLOWED.get((source, target))
    if row is None:
        raise IllegalTransitionError(source=source, target=target)
    return row


def mermaid() -> str:
    """The state diagram of a service in Mermaid's notation."""
    lines = ["stateDiagram-v2", "    [*] --> stopped"]
    lines += [f"    {row.source} --> {row.target}: {row.index}. {row.phrase}" for row in TRANSITIONS]
    return "\n".join(lines) + "\n"
