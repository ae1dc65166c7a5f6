"""How long switches take, from those that were: what a client is told to wait. Pure."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterable
from typing import Final

from gpumod.core.names import BLANK
from gpumod.core.spec import Catalog
from gpumod.core.switch import SwitchRecord, SwitchState
from gpumod.gateway.demand.values import Goal

_KEPT: Final = 5
_SHARE: Final = 0.25
"""Of the longest start-up time-out among a mode's services, while no switch to it was seen."""
_UNKNOWN: Final = 30.0


class StartTimes:
    """Durations of the latest switches that were committed, by where they led."""

    def __init__(self) -> None:
        self._seconds: dict[Goal, deque[float]] = {}

    def learn(self, records: Iterable[SwitchRecord]) -> None:
        """Take switches over, the oldest first. Those that changed nothing teach nothing."""
        for record in records:
            if record.state is not SwitchState.COMMITTED or record.ended is None:
                continue
            goal = Goal(record.request.mode, record.request.start)
            changed_nothing = record.request.mode is not None and record.source == record.target
            if goal == Goal() or changed_nothing:
                continue
            self._seconds.setdefault(goal, deque(maxlen=_KEPT)).append(record.ended - record.started)

    def seconds(self, goal: Goal | None, catalog: Catalog) -> float:
        """How long it takes to get there: the median of the latest, else a share of the start-up time-out."""
        if goal is not None and goal in self._seconds:
            return statistics.median(self._seconds[goal])
        mode = catalog.mode(goal.mode or BLANK) if goal is not None else None
        limits = [spec.startup_timeout for spec in mode.services] if mode else []
        return max(limits) * _SHARE if limits else _UNKNOWN
