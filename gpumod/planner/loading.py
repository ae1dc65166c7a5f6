"""The host's memory while services load: which loads may run at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpumod.core.facts import Facts, RunningService
from gpumod.core.names import ServiceId
from gpumod.core.plan import Holder, Refusal, RefusalCode, StartOrder
from gpumod.core.units import format_size
from gpumod.planner.budget import host_ledger, resident_on_host


@dataclass(frozen=True, slots=True)
class LoadingOrder:
    """Loads of one wave may run at the same time; a wave begins when the former one is ready.

    The companions of the first wave are the kept services that are still loading. A start that needs
    nothing on top of what it keeps is in no wave.
    """

    waves: tuple[tuple[ServiceId, ...], ...] = ((),)
    after_stops: bool = False
    """Whether the host's memory suffices only once what leaves has left."""
    short: tuple[tuple[StartOrder, int], ...] = ()
    """Starts that cannot load even alone, each with the bytes that there are for it."""


def order_loading(
    facts: Facts,
    orders: Sequence[StartOrder],
    leaving: frozenset[ServiceId],
    loading: Sequence[RunningService] = (),
) -> LoadingOrder:
    """Waves of loads whose peaks fit into the host's memory together.

    Args:
        facts: what is known now.
        orders: the starts, in the order in which they will be.
        leaving: services that are stopped.
        loading: kept services that have not taken all their memory yet.
    """
    host = host_ledger(facts)
    busy = sum(_passing(one) for one in loading)
    # What passes counts with the first wave alone.
    now = host.available + busy
    later = now + sum(charge.size for charge in host.charges if charge.service in leaving)
    kept = sum(_kept(order) for order in orders)
    after_stops = bool(_short(orders, now - kept)) and later > now
    pool = (later if after_stops else now) - kept
    return LoadingOrder(_waves(orders, pool, busy), after_stops, _short(orders, pool))


def host_refusals(facts: Facts, loading: LoadingOrder, leaving: frozenset[ServiceId]) -> list[Refusal]:
    """Starts that the host's memory does not suffice for, and who holds it."""
    holders = host_holders(facts, leaving)
    found = []
    for order, have in loading.short:
        need = _kept(order) + order.footprint.loading
        detail = (
            f"{order.spec.id} needs {format_size(need)} of the host's memory while it loads "
            f"({format_size(_kept(order))} after that), and {format_size(max(0, have))} are left for it"
        )
        would_fit = _would_fit(holders, need - have)
        found.append(
            Refusal(
                RefusalCode.HOST_MEMORY,
                detail,
                order.spec.id,
                need=need,
                have=max(0, have),
                holders=holders,
                would_fit=would_fit,
            )
        )
    return found


def host_holders(facts: Facts, leaving: frozenset[ServiceId] = frozenset()) -> tuple[Holder, ...]:
    """The services of ours that stay and hold the host's memory, largest first."""
    charges = [charge for charge in host_ledger(facts).charges if charge.service not in leaving]
    charges.sort(key=lambda charge: (-charge.size, charge.service))
    return tuple(Holder(charge.size, service=charge.service) for charge in charges)


def _kept(order: StartOrder) -> int:
    return resident_on_host(order.footprint, order.cards)


def _short(orders: Sequence[StartOrder], pool: int) -> tuple[tuple[StartOrder, int], ...]:
    """Starts whose peak is more than the pool, which is what is left when all have loaded."""
    return tuple(
        (order, pool + _kept(order))
        for order in orders
        if order.footprint.loading > pool and order.footprint.loading + _kept(order) > 0
    )


def _passing(running: RunningService) -> int:
    """What of a loading service's charge is over when it is ready, whether it has been taken yet or not."""
    footprint = running.record.footprint
    return footprint.loading if footprint else 0


def _waves(orders: Sequence[StartOrder], pool: int, busy: int) -> tuple[tuple[ServiceId, ...], ...]:
    waves: list[list[ServiceId]] = [[]]
    taken = busy
    for order in orders:
        peak = order.footprint.loading
        if not peak:
            continue
        if taken and taken + peak > pool:
            waves.append([])
            taken = 0
        waves[-1].append(order.spec.id)
        taken += peak
    return tuple(map(tuple, waves))


def _would_fit(holders: Sequence[Holder], missing: int) -> str:
    enough = [one for one in holders if (one.size or 0) >= missing]
    if enough:
        # Largest first, so the last is the smallest that helps.
        return f"stopping {enough[-1].service} would make room"
    return f"{format_size(missing)} more would do"
