"""Engines that misbehave on cards as real ones do: vLLM's crashes, orphans and deafness among them."""

import pytest

from gpumod.core.plan import StepKind
from gpumod.core.switch import BoxState, Phase, SwitchState
from tests.nvml.standin import GIB

pytestmark = pytest.mark.shared_processes


@pytest.fixture(scope="module")
def module_box(make_cards_box):
    """One card; none of these services fits on it twice."""
    box = make_cards_box(cards=1)
    (box.root / "gate").touch()
    box.vllm("agent", 20)
    box.vllm("slow", 20, gate=str(box.root / "gate"), stop_grace="10m")
    stays = {"stop_grace": "500ms"}  # it takes all of that: its child stays
    box.vllm("orphaning", 20, children_outlive=True, children_ignore_sigterm=True, **stays)
    box.engine("clinging", 20, children=1, memory_in="child", child_holds_port=True, **stays)
    box.engine("modest", 2)
    box.engine("greedy", 4, takes=25)
    for name in ("agent", "slow", "orphaning", "clinging", "modest", "greedy"):
        box.mode(name, name)
    box.start()
    return box


@pytest.fixture
def box(module_box):
    yield module_box
    module_box.calm_down()


def restarted(box, name, generation):
    """Wait until a service is ready again in a new attempt, and the box settled."""
    box.wait_until(
        f"{name} is ready again",
        lambda: (
            box.generation(name) > generation
            and box.state(name) == "ready"
            and box.status().state is BoxState.SETTLED
        ),
    )


def told(box, name):
    with box.client() as client:
        return [event.message for event in client.events() if event.subject == name]


def test_a_crash_of_vllm_s_engine_core_is_a_failure_although_the_server_exits_with_0(box):
    box.go("agent")
    generation = box.generation("agent")
    (core,) = box.holders("agent")
    box.end_service(core)
    restarted(box, "agent", generation)
    assert any("is failed: exited with code 0, unasked" in one for one in told(box, "agent"))
    assert box.ctl("service", "show", "agent").code == 0


def test_an_engine_core_that_outlives_its_server_is_killed_before_the_restart(box):
    box.go("orphaning")
    generation = box.generation("orphaning")
    (core,) = box.holders("orphaning")
    (server,) = set(box.engines()["orphaning"]) - {core}
    box.end_service(server)
    restarted(box, "orphaning", generation)
    assert core not in box.engines()["orphaning"]
    assert any("was killed by signal 9, unasked" in one for one in told(box, "orphaning"))
    assert not any("out of memory" in one for one in told(box, "orphaning"))


def test_a_vllm_that_ignores_sigterm_while_it_loads_is_killed(box):
    (box.root / "gate").unlink()
    try:
        box.begin("slow")
        box.wait_until("it holds memory and loads", lambda: len(box.holders("slow")) == 1)
        box.wait_for("slow", "loading")
        done = box.ctl("switch", "blank", "--force")
    finally:
        (box.root / "gate").touch()
    assert done.code == 0, done.err
    assert (box.engines(), box.status().mode) == ({}, "blank"), "its grace of ten minutes was not waited for"


def test_a_drained_vllm_is_asked_to_stop(box):
    box.go("agent")
    record = box.go("blank")
    (stop,) = [one for one in record.steps if one.kind is StepKind.STOP]
    assert stop.detail.endswith("(signal 15)")


def test_a_child_that_holds_the_port_after_its_leader_is_killed_and_the_port_is_used_again(box):
    box.go("clinging")
    generation = box.generation("clinging")
    (service,) = box.status().services
    (child,) = box.holders("clinging")
    (leader,) = set(box.engines()["clinging"]) - {child}
    box.end_service(leader)
    restarted(box, "clinging", generation)
    (again,) = box.status().services
    assert service.launch is not None
    assert again.launch is not None
    assert again.launch.port == service.launch.port
    assert child not in box.engines()["clinging"]


def test_a_start_that_runs_out_of_memory_is_taken_back_with_the_card_s_name(box):
    box.go("modest")
    told = box.ctl("switch", "greedy")
    assert told.code == 1
    assert f"out of memory on {box.gpus.uuids[0]}" in told.err + told.out
    with box.client() as client:
        record = client.switch_record(client.switches()[0].id)
    assert record.state is SwitchState.ROLLED_BACK
    assert {one.phase for one in record.steps} == {Phase.DO, Phase.UNDO}
    assert box.state("modest") == "ready"
    box.look()
    (card,) = box.cards()
    assert [(one.service, one.used) for one in card.processes] == [("modest", 2 * GIB)]
