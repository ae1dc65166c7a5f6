"""What a plan can be carried out with, and its user should know."""

from __future__ import annotations

from collections.abc import Sequence

from gpumod.core.facts import Facts
from gpumod.core.footprint import Source
from gpumod.core.plan import StartOrder, Target
from gpumod.core.units import MIB, format_size
from gpumod.planner.budget import ledgers, overcommitted
from gpumod.planner.cards import describe, landmines_on
from gpumod.planner.diff import Diff
from gpumod.planner.nofit import card_holders, holder_words

_FAR_OFF = 1.25
_NOT_WORTH_SAYING = 512 * MIB


def warnings_for(facts: Facts, target: Target, diff: Diff, orders: Sequence[StartOrder]) -> tuple[str, ...]:
    """Sentences, in a stable order."""
    found = [sentence for order in orders for sentence in _about_start(facts, order)]
    found += _about_cards(facts)
    found += _about_dependencies(target, diff)
    return tuple(found)


def _about_start(facts: Facts, order: StartOrder) -> list[str]:
    footprint, name = order.footprint, order.spec.id
    cards = [card for one in order.cards if (card := facts.reading.card(one)) is not None]
    traps = [one for card in cards for one in landmines_on(facts, order.spec, card.name) if not one.fatal]
    said = (*facts.findings[name].warnings, *(one.sentence for one in traps), *footprint.warnings)
    found = [f"{name}: {sentence}" for sentence in dict.fromkeys(said)]
    if footprint.source is Source.ESTIMATED:
        note = f": {footprint.note}" if footprint.note else ""
        found.append(f"{name}: its {format_size(sum(footprint.cards))} are an estimate{note}")
    if footprint.source is Source.DECLARED and footprint.learned_peak:
        declared, peak = sum(footprint.cards), sum(footprint.learned_peak)
        if declared < peak:
            found.append(
                f"{name}: {format_size(declared)} are declared by force, and it was seen to take "
                f"{format_size(peak)}: it may run out of memory"
            )
        elif declared > peak * _FAR_OFF and declared - peak > _NOT_WORTH_SAYING:
            found.append(
                f"{name}: {format_size(declared)} are declared, and it was never seen to take more than "
                f"{format_size(peak)}; vram: auto would leave the difference to others"
            )
    return found


def _about_cards(facts: Facts) -> list[str]:
    over = set(overcommitted(facts))
    found = []
    for one in ledgers(facts):
        if one.card.id in over:
            who = ", ".join(holder_words(holder) for holder in card_holders(one))
            held = f"; held: {who}" if who else ""
            found.append(f"{describe(one.card)} is overcommitted by {format_size(-one.available)}{held}")
    return found


def _about_dependencies(target: Target, diff: Diff) -> list[str]:
    kept = {one.record.id for one in diff.kept}
    starting = {spec.id for spec in diff.starting}
    return [
        f"{spec.id} keeps running while {other}, which it depends on, is started"
        for spec in sorted(target.services, key=lambda spec: spec.id)
        if spec.id in kept
        for other in sorted(set(spec.depends_on) & starting)
    ]
