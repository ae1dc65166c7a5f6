"""What a target changes: who stays, who leaves, who starts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gpumod.core.cards import CardHealth
from gpumod.core.facts import Facts, RunningService
from gpumod.core.names import ServiceId
from gpumod.core.plan import Target
from gpumod.core.spec import ServiceSpec
from gpumod.core.states import ServiceState
from gpumod.planner.cards import exact_ids

_KEEPABLE = frozenset(
    {ServiceState.STARTING, ServiceState.LOADING, ServiceState.READY, ServiceState.DRAINING}
)
_AT_WORK = _KEEPABLE | {ServiceState.SLEEPING, ServiceState.PARKED}


@dataclass(frozen=True, slots=True)
class Diff:
    """Each part is sorted by id. A service that is stopped and started is in `leaving` and `starting`."""

    kept: tuple[RunningService, ...]
    leaving: tuple[RunningService, ...]
    starting: tuple[ServiceSpec, ...]

    def moving(self, services: frozenset[ServiceId], target: Target) -> Diff:
        """The same, with some kept services stopped and started instead."""
        moved = tuple(one for one in self.kept if one.record.id in services)
        specs = tuple(spec for spec in target.services if spec.id in services)
        return Diff(
            kept=tuple(one for one in self.kept if one.record.id not in services),
            leaving=by_id(self.leaving + moved),
            starting=tuple(sorted(self.starting + specs, key=lambda spec: spec.id)),
        )

    @property
    def leaving_ids(self) -> frozenset[ServiceId]:
        """Ids of all that are stopped."""
        return frozenset(one.record.id for one in self.leaving)


def compare(facts: Facts, target: Target) -> Diff:
    """Who stays, leaves and starts, before anything has to move for room."""
    wanted = {spec.id: spec for spec in target.services}
    present = [one for one in facts.services if is_there(one)]
    kept = [one for one in present if _is_kept(facts, target, wanted, one)]
    staying = {one.record.id for one in kept}
    return Diff(
        kept=by_id(kept),
        leaving=by_id(one for one in present if one.record.id not in staying),
        starting=tuple(spec for name, spec in sorted(wanted.items()) if name not in staying),
    )


def was_at_work(running: RunningService) -> bool:
    """Whether a service served, or was about to: what stopping it takes away from somebody."""
    return running.alive and running.record.state in _AT_WORK


def is_there(running: RunningService) -> bool:
    """Whether anything of it may be left; a failed service without processes is as good as stopped."""
    return running.alive or running.record.state.may_hold_memory


def by_id(services: Iterable[RunningService]) -> tuple[RunningService, ...]:
    """Services in the order of their ids."""
    return tuple(sorted(services, key=lambda one: one.record.id))


def _is_kept(
    facts: Facts, target: Target, wanted: dict[ServiceId, ServiceSpec], running: RunningService
) -> bool:
    record = running.record
    spec = wanted.get(record.id)
    if spec is None or record.id in target.restart or not running.alive or running.unkillable:
        return False
    return (
        record.state in _KEEPABLE
        and facts.findings[spec.id].same_launch
        and _placement_allowed(facts, spec, running)
    )


def _placement_allowed(facts: Facts, spec: ServiceSpec, running: RunningService) -> bool:
    cards = running.record.cards
    if spec.cards.exact:
        return exact_ids(facts.reading, spec.cards) == cards
    found = [facts.reading.card(card) for card in cards]
    return len(cards) == spec.cards.count and all(
        # A card that does not answer for a moment is no reason to move what runs on it.
        card is not None and card.health in {CardHealth.OK, CardHealth.UNKNOWN}
        for card in found
    )
