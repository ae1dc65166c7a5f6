"""The daemon's life as its user meets it: signals, restarts, bad files, a second daemon."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request

import pytest

from gpumod.client import Client
from gpumod.core.errors import GpumodError, NotFoundError, RefusedError
from gpumod.core.plan import StepKind
from gpumod.core.states import ServiceState
from gpumod.core.switch import BoxState, StepState, SwitchState
from gpumod.testing.engine_server import Script
from tests.e2e.real_box import PATIENCE

pytestmark = pytest.mark.shared_processes


@pytest.fixture
def box(make_real_box):
    """Chat and code, which do not fit together."""
    box = make_real_box()
    for name in ("chat", "code"):
        box.preset(name, Script(host_mib=50), vram=600)
        box.mode(name, name)
    return box


def ctl(box, *words, **options):
    """Gpumodctl as a process."""
    return subprocess.run(
        [sys.executable, "-c", "from gpumod.cli.main import main; main()", *words],
        env={**os.environ, "GPUMOD_SOCKET": box.socket},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


def state_of(client, name):
    """What the status says of a service; None where it says nothing."""
    return next((one.state for one in client.status().services if one.id == name), None)


def gone(box):
    """Whether no engine and no keeper of the box is left."""
    return not box.processes()


def test_sigterm_leaves_the_engines_running_and_the_next_daemon_adopts_them(box):
    box.start()
    with box.client() as client:
        client.switch("chat")
    engines = box.engines()
    assert box.stop(signal.SIGTERM) == 0
    assert box.engines() == engines
    box.start()
    box.wait_until("adoption", box.settled)
    with box.client() as client:
        status = client.status()
    assert box.engines() == engines
    assert (status.mode, status.state) == ("chat", BoxState.SETTLED)
    assert any("adopted" in note for note in status.notes)


def test_ctrl_c_in_the_foreground_leaves_the_box_blank(box):
    box.start(options=["--foreground"])
    with box.client() as client:
        client.switch("chat")
    assert box.stop(signal.SIGINT) == 0
    assert gone(box)


def test_a_second_daemon_on_the_same_state_directory_refuses_to_start(box):
    box.start()
    second = subprocess.run(
        [sys.executable, "-m", "gpumod.daemon", "--config", str(box.root / "config")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    assert str(box.daemon.pid) in second.stderr
    assert box.answers(), "the second daemon took the socket of the first"


def test_bad_settings_prevent_the_start_and_name_file_line_and_key(box):
    with (box.root / "config/config.yaml").open("a") as config:
        config.write("heedroom: 1GiB\n")
    done = subprocess.run(
        [sys.executable, "-m", "gpumod.daemon", "--config", str(box.root / "config")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 78
    assert "heedroom" in done.stderr
    assert "headroom" in done.stderr, "no suggestion"


def test_a_bad_preset_disables_itself_and_its_modes_and_nothing_else(box):
    box.write("presets/odd.yaml", 'id: odd\nengine: command\ncommand: {cmd: [x, "${PORT}"]}\nvrram: 1GiB\n')
    box.mode("odd", "odd")
    box.start()
    with box.client() as client:
        with pytest.raises(RefusedError, match="vrram"):
            client.switch("odd")
        assert client.switch("chat").state is SwitchState.COMMITTED


def test_sighup_reads_the_files_again_and_touches_nothing_that_runs(box):
    box.start()
    with box.client() as client:
        client.switch("chat")
        engines = box.engines()
        with pytest.raises(NotFoundError):
            client.switch("late")
        box.mode("late", "code")
        box.daemon.send_signal(signal.SIGHUP)
        box.wait_until("the mode is known", lambda: "late" in {mode.id for mode in client.modes()})
    assert box.engines() == engines


def test_a_status_answers_while_a_service_loads_drains_and_stops_slowly(box):
    """Invariant 9: control never blocks."""
    gate = box.root / "gate"
    slow = Script(host_mib=10, gate=str(gate), on_sigterm="hang_with_clients", keep_alive=True)
    box.preset("slow", slow, vram=600, stop_grace="10m")
    box.mode("slow", "slow")
    box.start()
    with box.client() as client:
        record = client.switch("slow", wait=False)
        box.wait_until("it loads", lambda: state_of(client, "slow") is ServiceState.LOADING)
        # It loads until the gate is there: whoever waited for the switch would not be answered.
        assert [state_of(client, "slow") for _ in range(10)] == [ServiceState.LOADING] * 10
        gate.touch()
        box.wait_until("it is ready", lambda: client.switch_record(record.id).state.ended)
        # It stops when its last client has gone.
        with socket.create_connection(("127.0.0.1", client.service("slow").launch.port), PATIENCE) as held:
            held.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b" 200 " in held.recv(64)
            record = client.switch("blank", wait=False)
            box.wait_until("it stops", lambda: state_of(client, "slow") is ServiceState.STOPPING)
            assert [state_of(client, "slow") for _ in range(10)] == [ServiceState.STOPPING] * 10
        assert client.switch_record(record.id, wait=PATIENCE).state is SwitchState.COMMITTED


def test_requests_of_many_callers_at_once_make_one_switch(box):
    box.start()
    records, errors = [], []

    def ask(target):
        try:
            with Client(box.socket) as client:
                records.append(client.switch(target))
        except GpumodError as error:
            errors.append(error)

    callers = [threading.Thread(target=ask, args=("chat",)) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE)
    assert not errors
    with_steps = {record.id for record in records if record.steps}
    assert len(with_steps) == 1
    assert len(box.engines()["chat"]) == 1


def test_a_service_that_dies_is_back_and_a_crash_loop_is_told(box):
    box.preset("chat", Script(host_mib=10), vram=600, restart={"within": "60s", "at_most": 1})
    box.start()
    with box.client() as client:
        client.switch("chat")
        os.kill(box.engines()["chat"][0], signal.SIGKILL)
        box.wait_until(
            "it is back", lambda: (one := client.service("chat")).generation == 2 and one.admitting
        )
        os.kill(box.engines()["chat"][0], signal.SIGKILL)
        box.wait_until("it is given up", lambda: "crash loop" in client.service("chat").reason)
        status = client.status()
    assert status.state is BoxState.DEGRADED
    assert "chat" in status.reason


def test_a_hung_engine_is_noticed(make_real_box):
    box = make_real_box(bounds={"hung_window": "1s", "probe": "1s"})
    box.preset("chat", Script(host_mib=10), vram=100, restart={"when": "never"})
    box.mode("chat", "chat")
    box.start()
    with box.client() as client:
        client.switch("chat")
        hang(client.service("chat").launch.port)
        box.wait_until("it is noticed", lambda: client.service("chat").state is ServiceState.FAILED)
        assert "hung" in client.service("chat").reason
    box.wait_until("nothing of it is left", lambda: gone(box))


def hang(port):
    """From now on an engine answers nobody."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/control", b'{"hung": true}', method="POST")
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        answer.read()


def test_children_that_hold_the_port_do_not_keep_the_next_start_from_it(box):
    box.preset(
        "chat",
        Script(host_mib=10, children=1, child_holds_port=True, children_outlive=True),
        vram=600,
        stop_grace="500ms",  # it takes all of that
    )
    box.start()
    with box.client() as client:
        client.switch("chat")
        record = client.restart("chat")
    assert record.state is SwitchState.COMMITTED


def test_a_port_that_a_stranger_holds_is_refused_with_its_name(box):
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        box.preset("chat", Script(host_mib=10), vram=600, port=port)
        box.start()
        with box.client() as client, pytest.raises(RefusedError) as caught:
            client.switch("chat")
    assert str(os.getpid()) in json.dumps(caught.value.facts)


def test_a_drain_lets_running_requests_finish_before_anything_is_signalled(box):
    end = box.root / "end"
    box.preset("chat", Script(host_mib=10), vram=600, drain={"deadline": "10m"})
    box.start()
    with box.client() as client:
        client.switch("chat")
        port = client.service("chat").launch.port
        answered = []

        def ask():
            body = json.dumps({"model": "chat", "messages": [], "max_tokens": 1, "gate": str(end)})
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}"
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as channel:
                channel.sendall(f"{head}\r\n\r\n{body}".encode())
                answered.append(channel.recv(64))

        asking = threading.Thread(target=ask)
        asking.start()
        box.wait_until("the request runs", lambda: runs_a_request(port))
        switch = client.switch("blank", wait=False).id
        box.wait_until("it drains", lambda: drains(client.switch_record(switch)))
        end.touch()
        record = client.switch_record(switch, wait=PATIENCE)
        asking.join(PATIENCE)
    assert record.state is SwitchState.COMMITTED
    assert b"200" in answered[0], "a running request was cut"
    assert [step.kind for step in record.steps][:3] == [StepKind.CLOSE, StepKind.DRAIN, StepKind.STOP]


def drains(record):
    return any((step.kind, step.state) == (StepKind.DRAIN, StepState.RUNNING) for step in record.steps)


def runs_a_request(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/load", timeout=PATIENCE) as answer:
        return json.load(answer)["running"] == 1


def test_exit_codes_and_json_of_gpumodctl_tell_the_truth(box):
    box.mode("both", "chat", "code")
    box.preset("bad", Script(host_mib=5, exit_code=3, exit_after=0.1, load_time=9), vram=600)
    box.mode("bad", "bad")
    assert ctl(box, "status").returncode == 4, "no daemon yet"
    box.start()
    assert ctl(box, "switch", "chat").returncode == 0
    refused = ctl(box, "switch", "both", "--json")
    assert refused.returncode == 3
    assert json.loads(refused.stdout)["code"] == "refused"
    failed = ctl(box, "switch", "bad", "--json")
    assert failed.returncode == 1
    assert "restored" in failed.stdout
    assert ctl(box, "switch", "nosuch").returncode == 5
    assert ctl(box, "swich").returncode == 2
    assert ctl(box, "service", "logs", "chat").returncode == 0


def test_a_store_that_is_damaged_is_told_and_running_services_are_left_alone(box):
    box.start()
    with box.client() as client:
        client.switch("chat")
    engines = box.engines()
    box.kill()
    database = box.root / "state/gpumod.db"
    for name in ("gpumod.db-wal", "gpumod.db-shm"):
        with contextlib.suppress(FileNotFoundError):
            (box.root / "state" / name).unlink()
    database.write_bytes(b"this is not a database" * 500)
    box.start(wait=False)
    assert box.wait_for_death() == 1
    assert "gpumod.db" in box.log()
    assert box.engines() == engines


def test_a_taken_port_ends_the_start_before_any_engine_is_touched(box):
    box.start()
    with box.client() as client:
        client.switch("chat")
    engines = box.engines()
    box.kill()
    port = int((box.root / "config/config.yaml").read_text().split("127.0.0.1:")[1].split("\n")[0])
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        box.start(wait=False)
        assert box.wait_for_death() == 1
    assert str(port) in box.log()
    assert box.engines() == engines


def test_boot_names_the_mode_of_the_very_first_start(box):
    with (box.root / "config/config.yaml").open("r+") as config:
        text = config.read().replace("boot: last", "boot: chat")
        config.seek(0)
        config.write(text)
    box.start()
    box.wait_until("the mode is up", box.settled)
    with box.client() as client:
        assert client.status().mode == "chat"
