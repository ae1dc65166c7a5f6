"""Events: what happened, for people and agents that watch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class EventKind(StrEnum):
    """Kinds of events; stable names."""

    DAEMON = "daemon"
    SWITCH = "switch"
    STEP = "step"
    SERVICE = "service"
    CARD = "card"
    LEASE = "lease"
    CONFIG = "config"
    STATUS = "status"
    JOB = "job"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `seq` grows by one for each and is never used again."""

    seq: int
    at: float
    kind: EventKind
    subject: str
    message: str
    data: Mapping[str, object] = field(default_factory=dict)
