"""What the box is like, compared with what it should be: one word and one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gpumod.core.facts import Facts
from gpumod.core.names import BLANK, ModeId, ServiceId
from gpumod.core.service import Desired, ServiceRecord
from gpumod.core.spec import Catalog, ServiceSpec
from gpumod.core.states import ServiceState
from gpumod.core.switch import BoxState, StepState, SwitchRecord
from gpumod.core.units import format_duration
from gpumod.planner.cards import describe
from gpumod.planner.checks import driver_words
from gpumod.planner.target import known_mode, wanted_services

_FINE = frozenset({ServiceState.READY, ServiceState.SLEEPING, ServiceState.PARKED})


def box_state(
    desired: Desired | None,
    catalog: Catalog,
    records: Sequence[ServiceRecord],
    switch: SwitchRecord | None,
    facts: Facts,
    trouble: str = "",
) -> tuple[BoxState, str]:
    """The state of the box and why, in one sentence with numbers.

    Args:
        desired: what it should be; None in a new state directory.
        catalog: the presets and modes in use.
        records: all services.
        switch: the switch that runs, if one does; one that has ended is no reason for anything.
        facts: the last look at cards and processes.
        trouble: why nothing can be said, found elsewhere (a process that survives SIGKILL).
    """
    desired = desired or Desired(mode=BLANK)
    if switch is not None and not switch.state.ended:
        return BoxState.SWITCHING, _switching(switch, facts.now)
    unknown = trouble or _unknown(facts)
    if unknown:
        return BoxState.UNKNOWN, unknown
    mode = known_mode(catalog, ModeId(desired.mode))
    wanted = wanted_services(mode, desired)
    here = {record.id: record for record in records}
    if mode is None:
        return _without_mode(desired, here, catalog)
    down = _down(wanted, here, facts)
    if down:
        return BoxState.DEGRADED, f"mode {mode.id}: {_count(down, wanted)}: {'; '.join(down)}"
    changed = _changes(desired, wanted, here)
    if changed:
        return BoxState.MODIFIED, f"mode {mode.id}, changed: {'; '.join(changed)}"
    if not wanted:
        return BoxState.SETTLED, f"mode {mode.id}: nothing of ours runs"
    older = sorted(spec.id for spec in mode.services if here[spec.id].spec != spec)
    news = f"; the files of {', '.join(older)} have changed since: switch to it again" if older else ""
    return BoxState.SETTLED, f"mode {mode.id}: {len(wanted)} of {len(wanted)} services are ready{news}"


def _switching(switch: SwitchRecord, now: float) -> str:
    done = sum(1 for step in switch.steps if step.state in {StepState.DONE, StepState.SKIPPED})
    at = [step.phrase for step in switch.steps if step.state is StepState.RUNNING]
    doing = f": {', '.join(at)}" if at else ""
    return (
        f"{switch.request.phrase} ({switch.state}) for {format_duration(max(0.0, now - switch.started))}, "
        f"{done} of {len(switch.steps)} steps done{doing}"
    )


def _unknown(facts: Facts) -> str:
    unkillable = [
        f"process {pid} of {one.record.id} survives SIGKILL"
        for one in facts.services
        for pid in one.unkillable
    ]
    if unkillable:
        return "; ".join(unkillable)
    words = driver_words(facts)
    if words:
        return f"what the cards hold is not known: {words}"
    for card in facts.reading.cards:
        ours = sorted(one.record.id for one in facts.services if card.id in one.record.cards)
        if ours and not card.usable:
            why = f": {card.reason}" if card.reason else ""
            age = f", last seen {format_duration(card.age)} ago" if card.age else ""
            return f"{describe(card)} with {', '.join(ours)} is {card.health}{age}{why}"
    return ""


def _down(
    wanted: dict[ServiceId, ServiceSpec], here: dict[ServiceId, ServiceRecord], facts: Facts
) -> list[str]:
    """What of the desired services does not serve, each with its reason."""
    found = []
    for name in sorted(wanted):
        record = here.get(name)
        running = facts.running(name)
        if record is None:
            found.append(f"{name} does not run")
        elif record.state not in _FINE:
            found.append(f"{name} is {record.state}" + (f" ({record.reason})" if record.reason else ""))
        elif running is not None and running.record.generation == record.generation and not running.alive:
            found.append(f"{name} has no process any more")
    return found


def _count(down: Sequence[str], wanted: dict[ServiceId, ServiceSpec]) -> str:
    return f"{len(wanted) - len(down)} of {len(wanted)} services are ready"


def _changes(
    desired: Desired, wanted: dict[ServiceId, ServiceSpec], here: dict[ServiceId, ServiceRecord]
) -> list[str]:
    extra = [name for name, record in here.items() if name not in wanted and record.state.may_hold_memory]
    kinds: tuple[tuple[Iterable[str], str], ...] = (
        ((spec.id for spec in desired.added), "added by hand"),
        (desired.removed, "removed by hand"),
        (extra, "running and not asked for"),
    )
    listed = ((sorted(names), words) for names, words in kinds)
    return [f"{', '.join(names)} {words}" for names, words in listed if names]


def _without_mode(
    desired: Desired, here: dict[ServiceId, ServiceRecord], catalog: Catalog
) -> tuple[BoxState, str]:
    reason = dict(catalog.disabled).get(desired.mode)
    why = f"is disabled ({reason})" if reason else "is not in the files any more"
    up = sum(1 for record in here.values() if record.state in _FINE)
    return BoxState.MODIFIED, f"mode {desired.mode} {why}; {up} services are ready"
