"""A box in virtual time around the brain: modes that exclude each other, switches that take their time."""

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gpumod.core.names import ModeId, ServiceId, SwitchId
from gpumod.core.spec import OnDemand
from gpumod.gateway.demand.brain import Brain
from gpumod.gateway.demand.rules import Rules
from gpumod.gateway.demand.values import (
    Asked,
    Began,
    Begin,
    Busy,
    Ended,
    Event,
    Explain,
    Explained,
    Fail,
    Gone,
    Option,
    Pass,
    Running,
    Seen,
    Sight,
    Standing,
    Tick,
    TicketId,
    Verdict,
    Wish,
)


@dataclass
class Arrival:
    """A request as it comes, and what became of it. Its model is called like its service."""

    at: float
    model: str
    key: str = "ada"
    priority: int = 0
    runs: float = 1.0
    gives_up: float | None = None
    policy: OnDemand = OnDemand.AUTO
    then: Callable[["Simulation", "Arrival"], None] | None = None
    """Called when it has ended, for agents that ask again."""
    ticket: TicketId = 0
    outcome: ServiceId | Verdict | None = None
    settled: int = 0
    waited: float = 0.0


@dataclass
class Simulation:
    """Runs arrivals against a brain.

    Args:
        modes: which services each has; every service answers to its own name.
        duration: of each switch, by its number.
        fails: whether a switch fails, by its number.
    """

    rules: Rules
    modes: Mapping[str, frozenset[str]]
    mode: str
    duration: Callable[[int], float] = lambda _: 10.0
    fails: Callable[[int], bool] = lambda _: False
    now: float = 0.0
    arrivals: list[Arrival] = field(default_factory=list)
    begun: list[tuple[float, str]] = field(default_factory=list)
    inside: dict[str, Counter[int]] = field(default_factory=dict)
    switch: tuple[int, str] | None = None

    def __post_init__(self) -> None:
        self.brain = Brain(self.rules)
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._tickets = itertools.count(1)
        self._waiting: dict[TicketId, Arrival] = {}
        self._switches = itertools.count(1)
        self._look()

    # --- what happens -----------------------------------------------------------------------------

    def arrive(self, arrival: Arrival) -> None:
        """A request will come."""
        self.arrivals.append(arrival)
        self.at(arrival.at, lambda: self._arrived(arrival))

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Something will happen."""
        heapq.heappush(self._queue, (when, next(self._order), what))

    def run(self, until: float) -> None:
        """Let time pass."""
        while True:
            wake = self.brain.wake
            following = self._queue[0][0] if self._queue else None
            when = min((one for one in (wake, following) if one is not None), default=until)
            if when >= until:
                self.now = until
                return
            self.now = max(self.now, when)
            if following is not None and following <= when:
                heapq.heappop(self._queue)[2]()
            else:
                self.take(Tick())
                assert self.brain.wake is None or self.brain.wake > self.now, "it would be woken forever"
                self._look()

    def take(self, event: Event) -> None:
        """Tell the brain, and do what it says."""
        for instruction in self.brain.take(event, self.now):
            match instruction:
                case Pass(ticket=ticket, service=service):
                    self._settle(ticket, service)
                case Fail(ticket=ticket, verdict=verdict):
                    self._settle(ticket, verdict)
                case Begin():
                    self.at(self.now, lambda begin=instruction: self._begin(begin))  # type: ignore[misc]
                case Explain(goal=goal):
                    self.at(self.now, lambda goal=goal: self.take(Explained(goal, {})))  # type: ignore[misc]

    # --- inside -------------------------------------------------------------------------------------

    def _arrived(self, arrival: Arrival) -> None:
        if self._admits(arrival.model):
            self._enter(arrival)
            return
        arrival.ticket = next(self._tickets)
        self._waiting[arrival.ticket] = arrival
        options = tuple(
            Option(ModeId(mode), arrival.policy, frozenset(ServiceId(one) for one in services))
            for mode, services in self.modes.items()
            if arrival.model in services
        )
        self.take(Asked(arrival.ticket, Wish(arrival.model, arrival.key, arrival.priority, options)))
        if arrival.gives_up is not None:
            self.at(self.now + arrival.gives_up, lambda: self._gone(arrival))
        self._look()

    def _gone(self, arrival: Arrival) -> None:
        if self._waiting.pop(arrival.ticket, None):
            self.take(Gone(arrival.ticket))

    def _settle(self, ticket: TicketId, outcome: ServiceId | Verdict) -> None:
        arrival = self._waiting.pop(ticket)  # a KeyError: settled twice, or after its client went away
        arrival.waited = self.now - arrival.at
        arrival.settled += 1
        arrival.outcome = outcome
        if isinstance(outcome, Verdict):
            if arrival.then:
                arrival.then(self, arrival)
            return
        assert self._admits(outcome), f"{outcome} admits nobody"
        assert outcome == arrival.model
        self._enter(arrival)

    def _enter(self, arrival: Arrival) -> None:
        arrival.outcome = ServiceId(arrival.model)
        self.inside.setdefault(arrival.model, Counter())[arrival.priority] += 1
        self.at(self.now + arrival.runs, lambda: self._left(arrival))

    def _left(self, arrival: Arrival) -> None:
        self.inside[arrival.model][arrival.priority] -= 1
        if arrival.then:
            arrival.then(self, arrival)
        self._look()

    def _admits(self, model: str) -> bool:
        """While a switch runs, what it stops admits nobody, and what it starts not yet."""
        here = self.modes[self.mode]
        return model in here and (self.switch is None or model in self.modes[self.switch[1]])

    def _begin(self, begin: Begin) -> None:
        assert begin.goal.mode is not None
        if self.switch is not None:
            self.take(Busy(begin.attempt))
            return
        number = next(self._switches)
        self.switch = (number, begin.goal.mode)
        self.begun.append((self.now, begin.goal.mode))
        self.at(self.now + self.duration(number), self._end)
        self.take(Began(begin.attempt, SwitchId(str(number))))
        self._look()

    def _end(self) -> None:
        assert self.switch is not None
        number, mode = self.switch
        self.switch = None
        failed = self.fails(number)
        if not failed:
            self.mode = mode
        self.take(Ended(SwitchId(str(number)), "it exploded" if failed else "", ModeId(mode)))
        self._look()

    def _look(self) -> None:
        running = None
        if self.switch is not None:
            number, mode = self.switch
            running = Running(SwitchId(str(number)), "", self.modes[mode])
        here = self.modes[self.mode]
        standing = {}
        for model in self.brain.models:
            leaving = model in here and self.switch is not None
            service = ServiceId(model) if self._admits(model) else None
            standing[model] = Standing(service=service, present=leaving)
        stops = {
            ModeId(mode): frozenset(ServiceId(one) for one in here - services)
            for mode, services in self.modes.items()
        }
        busy = {ServiceId(one): max(+levels) for one, levels in self.inside.items() if +levels}
        self.take(Seen(Sight(ModeId(self.mode), running, standing, stops, busy)))


def modes(count: int) -> dict[str, frozenset[str]]:
    """Modes that exclude each other, with one service each of the same name."""
    return {name: frozenset({name}) for name in "abcdefgh"[:count]}


def rules(**given: Any) -> Rules:
    """Rules without bounds that a test does not ask for."""
    return Rules(**{"queue": 100_000, "queue_per_key": 100_000, "wait": 1e9, **given})
