import os

import pytest

from gpumod.core.errors import ConfigError
from gpumod.runners import choose
from gpumod.runners.bus import ManagerBus, ManagerError
from gpumod.runners.choose import choose_runner, unit_of_this_daemon


def answers(monkeypatch, why_not: str, unit: str = ""):
    async def available(_manager):
        return why_not

    monkeypatch.setattr(choose, "systemd_available", available)
    monkeypatch.setattr(choose, "unit_of_this_daemon", lambda: unit)


async def chosen(setting, tmp_path):
    runners, default = await choose_runner(setting, state_dir=tmp_path, instance="i")
    for runner in runners.values():
        await runner.close()
    return sorted(runners), default


async def test_auto_prefers_systemd(monkeypatch, tmp_path):
    answers(monkeypatch, "")
    assert await chosen("auto", tmp_path) == (["process", "systemd"], "systemd")


async def test_auto_without_systemd_is_process(monkeypatch, tmp_path):
    answers(monkeypatch, "it is not there")
    assert await chosen("auto", tmp_path) == (["process"], "process")


async def test_attempts_of_a_daemon_with_another_setting_can_still_be_reached(monkeypatch, tmp_path):
    answers(monkeypatch, "")
    assert await chosen("process", tmp_path) == (["process", "systemd"], "process")


async def test_systemd_where_there_is_none_is_refused_with_the_reason(monkeypatch, tmp_path):
    answers(monkeypatch, "it is not there")
    with pytest.raises(ConfigError, match="`runner: systemd` cannot be used: it is not there"):
        await chosen("systemd", tmp_path)


async def test_the_process_runner_is_refused_where_its_services_would_die_with_the_daemon(
    monkeypatch, tmp_path
):
    answers(monkeypatch, "", unit="gpumodd.service")
    with pytest.raises(ConfigError, match=r"cannot be used inside gpumodd\.service.*Set `runner: systemd`$"):
        await chosen("process", tmp_path)
    answers(monkeypatch, "it is not there", unit="gpumodd.service")
    with pytest.raises(ConfigError, match="systemd itself cannot be used: it is not there"):
        await chosen("auto", tmp_path)


@pytest.mark.parametrize(("uid", "manager"), [(0, "user"), (1000, "system")])
async def test_a_manager_that_would_run_engines_as_root_is_refused(monkeypatch, tmp_path, uid, manager):
    answers(monkeypatch, "")
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    with pytest.raises(ConfigError, match=f"`systemd_manager: {manager}` needs a daemon that runs as"):
        await choose_runner("auto", state_dir=tmp_path, instance="i", manager=manager)


@pytest.mark.parametrize(
    ("environment", "unit"),
    [
        ({}, ""),
        ({"INVOCATION_ID": "1", "SYSTEMD_EXEC_PID": "1"}, ""),
        ({"INVOCATION_ID": "1", "SYSTEMD_EXEC_PID": str(os.getpid())}, "gpumodd.service"),
        ({"INVOCATION_ID": "1"}, "gpumodd.service"),
    ],
)
def test_only_the_main_process_of_a_unit_is_in_it_for_good(monkeypatch, environment, unit):
    monkeypatch.setattr(choose, "own_unit", lambda _text: "gpumodd.service")
    assert unit_of_this_daemon(environment) == unit


async def test_a_bus_that_is_not_there_is_named(tmp_path):
    bus = ManagerBus(f"unix:path={tmp_path}/bus")
    with pytest.raises(ManagerError, match=f"the bus unix:path={tmp_path}/bus does not answer"):
        await bus.manager_property("Version")
    await bus.close()
