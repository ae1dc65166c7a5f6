"""The brain alone: what it says to what happens, in whatever order."""

from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from gpumod.core.names import ModeId, ServiceId, SwitchId
from gpumod.core.spec import OnDemand
from gpumod.gateway.demand.brain import Brain
from gpumod.gateway.demand.rules import Rules
from gpumod.gateway.demand.tickets import TABLE, State
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
    Running,
    Seen,
    Sight,
    Standing,
    Tick,
    TicketId,
    Why,
    Wish,
)

A, B = ModeId("a"), ModeId("b")
S1, S2 = SwitchId("S1"), SwitchId("S2")
WISH = Wish("b", "ada", 0, (Option(B, OnDemand.AUTO, frozenset({ServiceId("b")})),))
ABSENT = Sight(A, None, {"b": Standing()}, {B: frozenset({ServiceId("a")})})
RULES = Rules(queue=10, queue_per_key=10, wait=100.0, residency=0.0, ageing=50.0)


def asked(*events: tuple[Event, float], brain: Brain | None = None) -> tuple[Brain, list[Instruction]]:
    """A brain after these events, and what it said to the last."""
    brain = brain or Brain(RULES)
    said: list[Instruction] = []
    for event, now in events:
        said = brain.take(event, now)
    return brain, said


def verdict(instructions: list[Instruction]) -> Why:
    """Why the only request is answered."""
    (fail,) = instructions
    assert isinstance(fail, Fail)
    return fail.verdict.why


def test_a_request_is_placed_when_the_box_was_looked_at():
    brain, said = asked((Asked(1, WISH), 0.0))
    assert said == []
    assert brain.state(1) is State.NEW
    assert brain.take(Seen(ABSENT), 1.0) == [Begin(1, Goal(B), "ada")]


def test_a_service_that_will_admit_is_waited_for_without_a_switch():
    expected = replace(ABSENT, standing={"b": Standing(expected=True)})
    brain, said = asked((Asked(1, WISH), 0.0), (Seen(expected), 1.0))
    assert said == []
    assert brain.state(1) is State.EXPECTING
    admitting = replace(ABSENT, standing={"b": Standing(service=ServiceId("b"))})
    assert brain.take(Seen(admitting), 2.0) == [Pass(1, ServiceId("b"))]


def test_a_service_that_was_expected_and_gave_up_is_told():
    expected = replace(ABSENT, standing={"b": Standing(expected=True)})
    down = replace(ABSENT, standing={"b": Standing(down="it crashed three times")})
    _, said = asked((Asked(1, WISH), 0.0), (Seen(expected), 1.0), (Seen(down), 2.0))
    assert verdict(said) is Why.DOWN


def test_what_idleness_stopped_is_started_whatever_the_policy_for_modes():
    wish = Wish("b", options=(Option(A, OnDemand.NEVER),))
    revive = replace(ABSENT, standing={"b": Standing(revive=ServiceId("b"))})
    _, said = asked((Asked(1, wish), 0.0), (Seen(revive), 1.0))
    assert said == [Begin(1, Goal(service=ServiceId("b")), "")]


def test_residency_does_not_hold_up_what_takes_nothing_away():
    rules = replace(RULES, residency=60.0)
    free = replace(ABSENT, stops={B: frozenset()})
    settled = (Ended(S1, mode=A), 0.5)
    brain, _ = asked((Seen(free), 0.0), settled, (Asked(1, WISH), 1.0), brain=Brain(rules))
    assert brain.take(Seen(free), 1.0) == [Begin(1, Goal(B), "ada")]
    brain, _ = asked((Seen(ABSENT), 0.0), settled, (Asked(1, WISH), 1.0), brain=Brain(rules))
    assert brain.take(Seen(ABSENT), 1.0) == []
    assert brain.wake == 60.5
    assert brain.take(Tick(), 60.5) == [Begin(1, Goal(B), "ada")]


def test_a_switch_that_fails_is_told_to_those_who_rode_it():
    _, said = asked(
        (Asked(1, WISH), 0.0),
        (Seen(ABSENT), 0.0),
        (Began(1, S1), 0.0),
        (Ended(S1, "it exploded", B), 5.0),
        (Seen(ABSENT), 5.0),
    )
    assert verdict(said) is Why.SWITCH_FAILED


def test_a_failed_switch_says_nothing_to_those_that_its_end_serves():
    admitting = replace(ABSENT, standing={"b": Standing(service=ServiceId("b"))})
    _, said = asked(
        (Asked(1, WISH), 0.0),
        (Seen(ABSENT), 0.0),
        (Began(1, S1), 0.0),
        (Ended(S1, "it exploded", B), 5.0),
        (Seen(admitting), 5.0),
    )
    assert said == [Pass(1, ServiceId("b"))]


def test_a_switch_that_brings_nothing_is_not_asked_for_again_and_again():
    brain, said = asked(
        (Asked(1, WISH), 0.0),
        (Seen(ABSENT), 0.0),
        (Began(1, S1), 0.0),
        (Ended(S1, "", B), 0.0),
        (Seen(ABSENT), 0.0),
    )
    assert verdict(said) is Why.REFUSED
    assert brain.waiting == 0


def test_the_end_of_an_earlier_switch_says_nothing_to_those_who_ride_a_newer_one():
    brain, said = asked(
        (Asked(1, WISH), 0.0),
        (Seen(ABSENT), 0.0),
        (Began(1, S2), 0.0),
        (Ended(S1, "it exploded", B), 5.0),
        (Seen(ABSENT), 5.0),
    )
    assert said == []
    assert brain.state(1) is State.RIDING


def test_the_late_result_of_an_attempt_that_was_given_up_says_nothing_about_a_newer_one():
    brain, said = asked((Asked(1, WISH), 0.0), (Seen(ABSENT), 0.0), (Tick(), 100.0))
    assert verdict(said) is Why.LATE
    (begin,) = asked((Asked(2, WISH), 101.0), (Seen(ABSENT), 101.0), brain=brain)[1]
    assert begin == Begin(2, Goal(B), "ada")
    assert brain.take(Declined(1, ("no room",)), 102.0) == []
    assert brain.take(Broke(1, "no store"), 102.0) == []
    assert brain.state(2) is State.WANTING


def test_the_next_mode_is_tried_where_one_is_refused():
    wish = replace(WISH, options=(*WISH.options, Option(ModeId("c"), OnDemand.AUTO)))
    sight = replace(ABSENT, stops={B: frozenset(), ModeId("c"): frozenset({ServiceId("a")})})
    brain, said = asked((Asked(1, wish), 0.0), (Seen(sight), 0.0), (Declined(1, ("no room",)), 1.0))
    assert said == [Begin(2, Goal(ModeId("c")), "ada")]
    (fail,) = brain.take(Declined(2, ("leased",), passing=True), 2.0)
    assert isinstance(fail, Fail)
    assert fail.verdict.why is Why.REFUSED


def test_a_switch_that_has_to_wait_for_another_is_asked_for_again():
    brain, _ = asked((Asked(1, WISH), 0.0), (Seen(ABSENT), 0.0), (Busy(1), 0.0))
    assert brain.wake == 1.0
    assert brain.take(Tick(), 1.0) == [Begin(2, Goal(B), "ada")]


def test_what_could_not_be_asked_for_is_not_asked_for_again_at_once():
    brain, said = asked((Asked(1, WISH), 0.0), (Seen(ABSENT), 0.0), (Broke(1, "no store"), 0.0))
    assert verdict(said) is Why.SWITCH_FAILED
    assert verdict(asked((Asked(2, WISH), 9.0), (Seen(ABSENT), 9.0), brain=brain)[1]) is Why.SWITCH_FAILED
    later = asked((Asked(3, WISH), 11.0), (Seen(ABSENT), 11.0), brain=brain)[1]
    assert later == [Begin(2, Goal(B), "ada")]


def test_a_mode_has_its_residency_whoever_switched_to_it():
    brain = Brain(replace(RULES, residency=60.0))
    other = replace(ABSENT, mode=ModeId("c"))
    _, said = asked((Seen(ABSENT), 0.0), (Seen(other), 10.0), (Asked(1, WISH), 11.0), brain=brain)
    assert said == []
    assert brain.take(Seen(other), 11.0) == []
    assert brain.wake == 70.0


def test_what_is_allowed_comes_before_what_stops_less():
    wish = replace(WISH, options=(Option(ModeId("c"), OnDemand.ASK), *WISH.options))
    sight = replace(ABSENT, stops={B: frozenset({ServiceId("a")}), ModeId("c"): frozenset()})
    _, said = asked((Asked(1, wish), 0.0), (Seen(sight), 0.0))
    assert said == [Begin(1, Goal(B), "ada")]
    asking = replace(WISH, options=tuple(replace(one, policy=OnDemand.ASK) for one in wish.options))
    asking = replace(asking, options=(*asking.options, Option(ModeId("aa"), OnDemand.NEVER)))
    _, said = asked((Asked(1, asking), 0.0), (Seen(sight), 0.0))
    assert said == [Explain(Goal(ModeId("c")))]


def test_nothing_is_begun_while_a_switch_runs():
    running = replace(ABSENT, switch=Running(S1))
    brain, said = asked((Asked(1, WISH), 0.0), (Seen(running), 0.0))
    assert said == []
    assert brain.take(Seen(ABSENT), 9.0) == [Begin(1, Goal(B), "ada")]


def test_one_explanation_answers_all_who_are_to_decide():
    wish = replace(WISH, options=(Option(B, OnDemand.ASK),))
    brain, said = asked((Asked(1, wish), 0.0), (Asked(2, wish), 0.0), (Seen(ABSENT), 0.0))
    assert said == [Explain(Goal(B))]
    told = brain.take(Explained(Goal(B), {"stops": ["a"]}), 1.0)
    assert [one.ticket for one in told if isinstance(one, Fail)] == [1, 2]


def test_nobody_waits_for_a_daemon_that_ends():
    brain, said = asked((Asked(1, WISH), 0.0), (Asked(2, WISH), 0.0), (Closed(), 1.0))
    assert len(said) == 2
    assert verdict(brain.take(Asked(3, WISH), 2.0)) is Why.CLOSING


@pytest.mark.parametrize("state", [state for state in State if not TABLE[state]])
def test_nothing_follows_an_end(state):
    assert state in {State.PASSED, State.FAILED, State.GONE}


# --- anything in any order -------------------------------------------------------------------------

MODELS = ("a", "b", "c")
IDS = st.sampled_from([SwitchId(f"S{number}") for number in range(4)])
STANDINGS = st.builds(
    Standing,
    service=st.none() | st.just(ServiceId("x")),
    expected=st.booleans(),
    present=st.booleans(),
    revive=st.none() | st.just(ServiceId("y")),
    down=st.sampled_from(["", "crashed"]),
)
SIGHTS = st.builds(
    Sight,
    mode=st.sampled_from([A, B]),
    switch=st.none() | st.builds(Running, id=IDS, brings=st.frozensets(st.sampled_from(MODELS))),
    standing=st.fixed_dictionaries(dict.fromkeys(MODELS, STANDINGS)),
    stops=st.dictionaries(st.sampled_from([A, B]), st.frozensets(st.just(ServiceId("x")))),
    busy=st.dictionaries(st.just(ServiceId("x")), st.integers(-1, 1)),
)
OPTIONS = st.lists(
    st.builds(Option, mode=st.sampled_from([A, B]), policy=st.sampled_from(OnDemand)), max_size=2
).map(tuple)
WISHES = st.builds(
    Wish,
    model=st.sampled_from(MODELS),
    key=st.sampled_from(["ada", "bob"]),
    priority=st.integers(-1, 1),
    options=OPTIONS,
)
ATTEMPTS = st.integers(1, 6)


class AnythingInAnyOrder(RuleBasedStateMachine):
    """Events that make no sense are no reason to forget or to answer anybody twice."""

    tickets = Bundle("tickets")

    def __init__(self) -> None:
        super().__init__()
        self.brain = Brain(replace(RULES, queue=6, queue_per_key=4))
        self.now = 0.0
        self.number = 0
        self.waiting: dict[TicketId, float] = {}

    def tell(self, event: Event) -> None:
        for instruction in self.brain.take(event, self.now):
            if isinstance(instruction, Pass | Fail):
                del self.waiting[instruction.ticket]

    @rule(target=tickets, wish=WISHES)
    def ask(self, wish: Wish) -> TicketId:
        self.number += 1
        self.waiting[self.number] = self.now
        self.tell(Asked(self.number, wish))
        return self.number

    @rule(ticket=tickets)
    def go(self, ticket: TicketId) -> None:
        self.waiting.pop(ticket, None)
        self.tell(Gone(ticket))

    @rule(sight=SIGHTS)
    def see(self, sight: Sight) -> None:
        self.tell(Seen(sight))

    @rule(
        event=st.builds(Began, attempt=ATTEMPTS, switch=IDS)
        | st.builds(Declined, attempt=ATTEMPTS, reasons=st.just(("no",)), passing=st.booleans())
        | st.builds(Busy, attempt=ATTEMPTS)
        | st.builds(Broke, attempt=ATTEMPTS, reason=st.just("no"))
    )
    def result(self, event: Began | Declined | Busy | Broke) -> None:
        self.tell(event)

    @rule(switch=IDS, reason=st.sampled_from(["", "no"]), mode=st.sampled_from([None, A, B]))
    def end(self, switch: SwitchId, reason: str, mode: ModeId | None) -> None:
        self.tell(Ended(switch, reason, mode))

    @rule(mode=st.sampled_from([A, B]))
    def explained(self, mode: ModeId) -> None:
        self.tell(Explained(Goal(mode), {}))

    @rule(seconds=st.floats(0.0, 120.0))
    def later(self, seconds: float) -> None:
        self.now += seconds
        self.tell(Tick())

    @invariant()
    def all_who_wait_are_known(self) -> None:
        assert self.brain.waiting == len(self.waiting)
        assert all(self.brain.state(ticket) for ticket in self.waiting)
        assert all(self.now < since + RULES.wait for since in self.waiting.values())

    @invariant()
    def what_is_due_was_done(self) -> None:
        assert self.brain.wake is None or self.brain.wake > self.now
        assert self.brain.wake is not None or not self.waiting


TestAnythingInAnyOrder = AnythingInAnyOrder.TestCase
