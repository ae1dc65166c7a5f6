"""The scripted engine does what it is told: other tests lean on it."""

import http.client
import json
import os
import signal
import socket
import time
from pathlib import Path

import psutil
import pytest

from gpumod.testing.engine_server import NVML_VARIABLE, Script, command_of
from gpumod.testing.ports import free_port
from tests.engines.processes import KILL, TERM, start, until

__all__ = ["start"]

MIB = 1024**2


@pytest.fixture
def run(start):
    def make(env=(), **keys):
        script = Script(**({"port": free_port()} | keys))
        process = start(command_of(script), env)
        process.port = script.port
        return process

    return make


def status(port: int, path: str = "/health", body: object = None, patience: float = 30):
    """The status of an answer, 0 where nothing listens, -1 where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience)
    try:
        if body is None:
            connection.request("GET", path)
        else:
            connection.request("POST", path, json.dumps(body))
        return connection.getresponse().status
    except TimeoutError:
        return -1
    except OSError:
        return 0
    finally:
        connection.close()


def is_ready(process):
    return until(lambda: status(process.port) == 200, "ready")


def test_llama_cpp_answers_503_while_it_loads(run):
    process = run(never_ready=True)
    until(lambda: status(process.port) == 503, "loading")
    process.signal(TERM)
    assert process.ended() == -TERM


def test_vllm_listens_only_when_it_is_ready(run, tmp_path):
    gate = tmp_path / "gate"
    process = run(gate=str(gate), while_loading="closed", log=["begun"])
    until(lambda: process.lines, "its start")
    seen = {status(process.port)}
    gate.touch()

    def look() -> bool:
        seen.add(status(process.port))
        return 200 in seen

    until(look, "ready")
    assert seen == {0, 200}


def test_sigterm_while_loading_may_be_ignored(run):
    process = run(never_ready=True, on_sigterm_while_loading="ignore")
    until(lambda: status(process.port) == 503, "loading")
    process.signal(TERM)
    assert status(process.port) == 503
    process.signal(KILL)
    assert process.ended() == -KILL


def test_sigterm_when_idle_ends_it_cleanly(run):
    process = run()
    is_ready(process)
    process.signal(TERM)
    assert process.ended() == 0


def test_sigterm_may_be_ignored(run):
    process = run(on_sigterm="ignore")
    is_ready(process)
    process.signal(TERM)
    assert status(process.port) == 200


def test_sigterm_with_clients_may_hang_until_they_go(run):
    process = run(on_sigterm="hang_with_clients", request_time=60)
    is_ready(process)
    client = http.client.HTTPConnection("127.0.0.1", process.port, timeout=60)
    client.request("POST", "/v1/chat/completions", "{}")
    until(lambda: _metric(process.port) == 1, "the request")
    process.signal(TERM)
    until(lambda: status(process.port, patience=0.5) == 0, "the port closing")
    assert process.alive()
    client.close()
    assert process.ended() == 0


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_held_until_a_file_is_there(run, tmp_path, stream):
    process = run()
    is_ready(process)
    gate = tmp_path / "gate"
    client = http.client.HTTPConnection("127.0.0.1", process.port, timeout=60)
    body = {"gate": str(gate), "stream": stream, "max_tokens": 3}
    client.request("POST", "/v1/chat/completions", json.dumps(body))
    until(lambda: _metric(process.port) == 1, "the request")
    time.sleep(0.1)  # one that were not held would be answered
    assert _metric(process.port) == 1
    gate.touch()
    with client.getresponse() as answer:
        text = answer.read().decode()
    client.close()
    assert text.endswith("data: [DONE]\n\n") if stream else '"ok"' in text


def test_it_exits_by_itself_with_its_last_words(run):
    process = run(log=["hello"], last_log=["CUDA error: out of memory"], exit_code=0, exit_after=0.1)
    assert process.ended() == 0
    assert process.lines == ["hello", "CUDA error: out of memory"]


def test_it_may_crash(run):
    assert run(crash_signal=int(signal.SIGSEGV), exit_after=0.1).ended() == -signal.SIGSEGV


def test_a_taken_port_is_told(run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = run(port=taken.getsockname()[1])
        assert process.ended() == 1
    assert "couldn't bind" in process.lines[0]


def test_children_outlive_a_killed_leader_and_lead_their_own_sessions(run):
    process = run(children=2, children_outlive=True, children_ignore_sigterm=True)
    is_ready(process)
    children = psutil.Process(process.pid).children()
    assert len(children) == 2
    assert all(os.getsid(child.pid) == child.pid for child in children)
    process.signal(KILL)
    process.ended()
    for child in children:
        child.send_signal(TERM)
    assert all(child.is_running() for child in children)


def test_children_otherwise_go_with_their_leader(run):
    process = run(children=1)
    is_ready(process)
    (child,) = psutil.Process(process.pid).children()
    process.signal(KILL)
    process.ended()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child's end")


def test_a_child_may_hold_the_port_after_the_leader(run):
    process = run(children=1, child_holds_port=True)
    is_ready(process)
    process.signal(KILL)
    process.ended()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", process.port)) == 0


def test_it_really_allocates(run):
    process = run(host_mib=64)
    is_ready(process)
    assert psutil.Process(process.pid).memory_info().rss > 64 * MIB
    child_holds = run(host_mib=64, children=1, memory_in="child")
    is_ready(child_holds)
    assert psutil.Process(child_holds.pid).memory_info().rss < 64 * MIB


def test_it_tells_the_nvml_stand_in_what_it_holds_on_the_cards_that_it_sees(run, tmp_path):
    (tmp_path / "procs").mkdir()
    (tmp_path / "cards.json").write_text(
        json.dumps({"cards": [{"uuid": "GPU-0", "total": 0}, {"uuid": "GPU-1", "total": 150 * MIB}]})
    )
    env = {NVML_VARIABLE: str(tmp_path), "CUDA_VISIBLE_DEVICES": "GPU-1"}
    process = run(env, card_mib=100)
    is_ready(process)
    (told,) = (tmp_path / "procs").iterdir()
    assert told.name == f"{process.pid}-1.json"
    assert json.loads(Path(told).read_text()) == {"pid": process.pid, "card": 1, "used": 100 * MIB}


@pytest.mark.parametrize("holder", ["leader", "child"])
def test_a_card_of_the_stand_in_that_is_full_fails_it_as_a_real_one_does(run, tmp_path, holder):
    (tmp_path / "procs").mkdir()
    (tmp_path / "cards.json").write_text(json.dumps({"cards": [{"uuid": "GPU-0", "total": 150 * MIB}]}))
    env = {NVML_VARIABLE: str(tmp_path)}
    is_ready(run(env, card_mib=100))
    process = run(env, card_mib=51, memory_in=holder, children=1)
    assert process.ended() == 1
    assert "CUDA error: out of memory" in process.lines


def test_a_gate_holds_it_in_loading(run, tmp_path):
    process = run(gate=str(tmp_path / "gate"))
    until(lambda: status(process.port) == 503, "loading")
    (tmp_path / "gate").touch()
    is_ready(process)


def test_it_can_exit_because_a_child_died(run):
    process = run(children=1, exit_on_child_death=0)
    is_ready(process)
    (child,) = psutil.Process(process.pid).children()
    child.kill()
    assert process.ended() == 0


def test_it_can_be_changed_while_it_runs(run):
    process = run()
    is_ready(process)
    assert status(process.port, "/control", {"running": 4}) == 200
    assert _metric(process.port) == 4
    status(process.port, "/control", {"hung": True})
    assert status(process.port, patience=0.2) == -1
    status(process.port, "/control", {"hung": False})
    is_ready(process)
    status(process.port, "/control", {"exit_code": 7})
    assert process.ended() == 7


def test_a_script_with_a_mistake_is_refused(start):
    command = command_of(Script(port=1))
    assert start((*command[:-1], '{"bogus": 1}')).ended() == 2


def _metric(port: int) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return float(text.split()[1])
