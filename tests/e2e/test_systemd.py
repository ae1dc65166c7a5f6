"""The daemon as a service of a real systemd, installed by `gpumodctl doctor --install-unit`.

A box of its own with systemd as PID 1; the engines are scripted servers, and one real llama.cpp.
"""

import contextlib
import re
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gpumod.core.errors import GpumodError
from gpumod.core.events import EventKind
from gpumod.core.switch import BoxState, SwitchState
from gpumod.testing.engine_server import Script
from gpumod.testing.gguf import of_size, write_gguf
from tests.e2e.installed import DAEMON, ROOT, SCRIPTS, USER, Installed
from tests.nvml import standin
from tests.systemd_box import SystemdBox, why_not

pytestmark = [
    pytest.mark.systemd,
    pytest.mark.shared_processes,
    pytest.mark.skipif(bool(why_not()), reason=f"a systemd box {why_not()}"),
]
ENGINE_USER = "gpumod-engine"
NVML = "/srv/nvml"
FAULT = "/run/gpumod-fault"
POINTS = (
    ("do:stop:acted", "code"),
    ("do:start:begun", "chat"),
    ("do:start:acted", "code"),
)
"""Where the daemon dies on its way to which mode."""
CLINGING = Script(host_mib=60, children=1, children_ignore_sigterm=True, children_outlive=True, log=["begun"])


@contextlib.contextmanager
def booted():
    # A checkout in /tmp would be hidden by the box's own /tmp.
    with SystemdBox([ROOT] if ROOT.is_relative_to("/tmp") else []) as box:
        yield box


def with_presets(installed):
    """Chat and code do not fit together, and have children that cling to life."""
    for name in ("chat", "code"):
        installed.preset(name, CLINGING, stop_grace="300ms")  # they take all of it
    installed.preset("calm", Script(host_mib=10, children=1), vram=100)
    return installed


@pytest.fixture(scope="module")
def system():
    """The system variant."""
    with booted() as box:
        installed = with_presets(Installed(box))
        installed.ctl("doctor", "--install-unit")
        yield installed


@pytest.fixture
def chat(system):
    """The system variant in mode chat."""
    with system.client() as client:
        assert client.switch("chat", force=True).state is SwitchState.COMMITTED
    yield system
    system.restore()


@pytest.fixture(scope="module")
def users():
    """The user variant, with linger."""
    with booted() as box:
        box.run(["useradd", "--create-home", USER])
        box.run(["loginctl", "enable-linger", USER])
        installed = with_presets(Installed(box, user=USER))
        installed.wait_until(
            "the user manager answers",
            lambda: "running" in installed.systemctl("is-system-running", check=False),
        )
        installed.ctl("doctor", "--install-unit")
        yield installed


def assert_settled(installed, mode):
    """The box is settled in a mode, and exactly its processes and units exist."""
    installed.wait_until("the box is settled", installed.settled)
    with installed.client() as client:
        status = client.status()
        assert (status.state, status.mode) == (BoxState.SETTLED, mode), (status.reason, status.notes)
        assert all(record.state.ended for record in client.switches())
    expected = set() if mode == "blank" else {mode}
    assert set(installed.engines()) == expected
    assert all(len(tree) == 2 for tree in installed.engines().values()), "an old attempt's process is left"
    assert {unit.rpartition("-")[0] for unit in installed.units()} == expected


# --- the daemon's own life ------------------------------------------------------------------


def test_the_unit_is_active_only_once_the_daemon_answers(chat):
    daemon = SCRIPTS / "gpumodd"
    chat.drop_in("ExecStart=", f"ExecStart=/bin/sh -c 'kill -STOP $$$$; exec {daemon}'")
    chat.systemctl("restart", "--no-block", DAEMON)
    chat.wait_until("the daemon is held at its start", lambda: stopped(chat))
    assert chat.systemctl("is-active", DAEMON, check=False) == "activating"
    chat.kill_daemon("CONT")
    chat.systemctl("start", DAEMON)  # joins the start under way, and waits for its end
    with chat.client() as client:
        assert client.status().mode == "chat"
    assert chat.show("StatusText").startswith("listening on http://127.0.0.1:")
    assert chat.socket in chat.show("StatusText")


def stopped(installed):
    pid = installed.show("MainPID")
    with contextlib.suppress(OSError):
        return pid != "0" and "\nState:\tT" in installed.box.path(f"/proc/{pid}/status").read_text()
    return False


def test_a_daemon_that_hangs_is_ended_by_the_watchdog_and_its_engines_go_on(chat):
    before = chat.units()
    chat.drop_in("WatchdogSec=5s")
    chat.systemctl("restart", DAEMON)
    restarts = int(chat.show("NRestarts"))
    chat.kill_daemon("STOP")
    chat.wait_until("systemd starts it again", lambda: int(chat.show("NRestarts")) > restarts)
    chat.wait_until("it answers", chat.answers)
    assert_settled(chat, "chat")
    assert chat.units() == before
    log = chat.journal()
    assert "Watchdog timeout" in log
    assert "most recent call first" in log, "nothing says where the daemon hung"


def upgrade(installed):
    """The same command once more, over a unit that an older version wrote."""
    unit = installed.box.path("/etc/systemd/system/gpumodd.service")
    unit.write_text(unit.read_text().replace("WatchdogSec=30", "WatchdogSec=77"))
    installed.systemctl("daemon-reload")
    installed.ctl("doctor", "--install-unit")
    assert installed.show("WatchdogUSec") == "30s"


def stop_and_start(installed):
    before = installed.engines()
    installed.systemctl("stop", DAEMON)
    assert installed.engines() == before
    installed.systemctl("start", DAEMON)


def kill(installed):
    restarts = int(installed.show("NRestarts"))
    installed.kill_daemon("KILL")
    installed.wait_until("systemd starts it again", lambda: int(installed.show("NRestarts")) > restarts)
    installed.wait_until("it answers", installed.answers)


def restart(installed):
    installed.systemctl("restart", DAEMON)


@pytest.mark.parametrize("how", [kill, stop_and_start, upgrade], ids=lambda how: how.__name__)
def test_engines_go_on_and_are_adopted_when_the_daemon_goes(chat, how):
    daemon, engines, units = chat.show("MainPID"), chat.engines(), chat.units()
    how(chat)
    assert_settled(chat, "chat")
    assert chat.show("MainPID") != daemon
    assert (chat.engines(), chat.units()) == (engines, units)
    with chat.client() as client:
        assert any("adopted" in note for note in client.status().notes)
        assert client.service("chat").generation == int(next(iter(units)).rpartition("g")[2])


def asked(path):
    """The first line of an answer, over a connection of its own."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(60)
        channel.connect(str(path))
        channel.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return channel.makefile("rb").readline()


@pytest.mark.parametrize("how", [restart, kill], ids=lambda how: how.__name__)
def test_no_client_is_refused_while_the_daemon_is_restarted(chat, how):
    done, answers = threading.Event(), []

    def ask():
        while not done.is_set():
            try:
                answers.append(asked(chat.box.path(chat.socket)))
            except ConnectionResetError:  # it was being answered by the daemon that was killed
                assert how is kill
            time.sleep(0.002)

    daemon = chat.show("MainPID")
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            how(chat)
            assert_settled(chat, "chat")
        finally:
            done.set()
        asking.result()
    assert chat.show("MainPID") != daemon
    assert set(answers) <= {b"HTTP/1.1 200 OK\r\n"} | ({b""} if how is kill else set())
    assert len(answers) > 1


def test_bad_settings_are_told_and_not_tried_again(chat):
    chat.drop_in("UnsetEnvironment=GPUMOD_ENGINE_USER")
    for line, told in (
        ("boott: last", "boott"),
        ("engine_user: root", "engines never run as root"),
        ("boot: last", "`engine_user` has to name whom engines run as"),
    ):
        chat.configure(line)
        chat.systemctl("restart", DAEMON, check=False)
        assert chat.systemctl("is-active", DAEMON, check=False) == "failed"
        assert (chat.show("ExecMainStatus"), chat.show("NRestarts")) == ("78", "0")
        assert told in chat.journal()
        assert set(chat.engines()) == {"chat"}


def test_a_second_daemon_on_the_same_state_is_refused(chat):
    pid = chat.show("MainPID")
    second = chat.box.run([str(SCRIPTS / "gpumodd")], env={"STATE_DIRECTORY": chat.state}, check=False)
    assert second.returncode == 1
    assert f"another gpumodd, pid {pid}, uses the state directory {chat.state}" in second.stdout
    assert_settled(chat, "chat")


def test_reloading_reads_files_again_and_touches_nothing(chat):
    pid, before = chat.show("MainPID"), chat.units()
    chat.preset("late", Script(host_mib=10))
    chat.write("presets/bad.yaml", "id: bad\nengine: no-such-engine\n")
    chat.systemctl("reload", DAEMON)

    def has_been_read():
        with chat.client() as client:
            return any(mode.id == "late" for mode in client.modes())

    chat.wait_until("the new mode is known", has_been_read)
    chat.wait_until("the reload is over", lambda: chat.show("SubState") == "running")
    assert "presets/bad.yaml:2" in chat.journal()
    assert (chat.show("MainPID"), chat.units()) == (pid, before)


# --- engines as units -----------------------------------------------------------------------


def test_switches_leave_exactly_the_modes_processes(chat):
    for mode in ("code", "blank", "chat"):
        said = chat.ctl("switch", mode).stdout
        assert "in mode" in said
        assert_settled(chat, mode)


def test_engines_live_in_units_of_their_own_as_nobody_of_importance(chat):
    daemon = chat.show("MainPID")
    in_service = [process for process in chat.processes() if f"/{DAEMON}" in process.cgroup]
    assert [str(process.pid) for process in in_service] == [daemon]
    uid = int(chat.box.run(["id", "-u", ENGINE_USER]).stdout)
    group = int(chat.box.run(["getent", "group", "gpumod"]).stdout.split(":")[2])
    (tree,) = chat.engines().values()
    for process in tree:
        assert "/gpumod.slice/gpumod-" in process.cgroup
        assert set(process.uids) == {uid}
        assert uid > 0
        assert group not in process.groups


def test_engines_may_use_their_home_and_nothing_of_the_daemons(chat):
    def as_engine(*argv):
        become = ("setpriv", f"--reuid={ENGINE_USER}", f"--regid={ENGINE_USER}", "--init-groups")
        return chat.box.run([*become, *argv], env={"HOME": "/var/lib/gpumod-engine"}, check=False)

    assert as_engine("sh", "-c", "mkdir -p ~/.cache/x && echo hello >~/.cache/x/y").returncode == 0
    for file in ("gpumod.db", "gpumod.db-wal", "logs/chat.log", "daemon.lock"):
        assert "Permission denied" in as_engine("cat", f"{chat.state}/{file}").stdout
    assert as_engine("touch", f"{chat.state}/logs/new").returncode != 0
    told = as_engine(str(SCRIPTS / "gpumodctl"), "--socket", chat.socket, "status")
    assert told.returncode == 4
    assert "ermission denied" in told.stdout


def test_members_of_the_group_may_use_the_socket(chat):
    chat.box.run(["useradd", "--groups", "gpumod", "member"])
    become = ("setpriv", "--reuid=member", "--regid=member", "--init-groups")
    status = chat.box.run([*become, str(SCRIPTS / "gpumodctl"), "status"])
    assert "mode chat" in status.stdout
    assert chat.box.run(["stat", "--format=%U:%G %a", chat.socket]).stdout.strip() == "root:gpumod 660"


def test_output_of_all_attempts_is_in_the_services_log(chat):
    log = chat.box.path(f"{chat.state}/logs/chat.log")
    before = log.read_text().count("begun")
    chat.ctl("service", "restart", "chat")
    assert log.read_text().count("begun") == before + 1
    assert chat.ctl("logs", "chat").stdout.count("begun") == before + 1


def test_a_service_that_exits_with_0_is_restarted_as_a_new_unit(chat):
    (former,) = chat.units()
    (leader,) = chat.units().values()
    chat.box.run(["kill", "-TERM", str(leader)])  # the engine answers that with exit code 0
    chat.wait_until("a new unit runs", lambda: former not in chat.units() and 0 not in chat.units().values())
    chat.wait_until("chat is ready", lambda: ready(chat, "chat"))
    assert_settled(chat, "chat")
    (unit,) = chat.units()
    assert int(unit.rpartition("g")[2]) == int(former.rpartition("g")[2]) + 1


def ready(installed, service):
    with installed.client() as client:
        return client.service(service).state == "ready"


def test_the_daemon_sees_what_engines_of_another_user_hold(chat):
    with chat.client() as client:
        (card,) = client.cards().cards
        record = client.service("chat")
    assert record.observed
    assert 60 <= dict(record.observed)[card.id] >> 20 < 200


def test_a_daemon_that_dies_in_a_switch_converges_with_units(chat):
    daemon = f"{sys.executable} -m gpumod.testing.crashing_daemon {FAULT}"
    clean = f"ExecStartPre=/bin/rm -f {FAULT}"  # a fault is met once
    chat.drop_in(clean, "ExecStart=", f"ExecStart={daemon}", "RestartSec=100ms")
    chat.systemctl("restart", DAEMON)
    assert_settled(chat, "chat")
    for point, mode in POINTS:
        chat.box.path(FAULT).write_text(point)
        restarts = int(chat.show("NRestarts"))
        with contextlib.suppress(GpumodError), chat.client() as client:
            client.switch(mode, wait=False)
        chat.wait_until("systemd starts it again", lambda: int(chat.show("NRestarts")) > restarts)  # noqa: B023
        chat.wait_until("it answers", chat.answers)
        assert_settled(chat, mode)


def test_llama_cpp_is_asked_and_run_as_the_engines_user(chat):
    pytest.importorskip("xllamacpp")
    home = "/var/lib/gpumod-engine"
    write_gguf(chat.box.path(f"{home}/tiny.gguf"), of_size(20 << 20), name="tiny")
    chat.box.run(["chmod", "a+r", f"{home}/tiny.gguf"])
    chat.write(
        "presets/tiny.yaml",
        f"{{id: tiny, engine: llama.cpp, binary: embedded, model: {home}/tiny.gguf, context: 512, slots: 1, "
        "vram: 300MiB, llama: {threads: 1}}",
    )
    chat.write("modes/tiny.yaml", "{id: tiny, services: [tiny]}")
    with chat.client() as client:
        client.reload()
    said = chat.ctl("switch", "tiny", check=False)
    assert said.returncode == 0, (said.stdout, chat.ctl("logs", "tiny", check=False).stdout)
    (unit,) = chat.units()
    assert unit.startswith("tiny-g")
    assert chat.show("User", "gpumod-*-tiny-g*.service") == ENGINE_USER
    assert "in mode blank" in chat.ctl("switch", "blank").stdout
    assert chat.units() == {}


@pytest.mark.skipif(not standin.can_build(), reason="the NVML stand-in needs gcc")
def test_the_hardened_daemon_proves_on_cards_what_engines_of_another_user_gave_back(chat):
    for folder in ("lib", "state/procs"):
        chat.box.run(["mkdir", "-p", f"{NVML}/{folder}"])
    chat.box.run(["chmod", "1777", f"{NVML}/state", f"{NVML}/state/procs"])
    standin.build(chat.box.path(f"{NVML}/lib"))
    standin.Standin(chat.box.path(f"{NVML}/state"), chat.box.path(f"{NVML}/lib"))
    state = {standin.STATE_VARIABLE: f"{NVML}/state"}
    chat.preset("big", Script(card_mib=9000, children=1), vram=10000, env=state)
    with chat.client() as client:
        client.switch("blank")
    chat.configure(cards="nvidia")
    chat.drop_in(f"Environment=LD_LIBRARY_PATH={NVML}/lib {standin.STATE_VARIABLE}={NVML}/state")
    chat.systemctl("restart", DAEMON)
    assert "in mode big" in chat.ctl("switch", "big").stdout
    (leader,) = chat.units().values()
    with chat.client() as client:
        held = [one for card in client.cards().cards for one in card.processes]
        assert [(one.pid, one.service, one.used) for one in held] == [(leader, "big", 9000 << 20)]
        record = client.switch("blank")
    assert any("pid+free" in step.detail for step in record.steps)
    assert_settled(chat, "blank")


# --- the machine ----------------------------------------------------------------------------


def test_engines_are_stopped_after_the_daemon_when_all_is_stopped(chat):
    with chat.client() as client:
        client.switch("calm")
    (unit,) = chat.units()
    chat.systemctl("stop", DAEMON, f"gpumod-*-{unit}.service")
    chat.box.run(["journalctl", "--sync"])
    lines = chat.box.run(["journalctl", "--no-pager", "--quiet", "_PID=1"]).stdout.splitlines()
    daemon = [number for number, line in enumerate(lines) if f"Stopped {DAEMON}" in line]
    engine = [number for number, line in enumerate(lines) if "Stopping gpumod-" in line and unit in line]
    assert daemon[-1] < engine[-1], "the daemon could take an engine's end for a crash"
    chat.systemctl("start", DAEMON)
    assert_settled(chat, "calm")


def test_after_a_reboot_the_last_mode_comes_back(chat):
    with chat.client() as client:
        client.switch("calm")
        seen = max(event.seq for event in client.events())
    units = chat.units()
    chat.box.reboot()
    chat.wait_until("the daemon answers", chat.answers)
    assert_settled(chat, "calm")
    assert chat.units().keys() != units.keys()
    with chat.client() as client:
        told = [event.message for event in client.events(seen) if event.kind is EventKind.SERVICE]
    assert "while the daemon was away" in told[0], "an engine's end was taken for a crash"


def test_after_a_reboot_the_box_is_blank_where_that_is_configured(chat):
    chat.configure("boot: blank")
    chat.systemctl("restart", DAEMON)
    with chat.client() as client:
        client.switch("calm")
    chat.systemctl("restart", DAEMON)
    assert_settled(chat, "calm")  # the setting counts after a reboot of the machine alone
    chat.box.reboot()
    chat.wait_until("the daemon answers", chat.answers)
    assert_settled(chat, "blank")


def test_the_running_units_exposure_is_the_documented_one(system):
    said = system.box.run(["systemd-analyze", "security", "--no-pager", DAEMON]).stdout
    (measured,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", said)
    text = Path(ROOT / "docs/operations.md").read_text()
    (documented,) = re.findall(r"^\| system \| ([\d.]+) \|", text, re.MULTILINE)
    # Versions of systemd weigh a little differently.
    assert abs(float(measured) - float(documented)) <= 0.3


# --- the user variant -----------------------------------------------------------------------


@pytest.mark.parametrize("how", [restart, kill], ids=lambda how: how.__name__)
def test_a_users_engines_go_on_and_are_adopted(users, how):
    with users.client() as client:
        client.switch("chat")
    engines, units = users.engines(), users.units()
    how(users)
    assert_settled(users, "chat")
    assert (users.engines(), users.units()) == (engines, units)
    (tree,) = engines.values()
    for process in tree:
        assert f"/user@{users.uid}.service/gpumod.slice/gpumod-" in process.cgroup
        assert set(process.uids) == {users.uid}


def test_a_users_last_mode_comes_back_without_a_login(users):
    with users.client() as client:
        client.switch("calm")
    users.box.reboot()
    users.wait_until("the daemon answers", users.answers)
    assert_settled(users, "calm")


def test_removing_a_users_unit_leaves_engines_and_state(users):
    with users.client() as client:
        client.switch("chat")
    users.ctl("doctor", "--uninstall-unit")
    assert set(users.engines()) == {"chat"}
    assert not users.box.path(f"{users.folder}/../systemd/user/{DAEMON}").exists()
    users.ctl("doctor", "--install-unit")
    assert_settled(users, "chat")
