"""Makes steps of what to stop and what to start: free before take, per card, as parallel as is safe.

Edges only point from earlier to later steps, so the steps are in an order in which they could also run
one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gpumod.core.cards import Card
from gpumod.core.facts import Facts, RunningService
from gpumod.core.names import CardId, ServiceId
from gpumod.core.plan import StartOrder, Step, StepKind
from gpumod.core.states import ServiceState
from gpumod.planner.budget import sizes_on
from gpumod.planner.diff import by_id
from gpumod.planner.loading import LoadingOrder, order_loading


@dataclass(frozen=True, slots=True)
class Start:
    """A start to be ordered. `alone`: nothing else may start or stop on its cards while it loads."""

    order: StartOrder
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """What a plan has to do."""

    facts: Facts
    stops: tuple[RunningService, ...] = ()
    starts: tuple[Start, ...] = ()
    resumes: tuple[RunningService, ...] = ()
    """Kept services that are not open yet: still loading, draining, or ready and closed."""
    commit: bool = False


def make_steps(work: Work) -> tuple[Step, ...]:
    """The steps of a plan, each with those that it has to wait for."""
    return _Builder(work).build()


def needs_resuming(running: RunningService) -> bool:
    """Whether a kept service is awake and not open to requests yet."""
    state = running.record.state
    asleep = state in {ServiceState.SLEEPING, ServiceState.PARKED}
    return not asleep and (state is not ServiceState.READY or not running.record.admitting)


def starts_alone(facts: Facts, service: ServiceId) -> bool:
    """Whether a start measures its cards; without a finding it is taken to."""
    finding = facts.findings.get(service)
    return finding is None or finding.exclusive_start


def start_sequence(starts: Iterable[Start], stops: Sequence[RunningService] = ()) -> tuple[Start, ...]:
    """Starts with their dependencies first; among equals those first that wait for fewer stops."""
    by_name = {start.order.spec.id: start for start in starts}
    depths: dict[ServiceId, int] = {}

    def depth(name: ServiceId, path: frozenset[ServiceId] = frozenset()) -> int:
        if name not in depths:
            below = [
                depth(other, path | {name})
                for other in by_name[name].order.spec.depends_on
                if other in by_name and other not in path and other != name
            ]
            depths[name] = 1 + max(below, default=0)
        return depths[name]

    def key(start: Start) -> tuple[int, int, int, ServiceId]:
        cards = start.order.cards
        waits = sum(1 for one in stops if set(cards_of(one)) & set(cards))
        return (depth(start.order.spec.id), waits, len(cards), start.order.spec.id)

    return tuple(sorted(by_name.values(), key=key))


def stop_sequence(stops: Iterable[RunningService]) -> tuple[RunningService, ...]:
    """Services before those that they depend on. Circles, which old files may have left, are cut."""
    by_name = {one.record.id: one for one in by_id(stops)}
    done: dict[ServiceId, RunningService] = {}

    def visit(name: ServiceId, path: frozenset[ServiceId]) -> None:
        if name in done or name in path:
            return
        for other, one in by_name.items():
            if name in one.record.spec.depends_on:
                visit(other, path | {name})
        done[name] = by_name[name]

    for name in by_name:
        visit(name, frozenset())
    return tuple(done.values())


def cards_of(running: RunningService) -> tuple[CardId, ...]:
    """Every card that a service was placed on or is seen on."""
    return tuple(dict.fromkeys((*running.record.cards, *(card for card, _ in running.held))))


def tells_bytes(card: Card) -> bool:
    """Whether a card's driver tells what each process holds."""
    return card.pids_visible and all(process.used is not None for process in card.processes)


@dataclass(slots=True)
class _Builder:
    work: Work
    steps: list[Step] = field(default_factory=list)
    _stopped: dict[ServiceId, int] = field(default_factory=dict)
    _started: dict[ServiceId, int] = field(default_factory=dict)
    _ready: dict[ServiceId, int] = field(default_factory=dict)
    _opened: dict[ServiceId, int] = field(default_factory=dict)

    def build(self) -> tuple[Step, ...]:
        for one in by_id(self.work.resumes):
            self._resume(one)
        for one in stop_sequence(self.work.stops):
            self._stop(one)
        starts = start_sequence(self.work.starts, self.work.stops)
        loading = self._loading(starts)
        for position, start in enumerate(starts):
            self._start(start, starts[:position], loading)
        self._prove_the_rest()
        if self.work.commit:
            self._add(StepKind.COMMIT, self._ends())
        return tuple(self.steps)

    # --- one service ------------------------------------------------------------------------------

    def _resume(self, one: RunningService) -> None:
        name, cards = one.record.id, one.record.cards
        after: set[int] = set()
        if one.record.state.is_starting:
            self._ready[name] = self._add(StepKind.READY, after, name, cards)
            after = {self._ready[name]}
        self._opened[name] = self._add(StepKind.OPEN, after, name, cards)

    def _stop(self, one: RunningService) -> None:
        name, cards, state = one.record.id, cards_of(one), one.record.state
        dependants = [other.record.id for other in self.work.stops if name in other.record.spec.depends_on]
        after = {self._stopped[other] for other in dependants if other in self._stopped}
        serving = one.alive and state in {ServiceState.READY, ServiceState.DRAINING}
        if state is ServiceState.READY or one.record.admitting:
            after = {self._add(StepKind.CLOSE, after, name, cards)}
        if serving:
            after = {self._add(StepKind.DRAIN, after, name, cards)}
        self._stopped[name] = self._add(StepKind.STOP, after | self._measuring(cards), name, cards)

    def _measuring(self, cards: Iterable[CardId]) -> set[int]:
        """When the kept services that measure these cards while they load will be ready."""
        return {
            self._ready[one.record.id]
            for one in self.work.resumes
            if one.record.id in self._ready
            and starts_alone(self.work.facts, one.record.id)
            and set(cards_of(one)) & set(cards)
        }

    def _start(self, start: Start, earlier: Sequence[Start], loading: LoadingOrder) -> None:
        order = start.order
        name, cards = order.spec.id, order.cards
        gone = tuple(one.record.id for one in by_id(self.work.stops) if set(cards_of(one)) & set(cards))
        after = {self._stopped[one] for one in gone}
        after |= self._after_neighbours(start, earlier)
        after |= self._after_same_name_or_port(order)
        after |= {self._opened[one] for one in order.spec.depends_on if one in self._opened}
        after |= self._after_loads(name, loading)
        need = sizes_on(order.footprint, cards)
        proven = self._add(StepKind.RELEASE, after, name, cards, gone, need)
        self._started[name] = self._add(StepKind.START, {proven}, name, cards, order=order)
        self._ready[name] = self._add(StepKind.READY, {self._started[name]}, name, cards)
        self._opened[name] = self._add(StepKind.OPEN, {self._ready[name]}, name, cards)

    def _after_neighbours(self, start: Start, earlier: Sequence[Start]) -> set[int]:
        """Starts on one card follow each other, so that each is charged before the next looks.

        One that measures its cards, or whose bytes the driver does not tell, has to be ready first.
        """
        cards = set(start.order.cards)
        after = set()
        for other in earlier:
            shared = cards & set(other.order.cards)
            if shared:
                wait = start.alone or other.alone or not self._told(shared)
                index = self._ready if wait else self._started
                after.add(index[other.order.spec.id])
        for one in self.work.resumes:
            shared = cards & set(cards_of(one))
            if shared and one.record.id in self._ready:
                alone = start.alone or starts_alone(self.work.facts, one.record.id)
                if alone or not self._told(shared):
                    after.add(self._ready[one.record.id])
        return after

    def _told(self, cards: Iterable[CardId]) -> bool:
        found = [self.work.facts.reading.card(card) for card in cards]
        return all(card is not None and tells_bytes(card) for card in found)

    def _after_same_name_or_port(self, order: StartOrder) -> set[int]:
        finding = self.work.facts.findings.get(order.spec.id)
        holder = finding.port_holder if finding else None
        return {
            self._stopped[one.record.id]
            for one in self.work.stops
            if one.record.id == order.spec.id
            or (one.record.launch is not None and one.record.launch.port == order.port)
            or (holder is not None and holder.service == one.record.id)
        }

    # --- the host's memory ------------------------------------------------------------------------

    def _loading(self, starts: Sequence[Start]) -> LoadingOrder:
        leaving = frozenset(one.record.id for one in self.work.stops)
        still = [one for one in self.work.resumes if one.record.state.is_starting]
        return order_loading(self.work.facts, [start.order for start in starts], leaving, still)

    def _after_loads(self, name: ServiceId, loading: LoadingOrder) -> set[int]:
        after = set(self._stopped.values()) if loading.after_stops else set()
        wave = next((at for at, names in enumerate(loading.waves) if name in names), 0)
        if wave:
            after |= {self._ready[other] for other in loading.waves[wave - 1]}
        if wave == 1:
            kept = (one.record.id for one in self.work.resumes)
            after |= {self._ready[one] for one in kept if one in self._ready}
        return after

    # --- all together -----------------------------------------------------------------------------

    def _prove_the_rest(self) -> None:
        """Cards that only lose services: their memory has to be proven free as well."""
        covered = {card for start in self.work.starts for card in start.order.cards}
        for card in sorted(self.work.facts.reading.cards, key=lambda card: (card.index, card.id)):
            gone = tuple(one.record.id for one in by_id(self.work.stops) if card.id in cards_of(one))
            if gone and card.usable and card.id not in covered:
                after = {self._stopped[name] for name in gone}
                self._add(StepKind.RELEASE, after, None, (card.id,), gone, (0,))

    def _ends(self) -> set[int]:
        waited_for = {index for step in self.steps for index in step.after}
        return {step.index for step in self.steps} - waited_for

    def _add(
        self,
        kind: StepKind,
        after: set[int],
        service: ServiceId | None = None,
        cards: tuple[CardId, ...] = (),
        gone: tuple[ServiceId, ...] = (),
        need: tuple[int, ...] = (),
        order: StartOrder | None = None,
    ) -> int:
        index = len(self.steps)
        self.steps.append(Step(index, kind, tuple(sorted(after)), service, cards, gone, need, order))
        return index
