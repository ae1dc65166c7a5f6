"""Nobody starves, nobody is forgotten, and the box does not thrash, whoever asks for what and when."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from gpumod.core.names import ServiceId
from gpumod.core.spec import OnDemand
from gpumod.gateway.demand.values import Verdict
from tests.gateway.demand.simulation import Arrival, Simulation, modes, rules

MODES = 4
RESIDENCY = 60.0
AGEING = 100.0
SWITCH = 20.0
HOUR = 3600.0

crowd = st.lists(
    st.builds(
        Arrival,
        at=st.floats(0, 600),
        model=st.sampled_from("abcd"),
        key=st.sampled_from(["ada", "bob", "carl"]),
        priority=st.integers(-2, 2),
        runs=st.floats(0, 200),
    ),
    max_size=25,
)


def worst_wait(count: int) -> float:
    """For the one who waits: to age, for a switch under way, and for the turn of each mode."""
    return AGEING + SWITCH + count * (RESIDENCY + SWITCH)


@given(crowd, st.floats(1, SWITCH))
def test_the_wait_of_each_is_bounded_whoever_comes(arrivals: list[Arrival], takes: float):
    box = Simulation(rules(residency=RESIDENCY, ageing=AGEING), modes(MODES), "a", duration=lambda _: takes)
    for arrival in arrivals:
        box.arrive(arrival)
    box.run(10 * HOUR)
    assert all(arrival.outcome == arrival.model for arrival in arrivals)
    assert max((arrival.waited for arrival in arrivals), default=0.0) <= worst_wait(MODES) + 1e-6


overlapping = st.fixed_dictionaries(
    {name: st.frozensets(st.sampled_from("abcd"), min_size=1) for name in "wxyz"}
)


@given(crowd, overlapping, st.floats(1, SWITCH))
def test_the_wait_of_each_is_bounded_where_modes_share_services(arrivals, shared, takes):
    box = Simulation(rules(residency=RESIDENCY, ageing=AGEING), shared, "w", duration=lambda _: takes)
    for arrival in arrivals:
        box.arrive(arrival)
    box.run(10 * HOUR)
    served = frozenset().union(*shared.values())
    for arrival in arrivals:
        assert (arrival.outcome == arrival.model) == (arrival.model in served)
        assert arrival.waited <= worst_wait(len(shared)) + 1e-6


def test_the_least_of_all_is_served_in_spite_of_a_flood_of_others():
    box = Simulation(rules(residency=RESIDENCY, ageing=AGEING), modes(MODES), "a", duration=lambda _: SWITCH)
    for second in range(4000):
        box.arrive(Arrival(second, "abc"[second % 3], key="flood", priority=100, runs=50.0))
    least = Arrival(7.0, "d", priority=-100)
    box.arrive(least)
    box.run(HOUR)
    assert least.outcome == "d"
    assert least.waited <= worst_wait(MODES) + 1e-6


def test_agents_that_alternate_cannot_make_the_box_thrash():
    box = Simulation(rules(residency=RESIDENCY, ageing=AGEING), modes(2), "a", duration=lambda _: 1.0)

    def again(simulation: Simulation, former: Arrival) -> None:
        model = "b" if former.model == "a" else "a"
        simulation.arrive(Arrival(simulation.now, model, former.key, runs=0.1, then=again))

    box.arrive(Arrival(0.0, "a", "ada", runs=0.1, then=again))
    box.arrive(Arrival(0.0, "b", "bob", runs=0.1, then=again))
    box.run(HOUR)
    assert 30 <= len(box.begun) <= HOUR / RESIDENCY + 1


@given(crowd, st.integers(0, 2**25 - 1), st.floats(0.5, SWITCH))
def test_modes_stay_for_their_residency_whatever_happens(arrivals: list[Arrival], failing: int, takes: float):
    box = Simulation(
        rules(residency=RESIDENCY, ageing=AGEING),
        modes(MODES),
        "a",
        duration=lambda _: takes,
        fails=lambda number: bool(failing >> (number % 25) & 1),
    )
    for arrival in arrivals:
        box.arrive(arrival)
    box.run(10 * HOUR)
    starts = [at for at, _ in box.begun]
    assert all(later - at >= takes + RESIDENCY - 1e-6 for at, later in itertools.pairwise(starts))


@given(crowd, st.integers(0, 2**25 - 1), st.lists(st.none() | st.floats(0, 300), min_size=25, max_size=25))
def test_each_request_is_settled_once_by_its_deadline_at_the_latest(arrivals, failing, patience):
    wait = 150.0
    box = Simulation(
        rules(residency=RESIDENCY, ageing=AGEING, wait=wait),
        modes(MODES),
        "a",
        duration=lambda number: 400.0 if number % 3 == 0 else 5.0,
        fails=lambda number: bool(failing >> (number % 25) & 1),
    )
    for arrival, gives_up in zip(arrivals, patience, strict=False):
        arrival.gives_up = gives_up
        box.arrive(arrival)
    box.run(10 * HOUR)
    assert box.brain.waiting == 0
    for arrival in arrivals:
        assert arrival.waited <= wait + 1e-6
        assert arrival.settled <= 1
        assert arrival.outcome is not None or arrival.gives_up is not None


@given(crowd)
def test_who_may_not_switch_never_does(arrivals: list[Arrival]):
    box = Simulation(rules(residency=RESIDENCY, ageing=AGEING), modes(MODES), "a")
    for index, arrival in enumerate(arrivals):
        arrival.policy = OnDemand.NEVER if index % 2 else OnDemand.ASK
        box.arrive(arrival)
    box.run(HOUR)
    assert box.begun == []
    assert all(isinstance(one.outcome, Verdict) == (one.model != "a") for one in arrivals)
    assert all(one.waited == 0.0 for one in arrivals)


def test_the_present_mode_goes_first_while_it_is_busy():
    box = Simulation(rules(residency=0.0, ageing=AGEING), modes(2), "a")
    box.arrive(Arrival(0.0, "a", runs=50.0))
    other = Arrival(1.0, "b")
    box.arrive(other)
    more = Arrival(40.0, "a", runs=5.0)
    box.arrive(more)
    box.run(HOUR)
    assert more.waited == 0.0
    assert box.begun == [(50.0, "b")]
    assert other.waited == 59.0


def test_a_key_of_higher_priority_does_not_wait_for_those_below():
    box = Simulation(rules(residency=30.0, ageing=AGEING), modes(2), "a")
    box.arrive(Arrival(0.0, "b"))
    box.arrive(Arrival(11.0, "b", runs=500.0))
    urgent = Arrival(12.0, "a", priority=1)
    box.arrive(urgent)
    box.run(HOUR)
    assert box.begun == [(0.0, "b"), (40.0, "a")]
    assert urgent.outcome == ServiceId("a")


def test_those_who_wait_for_the_same_model_get_in_together_and_in_fair_order():
    box = Simulation(rules(residency=0.0, ageing=AGEING), modes(2), "a")
    order: list[str] = []
    enter = box._enter
    box._enter = lambda arrival: (order.append(arrival.key), enter(arrival))  # type: ignore[method-assign, assignment, func-returns-value]
    for index in range(4):
        box.arrive(Arrival(index / 10, "b", "flood"))
    box.arrive(Arrival(0.5, "b", "ada"))
    box.arrive(Arrival(0.6, "b", "boss", priority=1))
    box.run(HOUR)
    assert order == ["boss", "flood", "ada", "flood", "flood", "flood"]
    assert len(box.begun) == 1
