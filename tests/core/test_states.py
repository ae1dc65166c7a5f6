"""The one table of transitions between a service's states."""

import pytest

from gpumod.core.errors import IllegalTransitionError
from gpumod.core.states import TRANSITIONS, ServiceState, mermaid, transition


def reachable(start):
    found, todo = {start}, [start]
    while todo:
        here = todo.pop()
        for row in TRANSITIONS:
            if row.source is here and row.target not in found:
                found.add(row.target)
                todo.append(row.target)
    return found


def test_rows_are_numbered_from_one_without_gaps_and_have_a_phrase():
    assert [row.index for row in TRANSITIONS] == list(range(1, len(TRANSITIONS) + 1))
    assert all(row.phrase for row in TRANSITIONS)


def test_no_change_of_state_has_two_rows():
    pairs = [(row.source, row.target) for row in TRANSITIONS]
    assert len(set(pairs)) == len(pairs)
    assert all(source is not target for source, target in pairs)


def test_every_state_can_be_reached_and_left_again():
    assert reachable(ServiceState.STOPPED) == set(ServiceState)
    for state in ServiceState:
        assert ServiceState.STOPPED in reachable(state)


def test_whatever_holds_memory_can_be_stopped():
    stoppable = {row.source for row in TRANSITIONS if row.target is ServiceState.STOPPING}
    holding = {state for state in ServiceState if state.may_hold_memory}
    assert holding - {ServiceState.STOPPING} <= stoppable


def test_readiness_is_only_reached_by_loading_or_by_taking_a_drain_back():
    sources = {row.source for row in TRANSITIONS if row.target is ServiceState.READY}
    assert sources == {ServiceState.LOADING, ServiceState.DRAINING}


def test_a_signalled_service_never_serves_again():
    """Out of stopping there is only stopped and failed."""
    targets = {row.target for row in TRANSITIONS if row.source is ServiceState.STOPPING}
    assert targets == {ServiceState.STOPPED, ServiceState.FAILED}


def test_an_allowed_change_gives_its_row():
    row = transition(ServiceState.LOADING, ServiceState.READY)
    assert (row.index, row.source, row.target) == (4, ServiceState.LOADING, ServiceState.READY)


def test_a_change_that_the_table_does_not_have_is_a_defect_that_names_both_states():
    with pytest.raises(IllegalTransitionError, match="cannot go from stopped to ready") as caught:
        transition(ServiceState.STOPPED, ServiceState.READY)
    assert caught.value.facts == {"source": "stopped", "target": "ready"}


def test_which_states_may_hold_memory_and_which_are_starting():
    assert {one for one in ServiceState if not one.may_hold_memory} == {
        ServiceState.STOPPED,
        ServiceState.FAILED,
    }
    assert {one for one in ServiceState if one.is_starting} == {ServiceState.STARTING, ServiceState.LOADING}


def test_the_diagram_has_every_row():
    diagram = mermaid()
    assert diagram.startswith("stateDiagram-v2\n")
    for row in TRANSITIONS:
        assert f"{row.source} --> {row.target}: {row.index}. {row.phrase}\n" in diagram
