"""Asked again directly before any start: whether it fits at this moment (invariant 1)."""

from __future__ import annotations

from gpumod.core.facts import Facts
from gpumod.core.names import CardId
from gpumod.core.plan import Refusal, RefusalCode, StartOrder
from gpumod.core.units import format_size
from gpumod.planner.budget import host_ledger, ledger, resident_on_host, sizes_on
from gpumod.planner.cards import describe, health_refusal
from gpumod.planner.checks import driver_words
from gpumod.planner.loading import host_holders
from gpumod.planner.nofit import card_holders, held_by


def fits_now(facts: Facts, order: StartOrder) -> tuple[Refusal, ...]:
    """Everything that a start would break at this moment; empty when it may begin.

    What is recorded of the service itself is not counted: it is what the start is about to replace.
    """
    own = order.spec.id
    others = tuple(one for one in facts.services if one.record.id != own)
    alone = Facts(now=facts.now, reading=facts.reading, services=others, findings=facts.findings)
    needs = zip(order.cards, sizes_on(order.footprint, order.cards), strict=True)
    found = [_card_refusal(alone, order, card, need) for card, need in needs]
    found += [_driver_refusal(alone, order), _host_refusal(alone, order), _port_refusal(alone, order)]
    return tuple(refusal for refusal in found if refusal is not None)


def _card_refusal(facts: Facts, order: StartOrder, card_id: CardId, need: int) -> Refusal | None:
    service = order.spec.id
    card = facts.reading.card(card_id)
    if card is None:
        detail = f"{service} was to start on card {card_id}, which is not there any more"
        return Refusal(RefusalCode.NO_SUCH_CARD, detail, service, card_id)
    if not card.usable:
        return health_refusal(card, order.spec)
    one = ledger(card, facts.services)
    if need <= one.available:
        return None
    holders = card_holders(one)
    have = max(0, one.available)
    detail = (
        f"{service} needs {format_size(need)} on {describe(card)}, "
        f"which has {format_size(have)} to give now{held_by(holders)}"
    )
    return Refusal(RefusalCode.DOES_NOT_FIT, detail, service, card_id, need, have, holders)


def _driver_refusal(facts: Facts, order: StartOrder) -> Refusal | None:
    words = driver_words(facts)
    return (
        Refusal(RefusalCode.DRIVER, f"{order.spec.id} cannot start: {words}", order.spec.id)
        if words
        else None
    )


def _host_refusal(facts: Facts, order: StartOrder) -> Refusal | None:
    need = resident_on_host(order.footprint, order.cards) + order.footprint.loading
    have = host_ledger(facts).available
    if need <= max(0, have):
        return None
    detail = (
        f"{order.spec.id} needs {format_size(need)} of the host's memory to load, "
        f"and {format_size(max(0, have))} are left now"
    )
    holders = host_holders(facts)
    return Refusal(
        RefusalCode.HOST_MEMORY, detail, order.spec.id, need=need, have=max(0, have), holders=holders
    )


def _port_refusal(facts: Facts, order: StartOrder) -> Refusal | None:
    finding = facts.findings.get(order.spec.id)
    holder = finding.port_holder if finding and finding.port == order.port else None
    if holder is None:
        return None
    who = f"process {holder.pid} ({holder.command})" if holder.pid is not None else "another process"
    detail = f"{order.spec.id} needs port {order.port}, which {who} listens on"
    return Refusal(RefusalCode.PORT_TAKEN, detail, order.spec.id)
