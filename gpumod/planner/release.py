"""Judges one reading of the memory barrier (invariant 2): is the memory proven free?"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from gpumod.core.cards import Card, CardHealth, CardProcess
from gpumod.core.facts import Facts
from gpumod.core.names import CardId
from gpumod.core.plan import Holder, Step
from gpumod.core.states import ServiceState
from gpumod.core.units import format_size
from gpumod.planner.budget import ledger
from gpumod.planner.cards import describe
from gpumod.planner.nofit import holder_words


class ProofLevel(StrEnum):
    """How it was seen that memory is free, from the strongest down."""

    PID_AND_FREE = "pid+free"
    """The processes are no longer on the card, and what is free covers the need."""
    TREE_AND_FREE = "tree-gone+free"
    """PIDs on the card cannot be seen: the process tree is gone, and what is free covers the need."""
    CARD_LOST = "card-lost"
    """The card fell off the bus, and its memory with it; nothing is to start there."""


@dataclass(frozen=True, slots=True)
class ReleaseVerdict:
    """What one reading says. `reason` is empty when it is good, else it names who holds the memory."""

    free: bool
    level: ProofLevel
    reason: str = ""
    holders: tuple[Holder, ...] = ()


def released(facts: Facts, step: Step, gone_pids: Collection[int] = ()) -> ReleaseVerdict:
    """Whether one reading shows that a RELEASE step's cards are free.

    The memory barrier reads until `consecutive` has counted enough good readings in a row.

    Args:
        facts: a reading of the step's cards and the running services at that moment.
        step: its `cards`, what is needed on each, and the services that must be gone from them.
        gone_pids: the processes that the gone services had before they were stopped.
    """
    needs = zip(step.cards, step.need or (0,) * len(step.cards), strict=True)
    verdicts = [_card_verdict(facts, step, card, need, gone_pids) for card, need in needs]
    level = max((one.level for one in verdicts), key=list(ProofLevel).index, default=ProofLevel.PID_AND_FREE)
    return ReleaseVerdict(
        free=all(one.free for one in verdicts),
        level=level,
        reason="; ".join(one.reason for one in verdicts if one.reason),
        holders=tuple(holder for one in verdicts for holder in one.holders),
    )


def consecutive(good: int, verdict: ReleaseVerdict) -> int:
    """How many readings in a row were good, after one more."""
    return good + 1 if verdict.free else 0


def _card_verdict(
    facts: Facts, step: Step, card_id: CardId, need: int, gone_pids: Collection[int]
) -> ReleaseVerdict:
    card = facts.reading.card(card_id)
    if card is None or not card.usable:
        return _without_reading(card, card_id, need)
    level = ProofLevel.PID_AND_FREE if card.pids_visible else ProofLevel.TREE_AND_FREE
    # One that has been started again meanwhile is there with its new attempt.
    back = {one.record.id for one in facts.services if one.record.state is not ServiceState.STOPPING}
    gone = set(step.gone) - back
    left = [one for one in card.processes if one.pid in gone_pids or one.service in gone]
    if left:
        holders = tuple(_holder(one) for one in left)
        words = ", ".join(map(holder_words, holders))
        return ReleaseVerdict(False, level, f"{words} still on {describe(card)}", holders)
    stopping = [one.record.id for one in facts.services if one.record.id in gone and one.alive]
    if stopping:
        return ReleaseVerdict(False, level, f"{', '.join(stopping)} still has processes")
    others = [one for one in facts.services if one.record.id not in {*gone, step.service}]
    have = ledger(card, others).available
    if need and need > have:
        return _too_little(step, card, need, have, level)
    return ReleaseVerdict(True, level)


def _without_reading(card: Card | None, card_id: CardId, need: int) -> ReleaseVerdict:
    if card is not None and card.health is CardHealth.LOST and not need:
        return ReleaseVerdict(True, ProofLevel.CARD_LOST)
    name = describe(card) if card is not None else f"card {card_id}"
    why = (card.reason or f"it is {card.health}") if card is not None else "it is not there"
    return ReleaseVerdict(False, ProofLevel.TREE_AND_FREE, f"{name} cannot be read: {why}")


def _too_little(step: Step, card: Card, need: int, have: int, level: ProofLevel) -> ReleaseVerdict:
    holders = tuple(_holder(one) for one in card.processes if one.service is None)
    who = ", ".join(map(holder_words, holders)) or "no visible process"
    reason = (
        f"{step.service} needs {format_size(need)} on {describe(card)}, "
        f"which has {format_size(max(0, have))} to give; the rest is held by {who}"
    )
    return ReleaseVerdict(False, level, reason, holders)


def _holder(process: CardProcess) -> Holder:
    return Holder(process.used, process.service, process.pid, process.command, process.user)
