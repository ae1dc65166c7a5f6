import signal
from typing import Any

import pytest

from gpumod.core.names import ServiceId
from gpumod.core.ports import Liveness, RunRequest
from gpumod.core.service import RunKey
from gpumod.runners.cgroup import own_unit
from gpumod.runners.units import UnitState, unit_key, unit_name, unit_path, unit_pattern, unit_properties

KEY = RunKey(ServiceId("gemma4-26b.q4_k-g7"), 12)


def test_a_unit_is_named_after_its_attempt():
    assert unit_name("ab12", KEY) == "gpumod-ab12-gemma4-26b.q4_k-g7-g12.service"
    assert unit_path("a-1.service") == "/org/freedesktop/systemd1/unit/a_2d1_2eservice"
    assert unit_path("1a") == "/org/freedesktop/systemd1/unit/_31a"


@pytest.mark.parametrize("instance", ["ab12", "a-b", "a b", "ü/.", "a\\b"])
@pytest.mark.parametrize("service", ["chat", "a-b", "g1-g2", ".hidden", "with blank", "ä"])
def test_a_unit_leads_back_to_its_attempt(instance, service):
    key = RunKey(ServiceId(service), 3)
    name = unit_name(instance, key)
    assert unit_key(instance, name) == key
    assert all(character.isascii() and (character.isalnum() or character in ":-_.\\") for character in name)


def test_instances_are_not_mixed_up():
    name = unit_name("a", RunKey(ServiceId("b-c"), 1))
    assert unit_key("a-b", name) is None
    assert unit_key("a", "gpumod-a-chat.service") is None
    assert unit_pattern("a-b") == "gpumod-a?x2db-*-g*.service"


def request(**changes) -> RunRequest:
    return RunRequest(KEY, ("engine", "$HOME"), (("A", "1"),), "/log", **changes)


def properties(asked: RunRequest, *, system: bool) -> dict[str, Any]:
    return {name: value.value for name, value in unit_properties(asked, "/engine", system=system)}


def test_engines_are_stopped_after_the_daemon_when_the_machine_goes_down():
    # Units are stopped in the opposite order of their start.
    listed = unit_properties(request(), "/engine", system=True, daemon_unit="gpumodd.service")
    assert {name: value.value for name, value in listed}["Before"] == ["gpumodd.service"]
    assert "Before" not in properties(request(), system=True)


def test_only_the_system_manager_changes_users_and_lowers_scores():
    mine = properties(request(user="gpu", memory_max=1 << 30), system=False)
    theirs = properties(request(user="gpu"), system=True)
    assert "User" not in mine
    assert "OOMScoreAdjust" not in mine
    assert mine["MemoryMax"] == 1 << 30
    assert theirs["User"] == "gpu"
    assert "MemoryMax" not in theirs
    assert theirs["ExecStartEx"] == [["/engine", ["engine", "$HOME"], ["no-env-expand"]]]
    assert theirs["Restart"] == "no"


def state(**properties) -> UnitState:
    base = {
        "LoadState": "loaded",
        "ActiveState": "active",
        "Job": [0, "/"],
        "MainPID": 7,
        "Result": "success",
    }
    return UnitState(KEY, base | properties)


ENDED = {"ExecMainExitTimestamp": 5_000_000, "MainPID": 0}


@pytest.mark.parametrize(
    ("properties", "liveness"),
    [
        ({}, Liveness.RUNNING),
        ({"ActiveState": "inactive", "Job": [3, "/job"]}, Liveness.RUNNING),
        ({"ActiveState": "inactive"}, Liveness.ABSENT),
        ({"LoadState": "not-found"}, Liveness.ABSENT),
        ({"ActiveState": "failed"}, Liveness.EXITED),
        (ENDED | {"ExecMainCode": 1, "ExecMainStatus": 0}, Liveness.EXITED),
        (ENDED | {"ActiveState": "deactivating", "ExecMainCode": 1, "ExecMainStatus": 1}, Liveness.EXITED),
    ],
)
def test_what_a_unit_says_of_its_attempt(properties, liveness):
    assert state(**properties).liveness is liveness


@pytest.mark.parametrize(
    ("code", "status", "result", "phrase"),
    [
        (1, 3, "exit-code", "exited with code 3"),
        (2, signal.SIGKILL, "signal", "was killed by signal 9"),
        (3, signal.SIGSEGV, "core-dump", "was killed by signal 11"),
        (2, signal.SIGKILL, "oom-kill", "was killed because host memory ran out"),
    ],
)
def test_how_a_leader_ended(code, status, result, phrase):
    report = state(**ENDED, ExecMainCode=code, ExecMainStatus=status, Result=result).exit
    assert report is not None
    assert (report.phrase, report.at) == (phrase, 5.0)


def test_a_program_that_ends_at_once_is_told_from_one_that_was_not_executed():
    assert state(**ENDED, ExecMainCode=1, ExecMainStatus=5).executed
    assert state(**ENDED, ExecMainCode=2, ExecMainStatus=9).executed
    refused = state(**ENDED, ExecMainCode=1, ExecMainStatus=203)
    assert (refused.executed, refused.failed_step) == (False, "program")
    assert not state(ActiveState="failed").executed


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("0::/system.slice/gpumodd.service\n", "gpumodd.service"),
        ("0::/user.slice/user-1000.slice/session-2.scope\n", "session-2.scope"),
        ("4:memory:/x\n1:name=systemd:/system.slice/a.service/payload\n0::/\n", "a.service"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/gpumodd.service\n", "gpumodd.service"),
        ("0::/\n", ""),
    ],
)
def test_the_unit_of_a_process(text, unit):
    assert own_unit(text) == unit
