"""From wishes to targets: modes, and single services as overrides on the present mode."""

from dataclasses import replace

import pytest

from gpumod.core.errors import InvalidRequestError, NotFoundError
from gpumod.core.names import BLANK, ModeId
from gpumod.core.plan import Refused, Target
from gpumod.core.service import Desired
from gpumod.core.spec import BLANK_MODE, Catalog, Mode, OnFailure
from gpumod.core.states import ServiceState
from gpumod.core.switch import SwitchRequest
from gpumod.planner.target import desired_target, resolve_target
from tests.planner.boxes import running, spec

CHAT, EMBED, CODER, EXTRA = spec("chat"), spec("embed"), spec("coder"), spec("extra")
CATALOG = Catalog(
    presets=(CHAT, EMBED, CODER, EXTRA),
    modes=(
        BLANK_MODE,
        Mode(ModeId("daily"), services=(CHAT, EMBED), on_failure=OnFailure.BLANK),
        Mode(ModeId("code"), services=(CODER,)),
    ),
    disabled=(("broken", "broken.yaml:3: unknown key 'modle'"), ("big", "it names broken")),
)
DAILY = Desired("daily")


def up(*specs, state=ServiceState.READY):
    return [running(one, ["GPU-0"], 1, state=state).record for one in specs]


def ask(desired=DAILY, records=None, **wish):
    return resolve_target(CATALOG, desired, SwitchRequest(**wish), records)


def names(target):
    assert isinstance(target, Target), target
    return [one.id for one in target.services]


def overrides(target):
    return [one.id for one in target.added], list(target.removed)


# --- modes --------------------------------------------------------------------------------------


def test_a_mode_is_its_services_and_its_way_to_fail():
    target = ask(mode="daily", force=True)
    assert (target.mode, names(target)) == ("daily", ["chat", "embed"])
    assert (target.on_failure, target.force) == (OnFailure.BLANK, True)


def test_a_request_may_say_otherwise_what_a_failure_leaves():
    assert ask(mode="daily", on_failure=OnFailure.KEEP).on_failure is OnFailure.KEEP


def test_blank_stops_everything_that_was_started_by_hand_too():
    target = ask(Desired("daily", added=(EXTRA,)), up(CHAT, EMBED, EXTRA), mode=BLANK)
    assert (target.mode, target.services, target.added) == (BLANK, (), ())


def test_blank_is_there_without_a_file():
    assert names(resolve_target(Catalog(modes=()), None, SwitchRequest(mode=BLANK))) == []


def test_switching_to_the_present_mode_drops_what_was_changed_by_hand():
    target = ask(Desired("daily", added=(EXTRA,), removed=(EMBED.id,)), up(CHAT, EXTRA), mode="daily")
    assert names(target) == ["chat", "embed"]
    assert overrides(target) == ([], [])


def test_a_mode_that_is_not_there_and_what_may_have_been_meant():
    with pytest.raises(NotFoundError, match=r"no mode is called dayly; did you mean daily\?"):
        ask(mode="dayly")
    with pytest.raises(NotFoundError, match="there are: blank, code, daily"):
        ask(mode="zzz")


def test_a_disabled_mode_is_refused_with_its_reason():
    answer = ask(mode="big")
    assert isinstance(answer, Refused)
    assert [one.code for one in answer.reasons] == ["disabled"]
    assert "it names broken" in answer.reasons[0].detail


@pytest.mark.parametrize("wish", [{}, {"mode": "code", "start": "chat"}, {"stop": "chat", "preset": "chat"}])
def test_a_request_has_exactly_one_wish(wish):
    with pytest.raises(InvalidRequestError):
        ask(**wish)


# --- starting -----------------------------------------------------------------------------------


def test_starting_a_preset_adds_it_to_the_mode():
    target = ask(start="extra", records=up(CHAT, EMBED))
    assert names(target) == ["chat", "embed", "extra"]
    assert overrides(target) == (["extra"], [])
    assert target.on_failure is OnFailure.RESTORE, "one service that fails does not blank the box"


def test_starting_a_service_from_another_preset():
    target = ask(start="second", preset="coder", records=up(CHAT, EMBED))
    (added,) = target.added
    assert (added.id, added.preset) == ("second", "coder")


def test_starting_a_member_from_another_preset_overrides_it():
    target = ask(start="chat", preset="coder", records=up(CHAT, EMBED))
    assert [(one.id, one.preset) for one in target.services] == [("chat", "coder"), ("embed", "embed")]
    assert overrides(target) == (["chat"], [])


def test_starting_a_member_that_was_stopped_by_hand_takes_that_back():
    target = ask(Desired("daily", removed=(EMBED.id,)), up(CHAT), start="embed")
    assert names(target) == ["chat", "embed"]
    assert overrides(target) == ([], [])


def test_starting_what_runs_leaves_it_as_it_runs():
    """Its file has changed since: nobody asked for a restart."""
    older = replace(CHAT, context=1)
    target = ask(start="chat", records=up(older, EMBED))
    assert older in target.services
    assert overrides(target) == ([], [])


def test_starting_one_leaves_others_as_they_are():
    """One that failed stays down, and one whose file has changed is not touched."""
    older = replace(CHAT, context=1)
    records = [*up(older), *up(EMBED, state=ServiceState.FAILED)]
    target = ask(start="extra", records=records)
    assert names(target) == ["chat", "extra"]
    assert older in target.services
    assert overrides(target) == (["extra"], []), "embed is still a member, and the box degraded"


def test_starting_one_brings_up_what_it_depends_on():
    needy = spec("needy", needs=("embed",))
    catalog = replace(CATALOG, presets=(*CATALOG.presets, needy))
    records = [*up(CHAT), *up(EMBED, state=ServiceState.FAILED)]
    target = resolve_target(catalog, DAILY, SwitchRequest(start=needy.id), records)
    assert names(target) == ["chat", "embed", "needy"]


def test_without_records_all_that_is_desired_is_taken_to_run():
    target = ask(Desired("daily", added=(EXTRA,), removed=(EMBED.id,)), start="coder")
    assert names(target) == ["chat", "coder", "extra"]
    assert overrides(target) == (["coder", "extra"], ["embed"])


def test_a_service_that_failed_and_whose_preset_is_gone_starts_as_it_was():
    lost = spec("lost")
    target = ask(start="lost", records=up(lost, state=ServiceState.FAILED))
    assert lost in target.services


def test_a_preset_that_is_not_there():
    with pytest.raises(NotFoundError, match=r"no preset is called extr; did you mean extra\?"):
        ask(start="extr", records=[])
    with pytest.raises(NotFoundError, match="no preset is called nix"):
        ask(start="chat", preset="nix", records=[])


def test_a_disabled_preset_is_refused_with_its_mistake():
    answer = ask(start="broken", records=up(CHAT))
    assert isinstance(answer, Refused)
    assert "unknown key 'modle'" in answer.reasons[0].detail


# --- stopping -----------------------------------------------------------------------------------


def test_stopping_a_member_is_remembered():
    target = ask(stop="embed", records=up(CHAT, EMBED))
    assert names(target) == ["chat"]
    assert overrides(target) == ([], ["embed"])


def test_stopping_what_was_started_by_hand_forgets_it():
    target = ask(Desired("daily", added=(EXTRA,)), up(CHAT, EMBED, EXTRA), stop="extra")
    assert names(target) == ["chat", "embed"]
    assert overrides(target) == ([], [])


def test_stopping_what_does_not_run_changes_nothing_that_runs():
    target = ask(stop="coder", records=up(CHAT, EMBED))
    assert names(target) == ["chat", "embed"]
    assert overrides(target) == ([], [])


def test_stopping_what_nobody_knows():
    with pytest.raises(NotFoundError, match=r"did you mean embed\?"):
        ask(stop="embd", records=up(CHAT, EMBED))


# --- restarting ---------------------------------------------------------------------------------


def test_a_restart_takes_the_files_as_they_are_now():
    older = replace(CHAT, context=1)
    target = ask(restart="chat", records=up(older, EMBED))
    assert target.restart == ("chat",)
    assert CHAT in target.services


def test_a_restart_of_what_was_started_by_hand_keeps_its_preset():
    second = replace(CODER, id="second")
    target = ask(Desired("daily", added=(second,)), up(CHAT, EMBED, second), restart="second")
    assert (target.added, target.restart) == ((second,), ("second",))


def test_a_restart_of_a_member_that_failed_starts_it():
    records = [*up(CHAT), *up(EMBED, state=ServiceState.FAILED)]
    target = ask(restart="embed", records=records)
    assert (names(target), target.restart) == (["chat", "embed"], ())


def test_a_restart_of_what_never_ran():
    with pytest.raises(NotFoundError, match="no running service is called coder"):
        ask(restart="coder", records=up(CHAT))


# --- a mode whose file is gone ------------------------------------------------------------------


def test_where_the_mode_is_gone_what_runs_stays():
    gone = Desired("old", added=(EXTRA,))
    target = ask(gone, up(CHAT, EXTRA), start="coder")
    assert (target.mode, names(target)) == ("old", ["chat", "coder", "extra"])
    assert overrides(target) == (["coder", "extra"], [])
    target = ask(gone, up(CHAT, EXTRA), stop="chat")
    assert (names(target), overrides(target)) == (["extra"], (["extra"], ["chat"]))


# --- what a restarted daemon goes back to -------------------------------------------------------


def test_the_desired_state_is_the_mode_with_what_was_changed_by_hand():
    target = desired_target(CATALOG, Desired("daily", added=(EXTRA,), removed=(EMBED.id,)))
    assert names(target) == ["chat", "extra"]
    assert overrides(target) == (["extra"], ["embed"])
    assert isinstance(target, Target)
    assert target.on_failure is OnFailure.BLANK


def test_a_new_box_goes_back_to_blank():
    assert names(desired_target(CATALOG, None)) == []


@pytest.mark.parametrize(("mode", "code"), [("old", "unknown_mode"), ("big", "disabled")])
def test_a_mode_that_cannot_be_gone_back_to(mode, code):
    answer = desired_target(CATALOG, Desired(mode))
    assert isinstance(answer, Refused)
    assert [one.code for one in answer.reasons] == [code]
