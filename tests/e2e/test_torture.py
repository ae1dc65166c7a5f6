"""The daemon is killed at every point of the journal, and every step is made to fail in turn.

Invariant 5: the next daemon converges, with no orphan process, no lost journal entry and no service
forgotten. Invariant 6: what is stopped has no process left. Invariant 4: a failed switch ends in a
known state.
"""

import contextlib
import subprocess
from dataclasses import replace

import pytest

from gpumod.core.plan import StepKind
from gpumod.core.switch import BoxState, Phase, SwitchState
from gpumod.testing.crashing_daemon import MOMENTS
from gpumod.testing.engine_server import Script

pytestmark = pytest.mark.shared_processes

FORWARD = [(Phase.DO, kind, moment) for kind in StepKind for moment in MOMENTS]
UNDOING = [
    (Phase.UNDO, kind, moment)
    for kind in (StepKind.STOP, StepKind.RELEASE, StepKind.START, StepKind.READY, StepKind.OPEN)
    for moment in MOMENTS
]
BLANKING = [(Phase.BLANK, kind, "acted") for kind in (StepKind.STOP, StepKind.RELEASE)]


@pytest.fixture(scope="module")
def box(make_module_box):
    """Chat and code do not fit together; all have children that cling to life."""
    box = make_module_box()
    clinging = Script(host_mib=60, children=1, children_ignore_sigterm=True, children_outlive=True)
    bad = replace(clinging, exit_code=1, exit_after=0.2, load_time=9)
    for name, script in (("chat", clinging), ("code", clinging), ("bad", bad)):
        box.preset(name, script, vram=600, stop_grace="500ms")  # they take all of it
    box.preset("small", Script(host_mib=10, children=1), vram=100)
    for name in ("chat", "code", "bad"):
        box.mode(name, name)
    box.mode("pair", "small", "bad", on_failure="blank")
    return box


@pytest.fixture(autouse=True)
def in_chat(box):
    """Each test starts in mode chat, whatever the one before left."""
    box.fault("")
    if box.daemon is None or box.daemon.poll() is not None:
        box.start()
    box.wait_until("recovery is done", box.settled)
    with box.client() as client:
        assert client.switch("chat").state is SwitchState.COMMITTED


def assert_sound(box, *, modes):
    """The box is settled in one of these modes and exactly its processes exist."""
    box.wait_until("recovery is done", box.settled)
    with box.client() as client:
        status = client.status()
        assert status.state is BoxState.SETTLED, (status.reason, status.notes, box.log())
        assert status.mode in modes, (status.notes, box.log())
        assert all(record.state.ended for record in client.switches()), (
            "a switch was left open in the journal"
        )
    expected = set() if status.mode == "blank" else {str(status.mode)}
    assert set(box.engines()) == expected
    assert all(len(pids) == 2 for pids in box.engines().values()), "a process of an old attempt is left"


def crash(box, point, mode):
    """Let the daemon die at a point of a switch, and start the next one."""
    box.fault(point)
    with box.client() as client:
        client.switch(mode, wait=False)
    assert box.wait_for_death() == -9, box.log()
    box.start()


def named(one):
    return str(getattr(one, "value", one))


def test_every_step_of_the_journal_is_a_crash_point():
    assert {kind for _, kind, _ in FORWARD} == set(StepKind)
    assert {phase for phase, _, _ in FORWARD + UNDOING + BLANKING} == set(Phase)


@pytest.mark.parametrize(("phase", "kind", "moment"), FORWARD, ids=named)
def test_a_daemon_killed_on_the_way_to_a_mode_converges(box, phase, kind, moment):
    crash(box, f"{phase}:{kind}:{moment}", "code")
    assert_sound(box, modes={"code"})


@pytest.mark.parametrize(("phase", "kind", "moment"), UNDOING, ids=named)
def test_a_daemon_killed_while_it_takes_a_switch_back_converges(box, phase, kind, moment):
    crash(box, f"{phase}:{kind}:{moment}", "bad")
    assert_sound(box, modes={"chat"})


@pytest.mark.parametrize("kind", StepKind, ids=named)
def test_a_step_that_fails_leaves_the_former_mode(box, kind):
    box.fault(f"do:{kind}:fail")
    with box.client() as client:
        record = client.switch("code")
    assert record.state is SwitchState.ROLLED_BACK, record.reason
    assert "injected" in record.reason
    assert_sound(box, modes={"chat"})


@pytest.mark.parametrize(("phase", "kind", "moment"), BLANKING, ids=named)
def test_a_daemon_killed_while_it_blanks_the_box_converges(box, phase, kind, moment):
    crash(box, f"{phase}:{kind}:{moment}", "pair")
    assert_sound(box, modes={"blank", "chat"})


def test_a_daemon_killed_again_and_again_in_its_recovery_converges_in_the_end(box):
    crash(box, "do:start:acted", "code")
    for point in ("do:stop:begun", "do:start:begun", "do:ready:begun", "do:open:done"):
        box.kill()
        box.start(fault=point, wait=False)
        with contextlib.suppress(subprocess.TimeoutExpired):
            box.daemon.wait(3)
        box.kill()
    box.start()
    assert_sound(box, modes={"code", "chat", "blank"})
