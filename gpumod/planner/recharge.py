"""What running services are charged once their files declare another size for them."""

from __future__ import annotations

from dataclasses import replace

from gpumod.core.facts import Facts, RunningService
from gpumod.core.footprint import Footprint
from gpumod.core.names import ServiceId
from gpumod.core.plan import Target
from gpumod.core.spec import ServiceSpec
from gpumod.planner.budget import ledgers
from gpumod.planner.cards import footprint_on
from gpumod.planner.diff import Diff


def recharged(facts: Facts, target: Target) -> Facts:
    """The facts with the target's declared sizes as what its running services have reserved.

    A declaration is no word of the command line, so a service that stays may have another one by now.
    """
    wanted = {spec.id: spec for spec in target.services}
    services = tuple(_recharged(facts, wanted.get(one.record.id), one) for one in facts.services)
    return replace(facts, services=services)


def outgrown(facts: Facts, former: Facts, diff: Diff) -> frozenset[ServiceId]:
    """Kept services whose new charge their cards have no room for: they have to go where it fits."""
    before = {one.record.id: one.record.footprint for one in former.services}
    changed = [one.record for one in diff.kept if one.record.footprint != before[one.record.id]]
    full = {one.card.id for one in ledgers(facts) if one.room(diff.leaving_ids) < 0}
    return frozenset(record.id for record in changed if full.intersection(record.cards))


def new_charges(former: Facts, diff: Diff) -> tuple[tuple[ServiceId, Footprint], ...]:
    """The footprints of kept services that another declaration has changed."""
    before = {one.record.id: one.record.footprint for one in former.services}
    return tuple(
        (one.record.id, one.record.footprint)
        for one in diff.kept
        if one.record.footprint is not None and one.record.footprint != before[one.record.id]
    )


def _recharged(facts: Facts, spec: ServiceSpec | None, running: RunningService) -> RunningService:
    record = running.record
    if spec is None or (spec.vram, spec.ram) == (record.spec.vram, record.spec.ram):
        return running
    cards = [card for name in record.cards if (card := facts.reading.card(name)) is not None]
    footprint = footprint_on(facts, spec, cards) if len(cards) == len(record.cards) else None
    if footprint is None:
        return running
    if record.footprint is not None and record.footprint.split and footprint.spread is not None:
        split = record.footprint.split
        footprint = replace(footprint, cards=footprint.spread.cards(split), split=split)
    return replace(running, record=replace(record, footprint=footprint))
