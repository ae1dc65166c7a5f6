"""Commands that read, leases, files, and everything that goes wrong before a daemon is asked."""

import json

import pytest

from gpumod import __version__
from gpumod.access import AccessRules
from gpumod.client import Client
from gpumod.core.errors import StoreError
from gpumod.core.spec import Catalog, Problem
from tests.client.served import served

READING = [
    ("status",),
    ("cards",),
    ("mode", "list"),
    ("mode", "show", "chat"),
    ("mode", "check", "chat"),
    ("preflight", "embed"),
    ("preset", "list"),
    ("service", "list"),
    ("service", "show", "embed"),
    ("service", "logs", "embed"),
    ("logs", "embed"),
    ("switches", "list"),
    ("lease", "list"),
    ("events",),
]


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_every_reading_command_answers_people_and_programs(ctl, quiet_box, command):
    shown = ctl(*command)
    assert shown.code == 0
    assert shown.out.strip()
    assert "\x1b" not in shown.out  # no colours into a pipe
    answer = ctl(*command, "--json")
    assert answer.code == 0
    assert isinstance(answer.json, dict | list)
    assert answer.err == ""


@pytest.mark.parametrize(
    "command", [*READING, ("switch", "chat"), ("lease", "take", "--for", "1m")], ids=" ".join
)
def test_without_a_daemon_every_command_exits_4(ctl, tmp_path, monkeypatch, command):
    monkeypatch.setenv("GPUMOD_SOCKET", str(tmp_path / "none"))
    told = ctl(*command)
    assert (told.code, told.out) == (4, "")
    assert "no daemon answers" in told.err
    assert "gpumodd" in told.err
    answer = ctl(*command, "--json")
    assert answer.code == 4
    assert answer.json["code"] == "daemon_unreachable"
    assert {"type", "title", "status", "detail"} <= answer.json.keys()


@pytest.mark.parametrize(
    "command", [("mode", "show", "x"), ("service", "show", "x"), ("logs", "x"), ("lease", "release", "x")]
)
def test_what_is_not_there_exits_5(ctl, quiet_box, command):
    assert ctl(*command).code == 5
    assert ctl(*command, "--json").json["status"] == 404


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("mode", "show", "chta"), "no mode is called chta; did you mean chat?"),
        (("mode", "show", "xyz"), "no mode is called xyz; there are: blank, "),
        (("service", "show", "embd"), "no service embd has run here; did you mean embed?"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, tuple) else "",
)
def test_what_was_probably_meant_is_suggested(ctl, quiet_box, command, told):
    assert told in ctl(*command).err


def test_a_preset_is_no_mode_to_check(ctl, quiet_box):
    assert ctl("mode", "check", "embed").code == 5


def test_without_the_right_key_it_exits_7(ctl, short_path, tmp_path):
    from gpumod.access.keys import Key, Scope, digest

    keys = (Key("reader", digest("only-to-read"), frozenset({Scope.READ})),)
    file = tmp_path / "reader"
    file.write_text("only-to-read\n")
    with served(short_path, access=AccessRules(keys=keys)) as daemon:
        for command in (("status",), ("cards",)):
            refused = ctl(*command, "--host", daemon.host)
            assert refused.code == 7
            assert "a key is needed: give a file that holds it with --key-file" in refused.err
            assert "Authorization" not in refused.err
            assert ctl(*command, "--host", daemon.host, "--key-file", file).code == 0
        denied = ctl("switch", "chat", "--host", daemon.host, "--key-file", file, "--json")
        assert denied.code == 7
        assert denied.json["code"] == "not_allowed"
        assert ctl("status", "--host", daemon.host, "--key-file", tmp_path / "none").code == 7


def test_a_failure_tells_what_the_box_is_like(ctl, box):
    box.box.faults.errors["begin"] = StoreError("the disk is full")
    failed = ctl("switch", "chat")
    assert failed.code == 1
    assert (
        failed.err == "gpumodctl: the disk is full\nThe box is now settled in mode blank: blank is in place\n"
    )
    assert ctl("switch", "chat", "--json").json["box"]["state"] == "settled"


# --- usage ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ("nonsense",),
        ("switch",),
        ("switch", "chat", "--nonsense"),
        ("switch", "chat", "--timeout", "soon"),
        ("switch", "chat", "--timeout", "0s"),
        ("switch", "chat", "--on-failure", "explode"),
        ("status", "extra"),
        ("status", "--host"),
        ("lease", "take"),
        ("logs", "embed", "--lines", "0"),
        ("status", "--host", "a b"),
        ("cards", "--host", "x", "--socket", "y"),
    ],
    ids=" ".join,
)
def test_mistakes_in_usage_exit_2(ctl, quiet_box, command):
    told = ctl(*command)
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith("gpumodctl")
    answer = ctl("--json", *command)
    assert answer.code == 2
    assert answer.json["code"] == "invalid_request"


def test_common_options_may_come_first(ctl, daemon):
    assert ctl("--socket", daemon.socket, "--json", "lease", "list").json == []
    assert ctl(f"--host={daemon.host}", "--json", "status").json["mode"] == "blank"


def test_help_and_version(ctl):
    helped = ctl("switch", "--help")
    assert helped.code == 0
    for option in ("--dry-run", "--timeout", "--json", "--socket"):
        assert option in helped.out
    assert ctl("status", "--help").code == 0
    version = ctl("--version").out
    assert version == f"gpumodctl {__version__}\n"
    assert ctl("--version", "status").out == version
    for options in (("--version", "--json"), ("--json", "--version"), ("--host", "x", "--version", "--json")):
        assert ctl(*options).json == {"version": __version__}


def test_a_defect_is_told_as_one(ctl, box, monkeypatch):
    monkeypatch.setattr("gpumod.cli.commands.leases.leases_blocks", lambda *_: 1 / 0)
    ctl("lease", "take", "--for", "1m")
    broken = ctl("lease", "list", "--json")
    assert broken.code == 1
    assert broken.json["code"] == "internal"
    assert "ZeroDivisionError" in broken.err


def test_a_daemon_of_another_version_is_named_as_the_cause(ctl, box, monkeypatch):
    monkeypatch.setattr("gpumod.client.fast.answer", lambda *_: {"state": "settled"})
    assert "same version" in ctl("status").err


# --- leases, events, logs -------------------------------------------------------------------


def test_a_lease_from_take_to_release(ctl, box):
    box.switch("chat")
    taken = ctl(
        "lease", "take", "embed", "--for", "10m", "--holder", "ci", "--purpose", "evaluation", "--json"
    )
    lease = taken.json["id"]
    assert taken.json["services"] == ["embed"]
    assert "evaluation" in ctl("lease", "list").out
    assert "for 20 min" in ctl("lease", "renew", lease, "--for", "20m").out
    assert "released" in ctl("lease", "release", lease).out
    assert "no lease holds" in ctl("lease", "list").out
    assert ctl("lease", "take", "nobody", "--for", "10m").code == 5


def test_events_after_a_number(ctl, quiet_box):
    every = ctl("events", "--json").json
    assert ctl("events", "--after", every[-2]["seq"], "--json").json == every[-1:]


def test_events_name_their_subject_once(ctl, box):
    box.switch("chat")
    lines = ctl("events").out.splitlines()
    assert any("S1" in line for line in lines)
    for line in lines:
        assert "  : " not in line
        for name in ("gemma-chat", "embed"):
            assert f"{name}: {name}" not in line


def test_the_last_events_are_shown_however_many_there_are(ctl, box):
    from gpumod.core.events import EventKind

    for number in range(1, 2502):
        box.box.events.publish(EventKind.CONFIG, "files", f"read {number}")
    assert [one["seq"] for one in ctl("events", "-n", 2, "--json").json] == [2500, 2501]
    assert len(ctl("events").out.splitlines()) == 100


def test_followed_events_go_on_after_a_lost_connection(ctl, box, monkeypatch):
    """The stream breaks twice: what happened meanwhile is not missed, and nothing is told twice."""
    from gpumod.client import Client
    from gpumod.core.errors import UnreachableError

    box.switch("chat")
    last = len(box.box.events.kept)
    asked = []
    follow = Client.follow_events

    def broken(self, after=None):
        asked.append(after)
        for number, event in enumerate(follow(self, after)):
            if number == 3:
                raise UnreachableError("the connection was lost")
            yield event
            if event.seq == last:
                raise KeyboardInterrupt

    monkeypatch.setattr(Client, "follow_events", broken)
    monkeypatch.setattr("gpumod.cli.commands.events.time.sleep", lambda _: None)
    followed = ctl("events", "--follow", "--after", 0, "--json")
    assert followed.code == 130
    assert [json.loads(one)["seq"] for one in followed.out.splitlines()] == list(range(1, last + 1))
    assert len(asked) > 2


def test_followed_events_end_when_the_daemon_stays_away(ctl, box, monkeypatch):
    monkeypatch.setattr("gpumod.cli.commands.events._PATIENCE", 0.0)
    monkeypatch.setattr("gpumod.cli.commands.events.time.sleep", lambda _: None)
    box.switch("chat")
    box.loop.call_later(0.2, box.stop.set)
    assert ctl("events", "--follow", "--after", 0).code == 4


def test_presets_in_use_and_shipped_ones_are_listed(ctl, quiet_box):
    listed = ctl("preset", "list").out
    assert "gemma-chat" in listed.split("shipped", 1)[0]
    assert "embedding-code" in listed.split("shipped", 1)[1]


def test_only_the_last_lines_of_a_log(ctl, quiet_box):
    assert ctl("logs", "embed", "-n", 1).out == "server is listening\n"


# --- files ----------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path, monkeypatch):
    folder = tmp_path / "files"
    (folder / "modes").mkdir(parents=True)
    (folder / "presets").mkdir()
    (folder / "presets/any.yaml").write_text(
        "id: any\nengine: command\ncommand: {cmd: [/bin/serve, '${PORT}']}\nvram: 1GiB\n"
    )
    (folder / "modes/work.yaml").write_text("id: work\nservices: [any]\n")
    monkeypatch.setenv("GPUMOD_CONFIG", str(folder))
    return folder


def test_good_files_are_said_to_be_good_without_a_daemon(ctl, files):
    checked = ctl("config", "check")
    assert checked.code == 0, checked.err
    assert "no mistakes" in checked.out
    assert ctl("config", "check", "--json").json["ok"] is True


def test_every_mistake_has_file_line_and_key(ctl, files):
    (files / "modes/work.yaml").write_text("id: work\nservices: [any]\nrotues: {}\n")
    (files / "presets/any.yaml").write_text("id: any\nengine: command\ncommand: {cmd: [x]}\nvram: 1\n")
    checked = ctl("config", "check")
    assert checked.code == 1
    assert f"{files}/modes/work.yaml:3: rotues:" in checked.err
    assert f"{files}/presets/any.yaml:4: vram:" in checked.err
    answer = ctl("config", "check", "--json").json
    assert answer["code"] == "config_invalid"
    assert {(one["line"], one["key"]) for one in answer["problems"]} >= {(3, "rotues"), (4, "vram")}


def test_settings_and_files_are_judged_in_one_answer(ctl, files, box):
    (files / "config.yaml").write_text("boott: last\n")
    (files / "modes/work.yaml").write_text("id: work\nservices: [any]\nrotues: {}\n")
    checked = ctl("config", "check")
    assert "config.yaml:1: boott" in checked.err
    assert "modes/work.yaml:3: rotues" in checked.err
    assert "The box is" not in checked.err  # the daemon has no part in it


def test_no_folder_is_told_as_that(ctl, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr("gpumod.core.paths.SYSTEM_CONFIG", str(tmp_path / "etc"))
    assert "no such folder yet" in ctl("config", "check").out


def test_mode_set_changes_a_service_in_the_file_and_nothing_else(ctl, files, box):
    (files / "presets/other.yaml").write_text(
        (files / "presets/any.yaml").read_text().replace("id: any", "id: other")
    )
    (files / "modes/work.yaml").write_text("id: work  # evenings\nservices: [any]\n")
    done = ctl("mode", "set", "work", "any", "other")
    assert done.code == 0, done.err
    assert "gpumodctl switch work" in done.out
    assert "other" in (files / "modes/work.yaml").read_text()
    assert "# evenings" in (files / "modes/work.yaml").read_text()
    assert box.box.begun == 0
    assert ctl("mode", "set", "work", "any", "nosuch").code == 5
    assert ctl("mode", "set", "nosuch", "any", "other").code == 5


def test_mode_set_replaces_a_preset_by_another(ctl, files, box):
    (files / "presets/other.yaml").write_text(
        (files / "presets/any.yaml").read_text().replace("id: any", "id: other")
    )
    (files / "modes/work.yaml").write_text("id: work  # evenings\nservices: [any]\n")
    done = ctl("mode", "set", "work", "--replace", "any=other")
    assert done.code == 0, done.err
    assert "any runs from other" in done.out
    text = (files / "modes/work.yaml").read_text()
    assert text == "id: work  # evenings\nservices: [{id: any, preset: other}]\n"
    assert ctl("mode", "set", "work", "--replace", "any=other").code == 5
    for wrong in (
        ("--replace", "any"),
        ("--replace", "=x"),
        ("any", "x", "--replace", "any=other"),
        ("any",),
        (),
    ):
        assert ctl("mode", "set", "work", *wrong).code == 2


def test_mode_set_works_without_a_daemon(ctl, files, monkeypatch, tmp_path):
    monkeypatch.setenv("GPUMOD_SOCKET", str(tmp_path / "none"))
    answer = ctl("mode", "set", "work", "second", "any", "--json").json
    assert answer["reloaded"] is False
    assert "second" in (files / "modes/work.yaml").read_text()


def test_bad_settings_are_mistakes_too(ctl, files):
    (files / "config.yaml").write_text("boot: [1\n")
    assert ctl("config", "check").code == 1
    (files / "config.yaml").write_text("boott: last\n")
    checked = ctl("config", "check", "--config", files)
    assert checked.code == 1
    assert "config.yaml:1: boott" in checked.err


def test_schemas_are_printed_without_a_daemon(ctl):
    assert {"preset", "mode", "config"} <= ctl("config", "schema").json.keys()
    assert "properties" in ctl("config", "schema", "mode").json
    assert ctl("config", "schema", "nonsense").code == 5


def test_reload_tells_what_is_wrong_now(ctl, quiet_box):
    reloaded = ctl("config", "reload")
    assert reloaded.code == 1
    assert "presets/typo.yaml:3: contxt" in reloaded.out
    answer = ctl("config", "reload", "--json")
    assert answer.code == 1
    assert answer.json["disabled"]


def test_reload_is_done_where_nothing_is_wrong(ctl, quiet_box, monkeypatch):
    warned = Catalog(problems=(Problem("config.yaml", "restart the daemon for that", warning=True),))
    monkeypatch.setattr(Client, "reload", lambda _: warned)
    assert ctl("config", "reload").code == 0
    mistaken = Catalog(problems=(Problem("config.yaml", "unknown key"),))
    monkeypatch.setattr(Client, "reload", lambda _: mistaken)
    assert ctl("config", "reload").code == 1


def test_names_are_completed(quiet_box, monkeypatch):
    from gpumod.cli import complete

    assert complete.mode_names("c") == ["chat", "code"]
    assert complete.service_names("em") == ["embed"]
    assert complete.preset_and_mode_names("hu") == ["huge", "huge"]
    monkeypatch.setenv("GPUMOD_SOCKET", "/nonexistent")
    assert complete.mode_names("c") == []
