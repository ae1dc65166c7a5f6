"""What only systemd does. Run by `tests/integration/test_systemd_runner.py` inside a box, as root."""

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from gpumod.core.ports import Liveness
from gpumod.runners.cgroup import mounted
from gpumod.runners.choose import choose_runner, systemd_available
from gpumod.runners.systemd import SystemdRunner
from tests.runners.rigs import Exits, key, until
from tests.runners.systemd_rig import SystemRig


@pytest.fixture
async def rig(tmp_path):
    made = SystemRig(tmp_path)
    yield made
    await made.close()


async def started(rig, behaviour="plain"):
    found = await rig.runner.start(rig.request(key(), behaviour))
    await rig.ready(key())
    return found


async def run(*argv: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return output.decode()


async def test_the_unit_can_be_found_by_an_administrator(rig):
    await started(rig)
    listed = await run("systemctl", "list-units", "--plain", "--no-legend", "gpumod-*")
    assert "gpumod: chat, generation 1" in listed


async def test_a_unit_stopped_by_hand_is_an_end_like_others(rig):
    exits = Exits(rig.runner)
    await started(rig)
    name = (await run("systemctl", "list-units", "--plain", "--no-legend", "gpumod-*")).split()[0]
    await run("systemctl", "stop", name)
    assert (await exits.first()).key == key()
    assert rig.alive(key()) == set()


async def test_a_restart_of_the_bus_is_survived(rig):
    exits = Exits(rig.runner)
    found = await started(rig)
    pid = int(await run("systemctl", "show", "--property=MainPID", "--value", "dbus.service"))
    os.kill(pid, signal.SIGKILL)
    assert await rig.runner.processes(key()) == (found.leader,)
    os.kill(found.leader.pid, signal.SIGTERM)
    report = await exits.first()
    assert report.signal == signal.SIGTERM
    assert (await rig.runner.find(key())).exit == report


async def test_without_a_bus_everything_is_killed_all_the_same(rig):
    await started(rig, "family")
    assert await rig.runner.processes(key())
    await run("systemctl", "stop", "dbus.socket", "dbus.service")
    try:
        await rig.runner.kill(key())
        assert rig.alive(key()) == set()
        assert await rig.runner.processes(key()) == ()
    finally:
        await run("systemctl", "start", "dbus.socket", "dbus.service")

    async def answers():
        return not await systemd_available("system")

    await until(answers, "the bus is back")
    assert (await rig.runner.find(key())).liveness is Liveness.EXITED


async def test_memory_beyond_the_limit_ends_the_service(rig):
    exits = Exits(rig.runner)
    code = "held = bytearray(256 << 20); print(len(held))"
    request = rig.request(key(), "plain")
    await rig.runner.start(replace(request, argv=(sys.executable, "-c", code), memory_max=64 << 20))
    report = await exits.first()
    if mounted() == "/sys/fs/cgroup":
        assert report.phrase == "was killed because host memory ran out"
    else:  # version 1 does not say why
        assert report.signal == signal.SIGKILL


async def test_units_of_another_daemon_are_none_of_ours(rig):
    await started(rig)
    other = SystemdRunner("system", "the")
    try:
        assert await other.runs() == ()
        assert (await other.find(key())).liveness is Liveness.ABSENT
    finally:
        await other.close()


async def test_auto_is_systemd_where_it_answers(tmp_path):
    runners, default = await choose_runner("auto", state_dir=tmp_path, instance="i")
    assert (sorted(runners), default) == (["process", "systemd"], "systemd")
    for runner in runners.values():
        await runner.close()


def test_the_process_runner_is_refused_inside_a_unit(tmp_path):
    code = (
        "import asyncio, pathlib, gpumod.runners.choose as c\n"
        f"asyncio.run(c.choose_runner('process', state_dir=pathlib.Path({str(tmp_path)!r}), instance='i'))"
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    done = subprocess.run(
        [
            "systemd-run",
            "--quiet",
            "--collect",
            "--unit=the-daemon",
            "--wait",
            "--pipe",
            f"--working-directory={root}",
            sys.executable,
            "-c",
            code,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "cannot be used inside the-daemon.service" in done.stderr
    assert "Set `runner: systemd`" in done.stderr
