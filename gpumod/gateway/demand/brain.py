"""The brain of the queue: what happened goes in with the time, what to do comes out. No I/O, no clock.

Every request that no service takes at once is a ticket here, in exactly one state of `tickets.TABLE`, until
it is passed, answered, or its client is gone; its deadline bounds each of these waits.
"""

from __future__ import annotations

from collections.abc import Iterable

from gpumod.core.names import ServiceId
from gpumod.core.spec import OnDemand
from gpumod.gateway.demand import verdicts
from gpumod.gateway.demand.rules import Rules
from gpumod.gateway.demand.tickets import State, Ticket, Tickets, fair_order
from gpumod.gateway.demand.turns import next_turn, stopped_by
from gpumod.gateway.demand.values import (
    Asked,
    Began,
    Begin,
    Broke,
    Busy,
    Closed,
    Declined,
    Ended,
    Event,
    Explain,
    Explained,
    Fail,
    Goal,
    Gone,
    Instruction,
    Option,
    Pass,
    Seen,
    Sight,
    Standing,
    Tick,
    TicketId,
    Verdict,
)

_LOOK_AGAIN = 1.0
"""Seconds until a switch is asked for again that had to wait for one which was not seen."""

_COOL_DOWN = 10.0
"""Seconds at least for which no request asks for a switch that has failed."""
_IN_VAIN = ("the switch was made, and the model is not there",)


class Brain:
    """Decides for all waiting requests. One instance for each box."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._tickets = Tickets()
        self._sight: Sight | None = None
        self._seen: dict[str, object] = {}
        self._settled: float | None = None
        self._attempts = 0
        self._pending: tuple[int, Goal, float] | None = None
        self._failed: dict[Goal, tuple[float, str]] = {}
        self._explaining: set[Goal] = set()
        self._turn_again: float | None = None
        self._not_before = 0.0
        self._closed = False
        self._out: list[Instruction] = []

    # --- what others may look at -------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._tickets)

    @property
    def models(self) -> tuple[str, ...]:
        """Models that are waited for: what the next look has to tell the standing of."""
        return self._tickets.models()

    @property
    def pending(self) -> bool:
        """Whether a switch was asked for and no result has come."""
        return self._pending is not None

    @property
    def settled(self) -> float | None:
        """Since when the present mode is what it is, None before the first look."""
        return self._settled

    @property
    def wake(self) -> float | None:
        """When something is due although nothing happens."""
        times = [self._tickets.next_deadline(), self._turn_again]
        times.append(self._pending[2] if self._pending else None)
        return min((one for one in times if one is not None), default=None)

    def state(self, ticket: TicketId) -> State | None:
        """What a request waits for; None where it does not wait."""
        found = self._tickets.get(ticket)
        return found.state if found else None

    # --- events ------------------------------------------------------------------------------------

    def take(self, event: Event, now: float) -> list[Instruction]:
        """What to do about an event, in this order."""
        self._out = []
        match event:
            case Asked():
                self._asked(event, now)
            case Gone():
                if ticket := self._tickets.get(event.ticket):
                    self._tickets.move(ticket, State.GONE)
            case Seen(sight=sight):
                self._see(sight, now)
            case Began() | Declined() | Busy() | Broke():
                self._result(event, now)
            case Ended():
                self._ended(event, now)
            case Explained():
                self._explained(event)
            case Tick():
                pass
            case Closed():
                self._closed = True
                self._fail(self._tickets.all(), verdicts.closing())
        self._expire(now)
        self._choose(now)
        return self._out

    def _asked(self, event: Asked, now: float) -> None:
        wish = event.wish
        ticket = Ticket(event.ticket, wish, now, now + self._rules.wait)
        full = len(self._tickets) >= self._rules.queue
        if self._closed:
            self._out.append(Fail(ticket.id, verdicts.closing()))
        elif full or self._tickets.of_key(wish.key) >= self._rules.queue_per_key:
            limit = self._rules.queue if full else self._rules.queue_per_key
            self._out.append(Fail(ticket.id, verdicts.full(limit, _best(wish.options), of_key=not full)))
        else:
            self._tickets.add(ticket)

    def _see(self, sight: Sight, now: float) -> None:
        if self._settled is None:
            # What was before is not known: nobody is made to wait for it.
            self._settled = now - self._rules.residency
        elif self._sight is not None and sight.mode != self._sight.mode:
            self._settled = now
        self._sight = sight
        for model in self._tickets.models():
            standing = sight.standing.get(model)
            if standing is not None:
                self._look_at(model, standing, sight, now)
        for ticket in self._tickets.in_state(State.NEW):
            if standing := sight.standing.get(ticket.wish.model):
                self._place(ticket, standing, sight, now)
        for model in self._seen.keys() - set(self._tickets.models()):
            del self._seen[model]

    def _look_at(self, model: str, standing: Standing, sight: Sight, now: float) -> None:
        """Let those in who wait for a model, or decide anew what they wait for, if anything has changed."""
        if standing.service is not None:
            for ticket in fair_order(self._tickets.of_model(model)):
                self._tickets.move(ticket, State.PASSED)
                self._out.append(Pass(ticket.id, standing.service))
            return
        seen = (standing, sight.switch and (sight.switch.id, model in sight.switch.brings))
        if self._seen.get(model) != seen:
            self._seen[model] = seen
            for ticket in self._tickets.of_model(model):
                if ticket.state not in {State.NEW, State.RIDING, State.ASKING}:
                    self._place(ticket, standing, sight, now)

    def _result(self, event: Began | Declined | Busy | Broke, now: float) -> None:
        if self._pending is None or self._pending[0] != event.attempt:
            return  # a late result of an earlier attempt says nothing about a newer one
        goal, self._pending = self._pending[1], None
        wanting = self._tickets.wanting(goal)
        match event:
            case Began(switch=switch):
                for ticket in wanting:
                    self._tickets.move(ticket, State.RIDING, goal=goal, switch=switch)
            case Declined(reasons=reasons, passing=passing):
                for ticket in wanting:
                    ticket.declined = {**(ticket.declined or {}), goal: (reasons, passing)}
                    self._place_again(ticket, now)
            case Broke(reason=reason):
                self._cool_down(goal, reason, now)
                for ticket in wanting:
                    ticket.failure = reason
                    self._place_again(ticket, now)
            case Busy():
                self._not_before = now + _LOOK_AGAIN

    def _ended(self, event: Ended, now: float) -> None:
        if event.mode is not None or event.reason:
            self._settled = now
        if event.reason:
            self._cool_down(event.goal, event.reason, now)
        else:
            self._failed.pop(event.goal, None)
        for ticket in (*self._tickets.in_state(State.RIDING), *self._tickets.in_state(State.SEEING)):
            if ticket.switch == event.switch:
                ticket.failure = event.reason if ticket.state is State.RIDING else ""
                if ticket.goal is not None:
                    # Where the model is not there in spite of it, the same switch would not bring it either.
                    ticket.declined = {**(ticket.declined or {}), ticket.goal: (_IN_VAIN, True)}
                self._tickets.move(ticket, State.NEW)

    def _cool_down(self, goal: Goal, reason: str, now: float) -> None:
        self._failed[goal] = (now + max(self._rules.residency, _COOL_DOWN), reason)

    def _explained(self, event: Explained) -> None:
        self._explaining.discard(event.goal)
        asking = [one for one in self._tickets.in_state(State.ASKING) if one.goal == event.goal]
        for ticket in asking:
            self._fail([ticket], verdicts.ask(ticket.wish.model, event.goal, event.facts))

    # --- where a request belongs ---------------------------------------------------------------------

    def _place(self, ticket: Ticket, standing: Standing, sight: Sight, now: float) -> None:
        """Decide what a request waits for, or answer it. No service admits it now."""
        move = self._tickets.move
        if ticket.failure:
            self._fail([ticket], verdicts.switch_failed(ticket.wish.model, ticket.failure))
        elif sight.switch is not None and ticket.wish.model in sight.switch.brings:
            move(ticket, State.RIDING, switch=sight.switch.id)
        elif sight.switch is not None and (standing.present or standing.expected or standing.down):
            move(ticket, State.SEEING, switch=sight.switch.id)
        elif standing.expected:
            move(ticket, State.EXPECTING)
        elif standing.revive is not None and not ticket.wish.starts:
            self._fail([ticket], verdicts.down(ticket.wish.model, "nobody asked for it, so it was stopped"))
        elif standing.revive is not None:
            self._want(ticket, [Goal(service=standing.revive)], now)
        elif standing.down:
            self._fail([ticket], verdicts.down(ticket.wish.model, standing.down))
        else:
            self._by_policy(ticket, sight, now)

    def _by_policy(self, ticket: Ticket, sight: Sight, now: float) -> None:
        """No service of the present mode serves the model: what other modes do, and what is allowed."""
        options = _in_order(ticket.wish.options, sight)
        automatic = [Goal(one.mode) for one in options if one.policy is OnDemand.AUTO]
        asking = [Goal(one.mode) for one in options if one.policy is OnDemand.ASK]
        if automatic:
            self._want(ticket, automatic, now)
        elif asking:
            self._tickets.move(ticket, State.ASKING, goal=asking[0])
            if asking[0] not in self._explaining:
                self._explaining.add(asking[0])
                self._out.append(Explain(asking[0]))
        else:
            wish, modes = ticket.wish, [one.mode for one in options]
            self._fail([ticket], verdicts.never(wish.model, modes, looks=not wish.starts))

    def _want(self, ticket: Ticket, goals: list[Goal], now: float) -> None:
        """Queue for the first goal that was neither refused nor has just failed; else tell why not."""
        declined = ticket.declined or {}
        for goal in goals:
            until, _ = self._failed.get(goal, (0.0, ""))
            if goal not in declined and until <= now:
                self._tickets.move(ticket, State.WANTING, goal=goal)
                return
        for goal in goals:
            if goal in declined:
                reasons, passing = declined[goal]
                self._fail([ticket], verdicts.refused(ticket.wish.model, goal, reasons, passing=passing))
                return
        until, reason = self._failed[goals[0]]
        self._fail([ticket], verdicts.switch_failed(ticket.wish.model, reason, after=until - now))

    def _place_again(self, ticket: Ticket, now: float) -> None:
        self._tickets.move(ticket, State.NEW)
        standing = self._sight.standing.get(ticket.wish.model) if self._sight else None
        if self._sight is not None and standing is not None and standing.service is None:
            self._place(ticket, standing, self._sight, now)

    # --- time ----------------------------------------------------------------------------------------

    def _expire(self, now: float) -> None:
        for ticket in self._tickets.overdue(now):
            verdict = verdicts.late(ticket.wish.model, self._rules.wait, ticket.state, ticket.goal)
            self._fail([ticket], verdict)
        if self._pending is not None and self._pending[2] <= now:
            # Nobody who waited for it is left; what comes of it yet is seen like anybody's switch.
            self._pending = None

    def _choose(self, now: float) -> None:
        """Ask for the switch whose turn it is, if it is anybody's."""
        self._turn_again = None
        sight = self._sight
        if self._closed or self._pending or sight is None or sight.switch or self._settled is None:
            return
        if now < self._not_before:
            self._turn_again = self._not_before if self._tickets.in_state(State.WANTING) else None
            return
        turn = next_turn(self._tickets.lines(), sight, self._settled, self._rules, now)
        self._turn_again = turn.again
        if turn.goal is not None:
            self._attempts += 1
            self._pending = (self._attempts, turn.goal, now + self._rules.wait)
            self._out.append(Begin(self._attempts, turn.goal, turn.key))

    def _fail(self, tickets: Iterable[Ticket], verdict: Verdict) -> None:
        for ticket in tickets:
            self._tickets.move(ticket, State.FAILED)
            self._out.append(Fail(ticket.id, verdict))


def _best(options: tuple[Option, ...]) -> Goal | None:
    allowed = sorted(options, key=lambda one: (-one.policy.rank, one.mode))
    return Goal(allowed[0].mode) if allowed else None


def _in_order(options: tuple[Option, ...], sight: Sight) -> list[Option]:
    """What permits most first; then what stops least, then what starts least, then by name."""

    def place(option: Option) -> tuple[int, int, int, str]:
        stops: frozenset[ServiceId] = stopped_by(Goal(option.mode), sight)
        return (-option.policy.rank, len(stops), len(option.services), option.mode)

    return sorted(options, key=place)
