"""Commands that change the box: what they say, and what they exit with."""

import pytest

from gpumod.core.switch import SwitchState


def test_a_switch_says_what_happened(ctl, box):
    done = ctl("switch", "chat")
    assert done.code == 0
    assert done.out.startswith("in mode chat after ")
    assert "start gemma-chat - done" in done.err
    assert ctl("status").out.count("ready") == 2


def test_progress_names_every_step_once(ctl, slow_box, monkeypatch):
    monkeypatch.setattr("gpumod.cli.progress._BRIEF", 60.0)
    err = ctl("switch", "chat").err
    assert err.count("start embed - done") == 1
    assert "running" not in err  # no step took so long that its beginning is news
    assert err.index("start embed - done") < err.index("commit - done")


def test_a_switch_to_the_present_mode_does_nothing_and_says_so(ctl, box):
    box.switch("chat")
    again = ctl("switch", "chat")
    assert again.code == 0
    assert again.out.count("nothing to do") == 1


@pytest.mark.parametrize("command", [("switch", "huge"), ("switch", "huge", "--dry-run")])
def test_a_refusal_gives_every_number(ctl, box, command):
    refused = ctl(*command)
    assert refused.code == 3
    assert refused.out == ""
    for part in ("huge needs 40.0 GiB", "GPU-00000000..000b has 23.5 GiB left", "would fit: a smaller"):
        assert part in refused.err
    assert refused.err.count("40.0 GiB") == 1
    assert box.box.begun == 0


def test_a_refusal_as_json_is_one_problem_document(ctl, box):
    refused = ctl("switch", "huge", "--json")
    assert refused.code == 3
    assert refused.err == ""
    assert refused.json["code"] == "refused"
    assert refused.json["status"] == 409
    assert refused.json["reasons"][0]["need"] == 40 * 2**30


def test_who_holds_the_memory_is_named_in_a_refusal(ctl, box):
    box.switch("chat")
    assert ctl("service", "start", "qwen-code").code == 0  # on the second card, so that both are taken
    refused = ctl("service", "start", "twin", "--preset", "qwen-code")
    assert refused.code == 3
    assert "held by gemma-chat (14.0 GiB), firefox 1234 of ada (1024 MiB)" in refused.err


def test_a_lease_refuses_and_force_goes_past_it(ctl, box):
    box.switch("chat")
    ctl("lease", "take", "--for", "10m", "--holder", "nightly")
    refused = ctl("switch", "blank")
    assert refused.code == 3
    assert "nightly holds gemma-chat" in refused.err
    assert ctl("switch", "blank", "--force").code == 0


def test_a_switch_that_was_rolled_back_is_no_success(ctl, box):
    box.switch("chat")
    failed = ctl("switch", "broken")
    assert failed.code == 1
    assert failed.out == ""
    assert "was rolled back" in failed.err
    assert "broken exited with code 1 while loading" in failed.err
    assert "The box was left: chat, restored" in failed.err
    assert "The box is now settled in mode chat" in failed.err


def test_a_switch_that_was_rolled_back_as_json(ctl, box):
    failed = ctl("switch", "broken", "--json")
    assert failed.code == 1
    assert failed.err == ""
    assert failed.json["code"] == "start_failed"
    assert failed.json["switch"]["state"] == "rolled_back"
    assert failed.json["box"]["mode"] == "blank"


def test_on_failure_reaches_the_daemon(ctl, box):
    box.switch("chat")
    assert ctl("switch", "broken", "--on-failure", "blank").code == 1
    assert ctl("status", "--json").json["mode"] == "blank"


def test_a_mode_that_is_not_there(ctl, box):
    missing = ctl("switch", "nowhere")
    assert missing.code == 5
    assert "nowhere" in missing.err
    assert ctl("switch", "nowhere", "--json").json["code"] == "not_found"


def test_no_wait_only_says_that_it_has_begun(ctl, held_box):
    begun = ctl("switch", "chat", "--no-wait")
    assert begun.code == 0
    assert begun.out == "switch S1 begun: switch to chat\n"
    assert "joined" in ctl("switch", "chat", "--no-wait").out
    held_box.go_on()
    assert held_box.run(held_box.box.wait("S1")).state is SwitchState.COMMITTED


def test_timeout_stops_the_waiting_and_not_the_switch(ctl, held_box):
    late = ctl("switch", "chat", "--timeout", "100ms")
    assert late.code == 6
    assert "S1" in late.err
    assert "goes on" in late.err
    held_box.go_on()
    assert held_box.run(held_box.box.wait("S1")).state is SwitchState.COMMITTED


def test_timeout_as_json_carries_the_switch(ctl, held_box):
    late = ctl("switch", "chat", "--timeout", "0.1", "--json")
    assert late.code == 6
    assert late.json["code"] == "timed_out"
    assert late.json["switch"]["id"] == "S1"
    assert late.json["switch"]["state"] == "running"


def test_another_switch_is_in_the_way(ctl, held_box):
    ctl("switch", "chat", "--no-wait")
    refused = ctl("switch", "code")
    assert refused.code == 3
    assert "switches show S1" in refused.err
    assert ctl("switch", "code", "--json").json["switch"] == "S1"


def test_a_cancelled_switch_is_a_failure_for_who_waits(ctl, held_box, before):
    def cancelled():
        held_box.run(held_box.box.cancel("S1", "ada"))
        held_box.go_on()

    before("switch_record", cancelled)
    waited = ctl("switch", "chat")
    assert waited.code == 1
    assert "cancelled by ada" in waited.err


def test_cancel_waits_until_the_switch_is_undone(ctl, held_box, before):
    ctl("switch", "chat", "--no-wait")
    before("switch_record", held_box.go_on)
    assert ctl("switches", "cancel", "S1").code == 0
    assert ctl("switches", "show", "S1", "--json").json["state"] in {"rolled_back", "failed"}
    assert ctl("status", "--json").json["mode"] == "blank"


def test_a_daemon_that_goes_away_during_a_switch(ctl, held_box, before, monkeypatch):
    monkeypatch.setattr("gpumod.cli.progress._LOST", 0.1)
    before("switch_record", held_box.end)
    lost = ctl("switch", "chat")
    assert lost.code == 4
    assert "switch S1" in lost.err


def test_timeout_holds_while_the_daemon_is_away(ctl, held_box, before):
    before("switch_record", held_box.end)
    late = ctl("switch", "chat", "--timeout", "0.6s")
    assert late.code == 6


def test_who_gives_up_before_the_answer_is_told_to_look(ctl, box, monkeypatch):
    box.box.faults.hang.add("begin")
    monkeypatch.setattr("gpumod.client.calls.PLANNING", 0.2)
    late = ctl("switch", "chat")
    assert late.code == 6
    assert "tells whether the switch has begun" in late.err


def test_dry_run_shows_the_plan_and_changes_nothing(ctl, box):
    box.switch("chat")
    shown = ctl("switch", "code", "--dry-run")
    assert shown.code == 0
    for part in ("keep", "stop      gemma-chat", "start     qwen-code", "port 1", "14.0 GiB -> 18.0 GiB"):
        assert part in shown.out
    assert ctl("switch", "code", "--dry-run", "--json").json["plan"]["starts"] == ["qwen-code"]
    assert ctl("status", "--json").json["mode"] == "chat"


def test_services_start_stop_and_restart(ctl, box):
    box.switch("chat")
    assert ctl("service", "stop", "embed").code == 0
    assert ctl("service", "show", "embed", "--json").json["state"] == "stopped"
    assert ctl("service", "start", "second", "--preset", "embed").code == 0
    assert ctl("service", "restart", "gemma-chat", "--json").json["state"] == "committed"
    assert ctl("service", "start", "broken").code == 1
    assert ctl("service", "start", "huge").code == 3
    assert ctl("service", "stop", "nobody").code == 5


def test_switches_are_listed_and_shown(ctl, box):
    assert "no switch yet" in ctl("switches", "list").out
    box.switch("chat")
    ctl("service", "stop", "embed")
    listed = ctl("switches", "list").out
    assert "switch to chat" in listed
    assert "blank -> chat" in listed
    assert "stop embed" in listed
    assert "left:" not in listed  # they are where they should be
    assert "start gemma-chat" in ctl("switches", "show", "S1").out
    assert ctl("switches", "show", "S99").code == 5


def test_an_ended_switch_is_not_cancelled_again(ctl, quiet_box):
    cancelled = ctl("switches", "cancel", "S1")
    assert (cancelled.code, cancelled.err) == (0, "")
    assert cancelled.out == "switch S1 has ended: committed; nothing to cancel\n"
    assert ctl("switches", "cancel", "S1", "--json").json["state"] == "committed"
