"""Everything that can be known to be wrong before the first stop, memory aside."""

from __future__ import annotations

import math
from collections.abc import Iterable

from gpumod.core.cards import DriverState
from gpumod.core.facts import Facts, RunningService
from gpumod.core.footprint import Footprint, Source
from gpumod.core.lease import Lease
from gpumod.core.names import ServiceId
from gpumod.core.plan import Refusal, RefusalCode, Target
from gpumod.core.spec import ServiceSpec
from gpumod.core.units import MIB, format_duration, format_size
from gpumod.planner.cards import (
    candidate_models,
    card_refusals,
    cards_asked,
    class_footprints,
    fatal_landmines,
)
from gpumod.planner.diff import Diff, was_at_work

_DRIVER_WORDS = {
    DriverState.NO_LIBRARY: "the NVIDIA driver's library (libnvidia-ml.so.1) is not installed",
    DriverState.NOT_LOADED: "the NVIDIA kernel module is not loaded",
    DriverState.VERSION_MISMATCH: "the NVIDIA library and kernel module differ in version",
    DriverState.NO_PERMISSION: "the NVIDIA device files cannot be opened by this user",
    DriverState.NOT_ANSWERING: "the NVIDIA driver does not answer",
    DriverState.FAILED: "the NVIDIA driver failed",
}


def driver_words(facts: Facts) -> str:
    """What is wrong with the driver, quoting it; empty when nothing is."""
    words = _DRIVER_WORDS.get(facts.reading.driver, "")
    return f"{words}: {facts.reading.reason}" if words and facts.reading.reason else words


def driver_refusals(facts: Facts, target: Target) -> list[Refusal]:
    """Without a driver that answers only blank can be planned."""
    words = driver_words(facts)
    if not words or not target.services:
        return []
    detail = f"{words}; until it works only blank can be planned"
    return [Refusal(RefusalCode.DRIVER, detail)]


def start_refusals(facts: Facts, specs: Iterable[ServiceSpec]) -> list[Refusal]:
    """What stands in the way of each start, whatever else the target holds."""
    return [refusal for spec in specs for refusal in _start_refusals(facts, spec)]


def _start_refusals(facts: Facts, spec: ServiceSpec) -> list[Refusal]:
    finding = facts.findings[spec.id]
    found = [
        Refusal(RefusalCode.FILE_MISSING, f"{spec.id} needs {path}: {reason}", spec.id)
        for path, reason in finding.missing_files
    ]
    if finding.binary_problem:
        detail = f"{spec.id} cannot run: {finding.binary_problem}"
        found.append(Refusal(RefusalCode.BINARY_MISSING, detail, spec.id))
    for code, sentences in (
        (RefusalCode.CONTRADICTION, finding.contradictions),
        (RefusalCode.NOT_BUILT, finding.not_built),
    ):
        found += [Refusal(code, f"{spec.id}: {sentence}", spec.id) for sentence in sentences]
    return [
        *found,
        *card_refusals(facts, spec),
        *_landmine_refusals(facts, spec),
        *_declared_refusals(facts, spec),
    ]


def _landmine_refusals(facts: Facts, spec: ServiceSpec) -> list[Refusal]:
    """What cannot work on any card that the service could have, or on one that it names."""
    names = candidate_models(facts, spec)
    fatal = [fatal_landmines(facts, spec, name) for name in names]
    refused = any(fatal) if spec.cards.exact else bool(fatal) and all(fatal)
    if not refused:
        return []
    traps = dict.fromkeys(one for found in fatal for one in found)
    return [Refusal(RefusalCode.LANDMINE, f"{spec.id}: {one.sentence}", spec.id) for one in traps]


def placeable(facts: Facts, spec: ServiceSpec) -> bool:
    """Whether looking for room makes sense.

    Its cards are there, it can work on some of them, and its declared sizes fit their number.
    """
    shaped = spec.vram is None or spec.vram.per_card(cards_asked(spec)) is not None
    return shaped and not card_refusals(facts, spec) and not _landmine_refusals(facts, spec)


def _declared_refusals(facts: Facts, spec: ServiceSpec) -> list[Refusal]:
    """An explicit size is obeyed or refused, never corrected (invariant 10)."""
    if spec.vram is None:
        return []
    asked = cards_asked(spec)
    if spec.vram.per_card(asked) is None:
        detail = (
            f"{spec.id} declares vram for {len(spec.vram.sizes)} cards and runs on {asked}; "
            f"write one size, or {asked}"
        )
        return [Refusal(RefusalCode.DECLARED_SHAPE, detail, spec.id)]
    if spec.vram.force:
        return []
    found = (_too_small(spec, name, footprint) for name, footprint in class_footprints(facts, spec))
    return [one for one in found if one is not None]


def _too_small(spec: ServiceSpec, name: str, footprint: Footprint) -> Refusal | None:
    if footprint.source is not Source.DECLARED or footprint.learned_peak is None:
        return None
    short = [
        (declared, peak)
        for declared, peak in zip(footprint.cards, footprint.learned_peak, strict=False)
        if declared < peak
    ]
    if not short:
        return None
    declared, peak = max(short, key=lambda pair: pair[1] - pair[0])
    detail = (
        f"{spec.id} declares {format_size(declared)} and was seen to take {format_size(peak)} on {name}; "
        f"declare at least {math.ceil(peak / MIB)}MiB, take vram: auto, "
        "or insist with vram: {size: …, force: true}"
    )
    return Refusal(RefusalCode.DECLARED_TOO_SMALL, detail, spec.id, need=peak, have=declared)


def port_refusals(facts: Facts, diff: Diff) -> list[Refusal]:
    """Ports that somebody who stays listens on, and ports that two services of the target ask for."""
    found: list[Refusal] = []
    owners = {one.record.launch.port: one.record.id for one in diff.kept if one.record.launch}
    for spec in diff.starting:
        finding = facts.findings[spec.id]
        holder = finding.port_holder
        other = owners.setdefault(finding.port, spec.id)
        if other != spec.id:
            detail = f"{spec.id} and {other} both ask for port {finding.port}; give one of them another port"
            found.append(Refusal(RefusalCode.PORT_TAKEN, detail, spec.id))
        elif holder is not None and holder.service not in diff.leaving_ids:
            process = f"process {holder.pid}" if holder.pid is not None else "a process that cannot be seen"
            words = ", ".join(
                word for word in (holder.command, holder.user and f"user {holder.user}") if word
            )
            who = f"{process} ({words})" if words else process
            detail = (
                f"{spec.id} needs port {finding.port}, which {who} listens on; end it or give another port"
            )
            found.append(Refusal(RefusalCode.PORT_TAKEN, detail, spec.id))
    return found


def dependency_refusals(target: Target) -> list[Refusal]:
    """Dependencies that the target does not have, and circles."""
    specs = {spec.id: spec for spec in target.services}
    found = []
    for name, spec in sorted(specs.items()):
        for other in sorted(set(spec.depends_on) - specs.keys()):
            detail = f"{name} depends on {other}, which would not run; add it, or stop {name} as well"
            found.append(Refusal(RefusalCode.DEPENDENCY, detail, name))
    circle = _circle(specs)
    if circle:
        path = " -> ".join((*circle, circle[0]))
        detail = f"{path} depend on each other in a circle; take one depends_on out"
        found.append(Refusal(RefusalCode.DEPENDENCY, detail, circle[0]))
    return found


def _circle(specs: dict[ServiceId, ServiceSpec]) -> tuple[ServiceId, ...]:
    """One circle of dependencies, beginning with its smallest id; empty if there is none."""
    finished: set[ServiceId] = set()

    def walk(name: ServiceId, path: tuple[ServiceId, ...]) -> tuple[ServiceId, ...]:
        if name in path:
            found = path[path.index(name) :]
            at = found.index(min(found))
            return found[at:] + found[:at]
        if name in finished:
            return ()
        for other in sorted(specs[name].depends_on):
            if other in specs and (circle := walk(other, (*path, name))):
                return circle
        finished.add(name)
        return ()

    return next((circle for name in sorted(specs) if (circle := walk(name, ()))), ())


def unkillable_refusals(diff: Diff, services: Iterable[RunningService]) -> list[Refusal]:
    """Where a process cannot be killed nothing is started: its memory, ports and files are not free."""
    if not diff.starting:
        return []
    found = []
    for one in sorted(services, key=lambda one: one.record.id):
        if one.unkillable:
            pids = ", ".join(map(str, one.unkillable))
            held = format_size(sum(size for _, size in one.held)) if one.held else "an unknown amount"
            detail = (
                f"process {pids} of {one.record.id} survives SIGKILL and holds {held}; nothing can start "
                "until it is gone (often only a reboot helps)"
            )
            found.append(Refusal(RefusalCode.UNKILLABLE, detail, one.record.id))
    return found


def active_leases(facts: Facts, target: Target) -> tuple[Lease, ...]:
    """The leases that bind a plan; none do under --force."""
    if target.force:
        return ()
    return tuple(sorted((one for one in facts.leases if one.active(facts.now)), key=lambda one: one.id))


def lease_refusals(
    facts: Facts, target: Target, diff: Diff, moved: frozenset[ServiceId] = frozenset()
) -> list[Refusal]:
    """Leases whose services the plan would stop, restart or move."""
    starting = {spec.id for spec in diff.starting}
    disturbed = {one.record.id for one in diff.leaving if was_at_work(one)}
    found = []
    for lease in active_leases(facts, target):
        for service in sorted(disturbed & set(lease.services)):
            act = "move" if service in moved else "restart" if service in starting else "stop"
            purpose = f" for {lease.purpose}" if lease.purpose else ""
            detail = (
                f"{lease.holder} holds lease {lease.id} on {service}{purpose} for another "
                f"{format_duration(lease.until - facts.now)}, and this would {act} it; "
                f"{_way_past(lease)}, or use --force"
            )
            found.append(Refusal(RefusalCode.LEASED, detail, service))
    return found


def _way_past(lease: Lease) -> str:
    """A job takes its lease anew until it ends: neither waiting for its time nor releasing it helps."""
    return f"wait for the job, `gpumodctl job cancel {lease.job}`" if lease.job else "wait, release the lease"
