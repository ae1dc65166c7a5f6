"""gpumodctl as a process of its own: what it imports, signals, terminals and closed pipes."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest

CTL = (sys.executable, "-m", "gpumod.cli.main")
SLOW_TO_IMPORT = (
    "typer",
    "rich",
    "pydantic",
    "httpx2",
    "fastapi",
    "asyncio",
    "dataclasses",
    "gpumod.core.switch",
)
_BOUND = 60

_PROBE = """
import sys
from gpumod.cli.main import main
try:
    main({args!r})
finally:
    sys.stderr.write(" ".join(sys.modules))
"""


def probe(*args):
    """Exit code, answer and imported modules of a command."""
    done = subprocess.run(
        [sys.executable, "-c", _PROBE.format(args=list(args))],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_BOUND,
        check=False,
    )
    return done.returncode, done.stdout, set(done.stderr.split())


@pytest.mark.parametrize("args", [("status",), ("status", "--json"), ("--json", "status")])
def test_status_starts_without_anything_slow(quiet_box, args):
    code, out, modules = probe(*args)
    assert code == 0
    assert "gemma-chat" in out
    assert not modules.intersection(SLOW_TO_IMPORT)


def test_status_without_a_daemon_starts_without_anything_slow(tmp_path):
    code, _, modules = probe("status", "--socket", str(tmp_path / "none"))
    assert code == 4
    assert not modules.intersection(SLOW_TO_IMPORT)


def test_the_short_way_and_the_parser_show_the_same(quiet_box, ctl, monkeypatch):
    short = ctl("status", "--json").json
    monkeypatch.setattr("gpumod.cli.status.quick_options", lambda _: None)
    parsed = ctl("status", "--json").json
    for answer in (short, parsed):  # what the moment decides
        del answer["at"], answer["reading"]
    assert short == parsed


def started(*args, **more):
    return subprocess.Popen(
        [*CTL, *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def test_ctrl_c_leaves_the_switch_running_and_says_so(held_box):
    process = started("switch", "chat")
    for line in process.stderr:  # its first line of progress: the switch has begun
        if " - running" in line:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=_BOUND)
    held_box.go_on()
    assert process.returncode == 130
    assert out == ""
    assert "switch S1 goes on" in err
    assert held_box.run(held_box.box.wait("S1")).state == "committed"


def test_ctrl_c_ends_what_follows(quiet_box):
    process = started("events", "--follow", "--after", "0")
    assert "S1" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=_BOUND)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_a_reader_that_goes_away_is_no_reason_for_a_traceback(quiet_box):
    process = started("events", "--follow", "--after", "0")
    process.stdout.readline()
    process.stdout.close()
    # The next event meets a closed pipe.
    quiet_box.loop.call_soon_threadsafe(_publish, quiet_box)
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(_BOUND) == 1
    assert err == ""


def _publish(daemon):
    from gpumod.core.events import EventKind

    for number in range(5):
        daemon.box.events.publish(EventKind.CONFIG, "files", f"read again {number}")


def test_followed_logs_are_written_as_they_come(box):
    box.switch("chat")
    process = started("logs", "embed", "--follow", "--lines", "1")
    assert process.stdout.readline() == "server is listening\n"
    deadline = time.monotonic() + _BOUND
    while not select.select([process.stdout], [], [], 0.05)[0]:  # until its stream is open
        assert time.monotonic() < deadline
        box.run(box.box.write_log("embed", "a token"))
    assert process.stdout.readline() == "a token\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=_BOUND)
    assert process.returncode == 130


@pytest.mark.parametrize(
    "args", [("status",), ("status", "--json"), ("mode", "list"), ("mode", "list", "--json")]
)
@pytest.mark.parametrize("buffered", ["", "1"])
def test_an_answer_that_cannot_be_written_is_told(quiet_box, args, buffered):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*CTL, *args],
            env=os.environ | {"PYTHONUNBUFFERED": buffered},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=_BOUND,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "gpumodctl: cannot write the answer: No space left on device\n"


@pytest.mark.parametrize(("closed", "code"), [(">&-", 1), (">&- 2>&-", 1), ("2>&-", 0)])
def test_closed_streams_are_no_defect(quiet_box, closed, code):
    command = f"exec {sys.executable} -m gpumod.cli.main status {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=_BOUND, check=False)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert ("stdout is closed; nothing was done" in done.stderr) == (closed == ">&-")


def on_terminal(*args, columns=80):
    """What a command writes on a terminal, and its exit code."""
    ours, theirs = pty.openpty()
    env = os.environ | {"COLUMNS": str(columns), "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
    env.pop("NO_COLOR", None)
    process = subprocess.Popen([*CTL, *args], stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    written = bytearray()
    try:
        while chunk := os.read(ours, 65536):
            written += chunk
    except OSError:  # the other side is closed
        pass
    finally:
        os.close(ours)
    return process.wait(_BOUND), written.decode()


@pytest.mark.parametrize("columns", [80, 140])
def test_status_on_a_terminal_has_colours_and_fits(quiet_box, columns):
    code, text = on_terminal("status", columns=columns)
    assert code == 0
    assert "\x1b[32m" in text
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    assert max(map(len, lines)) <= columns
    assert any("█" in line for line in lines)


def test_a_switch_on_a_terminal_is_drawn_in_place(slow_box):
    code, text = on_terminal("switch", "chat")
    assert code == 0
    assert "\x1b[1A" in text  # the cursor goes back up
    assert "start gemma-chat" in text
    assert text.rstrip().splitlines()[-1].endswith("(switch S1)")


def test_json_on_a_terminal_is_only_json(quiet_box):
    code, text = on_terminal("status", "--json")
    assert code == 0
    assert json.loads(text)["mode"] == "chat"
