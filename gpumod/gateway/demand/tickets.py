"""The waiting requests: their states, the one table of changes of state, and the indexes over them."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gpumod.core.errors import IllegalTransitionError
from gpumod.core.names import SwitchId
from gpumod.gateway.demand.values import Goal, TicketId, Wish


class State(StrEnum):
    """What a request waits for."""

    NEW = "new"
    """The next look at the box."""
    EXPECTING = "expecting"
    """A service that will admit by itself."""
    SEEING = "seeing"
    """The end of a switch that does not bring the model: what is there then is seen then."""
    WANTING = "wanting"
    """Its goal's turn."""
    RIDING = "riding"
    """A switch under way that brings the model."""
    ASKING = "asking"
    """The plan that its answer tells."""
    PASSED = "passed"
    FAILED = "failed"
    GONE = "gone"


_ENDS: Final = frozenset({State.PASSED, State.FAILED, State.GONE})
_WAITS: Final = frozenset({State.EXPECTING, State.SEEING, State.WANTING, State.RIDING, State.ASKING})

TABLE: Final[dict[State, frozenset[State]]] = {
    State.NEW: _WAITS | _ENDS,
    State.EXPECTING: _WAITS | _ENDS,
    State.SEEING: _WAITS | _ENDS | {State.NEW},
    State.WANTING: _WAITS | _ENDS | {State.NEW},
    # How a switch ended comes before what is seen then.
    State.RIDING: _ENDS | {State.NEW},
    State.ASKING: _ENDS,
    State.PASSED: frozenset(),
    State.FAILED: frozenset(),
    State.GONE: frozenset(),
}
"""Every change of state that there is."""


@dataclass(slots=True, eq=False)
class Ticket:
    """One waiting request.

    Args:
        goal: what it wants, or asks about.
        switch: which switch it rides, or waits to see the end of.
        failure: why the switch that it rode has failed.
        declined: goals that were refused while it waited, each with the reasons and whether these pass.
    """

    id: TicketId
    wish: Wish
    arrived: float
    deadline: float
    state: State = State.NEW
    goal: Goal | None = None
    switch: SwitchId | None = None
    failure: str = ""
    declined: dict[Goal, tuple[tuple[str, ...], bool]] | None = None


class Tickets:
    """All waiting requests, found by model, by goal and by state without looking at each."""

    def __init__(self) -> None:
        self._all: dict[TicketId, Ticket] = {}
        self._by_model: dict[str, dict[TicketId, Ticket]] = {}
        self._by_state: dict[State, dict[TicketId, Ticket]] = {state: {} for state in State}
        self._by_goal: dict[Goal, _Line] = {}
        self._of_key: Counter[str] = Counter()
        self._deadlines: list[tuple[float, TicketId]] = []

    def __len__(self) -> int:
        return len(self._all)

    def of_key(self, key: str) -> int:
        """How many requests of a key wait."""
        return self._of_key[key]

    def get(self, ticket: TicketId) -> Ticket | None:
        """The ticket, None where it no longer waits."""
        return self._all.get(ticket)

    def models(self) -> tuple[str, ...]:
        """Models that are waited for."""
        return tuple(self._by_model)

    def of_model(self, model: str) -> tuple[Ticket, ...]:
        """Those that wait for a model, in the order in which they came."""
        return tuple(self._by_model.get(model, {}).values())

    def in_state(self, state: State) -> tuple[Ticket, ...]:
        """Those in a state."""
        return tuple(self._by_state[state].values())

    def all(self) -> tuple[Ticket, ...]:
        """Everybody."""
        return tuple(self._all.values())

    def lines(self) -> Iterator[tuple[Goal, Ticket, Ticket]]:
        """Each goal that is wanted, who waits longest for it, and who comes first by priority."""
        for goal, line in self._by_goal.items():
            yield goal, line.oldest(), line.first()

    def wanting(self, goal: Goal) -> tuple[Ticket, ...]:
        """Those that want a goal."""
        line = self._by_goal.get(goal)
        return tuple(line.members.values()) if line else ()

    def add(self, ticket: Ticket) -> None:
        """A request begins to wait."""
        self._all[ticket.id] = ticket
        self._by_model.setdefault(ticket.wish.model, {})[ticket.id] = ticket
        self._by_state[ticket.state][ticket.id] = ticket
        self._of_key[ticket.wish.key] += 1
        heapq.heappush(self._deadlines, (ticket.deadline, ticket.id))

    def move(
        self, ticket: Ticket, state: State, *, goal: Goal | None = None, switch: SwitchId | None = None
    ) -> None:
        """Change a ticket's state, by the table alone.

        Raises:
            IllegalTransitionError: the table has no such change.
        """
        if state not in TABLE[ticket.state]:
            raise IllegalTransitionError(ticket.state, state)
        del self._by_state[ticket.state][ticket.id]
        if ticket.state is State.WANTING and ticket.goal is not None:
            self._leave_line(ticket, ticket.goal)
        ticket.state, ticket.goal, ticket.switch = state, goal, switch
        if state in _ENDS:
            self._remove(ticket)
            return
        self._by_state[state][ticket.id] = ticket
        if state is State.WANTING and goal is not None:
            self._by_goal.setdefault(goal, _Line()).add(ticket)

    def overdue(self, now: float) -> Iterator[Ticket]:
        """Those whose deadline is over, each once."""
        while self._deadlines and self._deadlines[0][0] <= now:
            ticket = self._all.get(heapq.heappop(self._deadlines)[1])
            if ticket is not None:
                yield ticket

    def next_deadline(self) -> float | None:
        """When the next deadline of one that still waits is."""
        while self._deadlines and self._deadlines[0][1] not in self._all:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def _leave_line(self, ticket: Ticket, goal: Goal) -> None:
        line = self._by_goal[goal]
        del line.members[ticket.id]
        if not line.members:
            del self._by_goal[goal]

    def _remove(self, ticket: Ticket) -> None:
        del self._all[ticket.id]
        same = self._by_model[ticket.wish.model]
        del same[ticket.id]
        if not same:
            del self._by_model[ticket.wish.model]
        self._of_key[ticket.wish.key] -= 1
        if not self._of_key[ticket.wish.key]:
            del self._of_key[ticket.wish.key]


class _Line:
    """Those that want one goal. The heaps may hold ids of some that have left."""

    def __init__(self) -> None:
        self.members: dict[TicketId, Ticket] = {}
        self._by_age: list[tuple[float, TicketId]] = []
        self._by_priority: list[tuple[int, float, TicketId]] = []

    def add(self, ticket: Ticket) -> None:
        self.members[ticket.id] = ticket
        heapq.heappush(self._by_age, (ticket.arrived, ticket.id))
        heapq.heappush(self._by_priority, (-ticket.wish.priority, ticket.arrived, ticket.id))

    def oldest(self) -> Ticket:
        while self._by_age[0][-1] not in self.members:
            heapq.heappop(self._by_age)
        return self.members[self._by_age[0][-1]]

    def first(self) -> Ticket:
        while self._by_priority[0][-1] not in self.members:
            heapq.heappop(self._by_priority)
        return self.members[self._by_priority[0][-1]]


def fair_order(tickets: Iterable[Ticket]) -> list[Ticket]:
    """By priority; among equals the first of each key, then the second of each, and so on."""
    nth: Counter[tuple[int, str]] = Counter()
    placed: list[tuple[int, int, float, TicketId, Ticket]] = []
    for ticket in sorted(tickets, key=lambda one: (one.arrived, one.id)):
        place = (ticket.wish.priority, ticket.wish.key)
        placed.append((-ticket.wish.priority, nth[place], ticket.arrived, ticket.id, ticket))
        nth[place] += 1
    return [entry[-1] for entry in sorted(placed, key=lambda entry: entry[:-1])]
