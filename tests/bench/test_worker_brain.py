"""What a job does next, from its record and the box alone."""

import pytest

from gpumod.bench.worker.brain import (
    AwaitSwitch,
    End,
    GoTo,
    LetGo,
    Measure,
    PutBack,
    Remember,
    Situation,
    intruder_of,
    next_act,
)
from gpumod.bench.worker.targets import aim_of
from gpumod.core.errors import InvalidRequestError, NotFoundError
from gpumod.core.job import JobId, JobPhase, JobRecord, JobRequest, JobState
from gpumod.core.names import BLANK, ModeId, ServiceId, SwitchId
from gpumod.core.service import Desired
from gpumod.core.spec import BLANK_MODE, Catalog, Task
from gpumod.core.switch import RECOVERY, SwitchRecord, SwitchRequest, SwitchState
from gpumod.testing.box import mode, service

CHAT = mode("chat", service("embed", task=Task.EMBEDDING), service("gemma"), service("fast"))
QWEN = service("qwen")
CATALOG = Catalog(
    presets=(*CHAT.services, QWEN),
    modes=(BLANK_MODE, CHAT, mode("vectors", CHAT.services[0])),
    disabled=(("odd", "its file is wrong"),),
)
AIM = aim_of(CATALOG, "qwen")
FORMER = Desired("chat", since=100.0)


def now(desired=FORMER, *, former=FORMER, restore=True, phase=None, cancel=False, reason="", **fields):
    record = JobRecord(
        JobId("j1"),
        JobRequest("speed", ("qwen",)),
        JobState.RUNNING,
        0.0,
        former=former,
        restore=restore and former is not None,
        phase=phase,
        cancel_asked=cancel,
        reason=reason,
    )
    return Situation(record, {"qwen": AIM}, fields.pop("measured", frozenset()), desired, **fields)


THERE = {"desired": AIM.desired, "ready": frozenset({"qwen"})}
ALL = frozenset({"qwen"})


@pytest.mark.parametrize(
    ("situation", "act"),
    [
        (now(switch="s1"), AwaitSwitch(SwitchId("s1"))),
        (now(former=None), Remember(FORMER)),
        (now(former=None, cancel=True, reason="by ann"), End(JobState.CANCELLED, "by ann")),
        (now(former=None, failure="no suite"), End(JobState.FAILED, "no suite")),
        (now(), GoTo(AIM)),
        (now(**THERE), Measure(AIM)),
        (now(AIM.desired), GoTo(AIM)),
        (now(measured=ALL, **THERE), PutBack(FORMER)),
        (now(measured=ALL), End(JobState.DONE)),
        (now(cancel=True, **THERE), PutBack(FORMER)),
        (now(cancel=True, reason="by ann"), End(JobState.CANCELLED, "by ann")),
        (now(failure="no room", **THERE), PutBack(FORMER)),
        (now(failure="no room"), End(JobState.FAILED, "no room")),
        (now(phase=JobPhase.RESTORING, reason="no room", **THERE), PutBack(FORMER)),
        (now(phase=JobPhase.RESTORING, reason="no room"), End(JobState.FAILED, "no room")),
        (now(intruder="forced past", **THERE), LetGo()),
        (now(intruder="forced past", measured=ALL, **THERE), LetGo()),
        (now(restore=False, intruder="forced past"), End(JobState.CANCELLED, "forced past")),
        (now(restore=False, intruder="forced past", measured=ALL), End(JobState.DONE)),
        (
            now(measured=ALL, stuck="it is gone", **THERE),
            End(JobState.FAILED, "the box could not be put back to chat: it is gone"),
        ),
    ],
)
def test_the_next_act(situation, act):
    assert next_act(situation) == act


def switch(by, *, started=150.0, state=SwitchState.COMMITTED, **request):
    wish = SwitchRequest(by=by, **(request or {"mode": ModeId("code")}))
    return SwitchRecord(SwitchId("s"), wish, ModeId("chat"), ModeId("code"), state, started)


@pytest.mark.parametrize(
    ("record", "intrudes"),
    [
        (switch("ann"), True),
        (switch("ann", force=True, start=ServiceId("other")), True),
        (switch("ann", start=ServiceId("other")), False),
        (switch("ann", stop=ServiceId("qwen")), True),
        (switch("job j1"), False),
        (switch("job j2"), True),
        (switch(RECOVERY), False),
        (switch("on demand"), False),
        (switch("on demand: ann"), False),
        (switch("idle"), False),
        (switch("ann", started=100.0), False),
        (switch("ann", state=SwitchState.ROLLED_BACK), False),
        (switch("ann", state=SwitchState.FAILED), True),
    ],
)
def test_who_has_taken_the_box(record, intrudes):
    own = switch("job j1", started=140.0)
    found = intruder_of((record, own), FORMER, "job j1", frozenset({"qwen"}))
    assert (found is record) == intrudes


def test_a_preset_is_alone_and_a_mode_is_asked_by_its_route():
    assert AIM.desired.same(Desired(BLANK, added=(QWEN,)))
    assert aim_of(CATALOG, "chat").service == "gemma", "the first that generates text"
    routed = mode("chat", *CHAT.services, routes=(("default", ServiceId("fast")),))
    assert aim_of(Catalog(modes=(routed,)), "chat").service == "fast"


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("nothing", NotFoundError),
        ("odd", InvalidRequestError),
        ("blank", InvalidRequestError),
        ("vectors", InvalidRequestError),
        ("embed", InvalidRequestError),
    ],
)
def test_a_target_that_cannot_be_asked(target, error):
    with pytest.raises(error):
        aim_of(CATALOG, target)
