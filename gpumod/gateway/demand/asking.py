"""Asking `Switching` in the name of requests. Whatever goes wrong becomes an event, so that nobody hangs."""

from __future__ import annotations

import logging

from gpumod.core.errors import GpumodError, SwitchRunningError
from gpumod.core.plan import RefusalCode, Refused
from gpumod.core.ports import Switching
from gpumod.core.switch import ON_DEMAND, SwitchRecord
from gpumod.gateway.demand.explaining import facts_of
from gpumod.gateway.demand.values import Began, Begin, Broke, Busy, Declined, Explained, Goal

_log = logging.getLogger(__name__)


async def begin(
    switching: Switching, wanted: Begin
) -> tuple[Began | Declined | Busy | Broke, SwitchRecord | None]:
    """Ask for a switch; with what came of it, its record where there is one."""
    attempt = wanted.attempt
    wish = wanted.goal.request(f"{ON_DEMAND}: {wanted.key}" if wanted.key else ON_DEMAND)
    try:
        answer = await switching.begin(wish)
    except SwitchRunningError:
        return Busy(attempt), None
    except GpumodError as error:
        return Broke(attempt, error.detail), None
    except Exception as error:  # noqa: BLE001 - a defect elsewhere must not leave anybody waiting
        _log.exception("%s could not be asked for", wish.phrase)
        return Broke(attempt, f"{wish.phrase} could not be asked for: {type(error).__name__}"), None
    if not isinstance(answer, Refused):
        return Began(attempt, answer.id), answer
    reasons = tuple(reason.detail for reason in answer.reasons)
    passing = all(reason.code is RefusalCode.LEASED for reason in answer.reasons)
    return Declined(attempt, reasons, passing), None


async def explain(switching: Switching, goal: Goal, seconds: float) -> Explained:
    """Find out what a switch would do, for those that are to decide about it."""
    try:
        return Explained(goal, facts_of(goal, await switching.plan(goal.request("")), seconds))
    except GpumodError as error:
        said = f"{goal.phrase}, which cannot be planned: {error.detail}"
        return Explained(goal, {"mode": goal.mode, "sentence": said})
    except Exception:  # noqa: BLE001 - as above
        _log.exception("%s could not be planned", goal.phrase)
        return Explained(goal, {"mode": goal.mode})
