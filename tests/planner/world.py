"""A box that carries out steps, one at a time, and complains when memory runs out.

It knows nothing of the planner's budgets: cards have bytes, services take them bit by bit while they load,
and give them back when they stop.
"""

from dataclasses import dataclass, field, replace

from gpumod.core.cards import Card, CardProcess, CardsReading, DriverState, HostMemory
from gpumod.core.facts import Facts, RunningService, TargetFinding
from gpumod.core.footprint import Footprint, FootprintKey, Source, Spread
from gpumod.core.names import CardId, ModeId, PresetId, ServiceId
from gpumod.core.plan import StepKind, Target
from gpumod.core.service import Desired, Launch, ServiceRecord
from gpumod.core.spec import CardRequest, EngineKind, ServiceSpec
from gpumod.core.states import ServiceState, transition
from gpumod.planner.fits import fits_now
from gpumod.planner.release import released

FOREIGN_PID = 9
BLANK_BOX = Desired(mode="blank")
NOW = 1_000.0


@dataclass(frozen=True)
class Model:
    """What a service really is. `sizes` are bytes per slot, by card model."""

    spec: ServiceSpec
    sizes: dict[str, tuple[int, ...]]
    resident: int = 0
    loading: int = 0
    alone: bool = False
    same_model: bool = False
    spreads: dict[str, Spread] = field(default_factory=dict)
    """By card model, where it can be divided; `sizes` are those of `split` then."""
    split: tuple[int, ...] = ()

    @property
    def id(self):
        return self.spec.id

    def changed(self):
        """The same service with another launch record."""
        return replace(self, spec=replace(self.spec, context=(self.spec.context or 0) + 1))


@dataclass
class World:
    cards: dict[str, tuple[str, int]]  # id -> (model name, capacity)
    models: dict[str, Model]  # id -> Model
    host: int = 10**6
    foreign: dict[str, int] = field(default_factory=dict)
    told: bool = True  # whether processes on the cards can be seen, and what each holds
    services: dict[str, RunningService] = field(default_factory=dict)  # id -> RunningService
    desired: Desired = BLANK_BOX
    generation: int = 0
    doomed: frozenset[str] = (
        frozenset()
    )  # services that are about to be stopped: disturbing them harms nobody
    reversed: bool = False  # whether every collection is told in another order

    # --- what it is asked -------------------------------------------------------------------------

    def facts(self):
        cards = [self._card(number, name) for number, name in enumerate(self.cards)]
        services = [self._service(one) for one in self.services.values()]
        findings = [(model.id, self._finding(model)) for model in self.models.values()]
        footprints = [
            (FootprintKey(model.id, len(sizes), card_model), self._footprint(model, card_model))
            for model in self.models.values()
            for card_model, sizes in model.sizes.items()
        ]
        parts = [cards, services, findings, footprints]
        if self.reversed:
            parts = [part[::-1] for part in parts]
        held = sum(one.host_held for one in self.services.values())
        reading = CardsReading(NOW, DriverState.OK, tuple(parts[0]), HostMemory(self.host, self.host - held))
        return Facts(NOW, reading, tuple(parts[1]), dict(parts[2]), dict(parts[3]), desired=self.desired)

    def target(self, names, mode):
        specs = [self.models[name].spec for name in sorted(names)]
        return Target(ModeId(mode), tuple(specs[::-1] if self.reversed else specs))

    def where(self):
        return {name: one.record.cards for name, one in self.services.items()}

    # --- what it does -----------------------------------------------------------------------------

    def act(self, step, growth=1.0):
        """Carry out one step. `growth` is how much of its memory a started service takes at once."""
        match step.kind:
            case StepKind.CLOSE:
                self._change(self.services[step.service], ServiceState.DRAINING, admitting=False)
            case StepKind.STOP:
                self._not_beside_a_measuring_start(step.cards)
                self._change(self.services[step.service], ServiceState.STOPPING)
                del self.services[step.service]
            case StepKind.RELEASE:
                verdict = released(self.facts(), step)
                assert verdict.free, verdict.reason
            case StepKind.START:
                self._start(step.order, growth)
            case StepKind.READY:
                self._take(step.service, 1.0, ServiceState.READY)
            case StepKind.OPEN:
                if self.services[step.service].record.state is ServiceState.DRAINING:
                    self._change(self.services[step.service], ServiceState.READY)
                self._note(step.service, admitting=True)
            case StepKind.DRAIN:
                record = self.services[step.service].record
                assert record.state is ServiceState.DRAINING
                assert not record.admitting
        self.check()

    def commit(self, target):
        self.desired = Desired(target.mode, target.added, target.removed)

    def check(self):
        """Nothing ever runs out of memory."""
        for name, (_, capacity) in self.cards.items():
            assert self._used(name) <= capacity, f"{name} ran out of memory"
        assert sum(one.host_held for one in self.services.values()) <= self.host, "host out of memory"

    def _start(self, order, growth):
        name = order.spec.id
        assert name not in self.services, "two attempts at once"
        assert fits_now(self.facts(), order) == ()
        assert all(self._is_open(other) for other in order.spec.depends_on)
        self._not_beside_a_measuring_start(order.cards)
        if self.models[name].alone:
            busy = [one for one in self.services.values() if one.record.state.is_starting]
            assert not any(set(one.record.cards) & set(order.cards) for one in busy)
        self.generation += 1
        launch = order.launch or self._launch(order.spec, order.port, order.cards)
        record = ServiceRecord(
            name, ServiceState.STARTING, self.generation, "", NOW, order.spec, launch, order.footprint
        )
        self.services[name] = RunningService(record)
        self._take(name, growth, ServiceState.LOADING)

    def _take(self, name, share, state):
        one, model = self.services[name], self.models[name]
        if one.record.state is state:
            return
        self._change(one, state)
        sizes = self._sizes(one.record, model)
        taken = [(card, round(size * share)) for card, size in zip(one.record.cards, sizes, strict=True)]
        loading = 0 if state is ServiceState.READY else round(model.loading * share)
        self.services[name] = replace(
            self.services[name],
            held=tuple(taken),
            host_held=(model.resident if share == 1.0 else round(model.resident * share)) + loading,
        )

    def _sizes(self, record, model):
        names = [self.cards[card][0] for card in record.cards]
        if model.spreads:
            counts = record.footprint.split
            spreads = [model.spreads[name] for name in names]
            return [spread.cards(counts)[slot] for slot, spread in enumerate(spreads)]
        return [model.sizes[name][slot] for slot, name in enumerate(names)]

    def _change(self, one, state, **fields):
        transition(one.record.state, state)
        self._note(one.record.id, state=state, **fields)

    def _note(self, name, **fields):
        one = self.services[name]
        self.services[name] = replace(one, record=replace(one.record, **fields))

    def _is_open(self, name):
        return name in self.services and self.services[name].record.admitting

    def _not_beside_a_measuring_start(self, cards):
        for one in self.services.values():
            measures = self.models[one.record.id].alone and one.record.state.is_starting
            if measures and one.record.id not in self.doomed:
                assert not set(one.record.cards) & set(cards), "disturbed while it measures its cards"

    # --- what it tells ----------------------------------------------------------------------------

    def _used(self, card):
        ours = sum(dict(one.held).get(card, 0) for one in self.services.values())
        return self.foreign.get(card, 0) + ours

    def _card(self, number, name):
        model, capacity = self.cards[name]
        processes = [
            CardProcess(100 + at, dict(one.held)[name], service=one.record.id)
            for at, one in enumerate(self.services.values())
            if name in dict(one.held)
        ]
        if self.foreign.get(name):
            processes.append(CardProcess(FOREIGN_PID, self.foreign[name]))
        return Card(
            CardId(name),
            number,
            model,
            capacity,
            capacity - self._used(name),
            pids_visible=self.told,
            processes=tuple(processes) if self.told else (),
        )

    def _finding(self, model):
        one = self.services.get(model.id)
        launch = one.record.launch if one else None
        same = launch is not None and launch == self._launch(model.spec, launch.port, launch.cards)
        port = 18000 + int(model.id[1:])
        return TargetFinding(
            port, same_launch=same, exclusive_start=model.alone, multi_card_same_model=model.same_model
        )

    def _service(self, one):
        return one if self.told else replace(one, held=())

    @staticmethod
    def _launch(spec, port, cards):
        return Launch(EngineKind.LLAMA_CPP, (spec.id, str(spec.context)), (), port, cards)

    @staticmethod
    def _footprint(model, card_model):
        return Footprint(
            tuple(model.sizes[card_model]),
            Source.DECLARED,
            model.resident,
            model.loading,
            spread=model.spreads.get(card_model),
            split=model.split,
        )


def model(number, sizes, *, count=1, exact=(), needs=(), **fields):
    name = f"s{number}"
    spec = ServiceSpec(
        ServiceId(name),
        PresetId(name),
        EngineKind.LLAMA_CPP,
        cards=CardRequest(count, tuple(map(str, exact))),
        depends_on=tuple(ServiceId(f"s{other}") for other in needs),
    )
    return Model(spec, sizes, **fields)
