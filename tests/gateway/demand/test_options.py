"""What the files offer, what it takes, and how long it took before."""

from dataclasses import replace

import pytest

from gpumod.core.names import BLANK, ModeId, PresetId, ServiceId, SwitchId
from gpumod.core.service import Desired
from gpumod.core.spec import OnDemand
from gpumod.core.switch import SwitchRecord, SwitchRequest, SwitchState
from gpumod.gateway.demand.learned import StartTimes
from gpumod.gateway.demand.options import brought, options, stops
from gpumod.gateway.demand.values import Goal
from gpumod.testing.switching_catalog import catalog

CHAT, CODE = ModeId("chat"), ModeId("code")
FILES = catalog()


def with_policy(mode: str, policy: OnDemand | None):
    return replace(
        FILES, modes=tuple(replace(one, on_demand=policy) if one.id == mode else one for one in FILES.modes)
    )


def test_every_mode_that_serves_a_model_is_an_option():
    found = options(FILES, "embed", OnDemand.AUTO, OnDemand.ASK)
    assert [(one.mode, one.policy) for one in found] == [(CHAT, OnDemand.ASK), (CODE, OnDemand.ASK)]
    assert found[0].services == {"gemma-chat", "embed"}


def test_a_route_that_several_modes_have_is_an_option_of_each():
    assert [one.mode for one in options(FILES, "default", OnDemand.AUTO, OnDemand.AUTO)] == [CHAT, CODE]


def test_a_modes_own_word_comes_before_the_settings():
    files = with_policy("code", OnDemand.AUTO)
    (only,) = options(files, "qwen-code", OnDemand.AUTO, OnDemand.NEVER)
    assert only.policy is OnDemand.AUTO


def test_what_idleness_left_comes_back_unless_its_file_or_the_key_says_otherwise():
    (only,) = options(FILES, "qwen-code", OnDemand.AUTO, OnDemand.ASK, idled=CODE)
    assert only.policy is OnDemand.AUTO
    (only,) = options(with_policy("code", OnDemand.ASK), "qwen-code", OnDemand.AUTO, OnDemand.ASK, idled=CODE)
    assert only.policy is OnDemand.ASK
    (only,) = options(FILES, "qwen-code", OnDemand.ASK, OnDemand.ASK, idled=CODE)
    assert only.policy is OnDemand.ASK


def test_a_client_decides_where_it_is_asked_and_nowhere_else():
    (only,) = options(FILES, "qwen-code", OnDemand.AUTO, OnDemand.ASK, decided=True)
    assert only.policy is OnDemand.AUTO
    (only,) = options(FILES, "qwen-code", OnDemand.NEVER, OnDemand.ASK, decided=True)
    assert only.policy is OnDemand.NEVER


def test_a_switch_stops_what_its_mode_has_not_or_has_from_another_preset():
    chat = FILES.mode(CHAT)
    assert chat is not None
    running = {spec.id: spec for spec in chat.services}
    assert stops(FILES, running)[CODE] == {"gemma-chat"}
    assert stops(FILES, running)[CHAT] == frozenset()
    assert stops(FILES, running)[BLANK] == {"gemma-chat", "embed"}
    other = {ServiceId("embed"): replace(running[ServiceId("embed")], preset=PresetId("older"))}
    assert stops(FILES, other)[CHAT] == {"embed"}


def switch(seconds: float = 1.0, state: SwitchState = SwitchState.COMMITTED, **wish: object) -> SwitchRecord:
    request = SwitchRequest(**wish)  # type: ignore[arg-type]
    target = request.mode or CHAT
    source = CODE if target == CHAT else CHAT
    return SwitchRecord(SwitchId("S"), request, source, target, state, 100.0, 100.0 + seconds)


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ({"mode": CODE}, {"qwen-code", "default", "embed"}),
        ({"start": ServiceId("broken")}, {"broken"}),
        ({"start": ServiceId("mine"), "preset": PresetId("huge")}, {"mine"}),
        ({"restart": ServiceId("gemma-chat")}, {"gemma-chat", "hermes"}),
        ({"stop": ServiceId("gemma-chat")}, set()),
        ({"exactly": Desired("chat", removed=(ServiceId("gemma-chat"),))}, {"embed"}),
    ],
)
def test_what_a_running_switch_brings(wish, expected):
    asked = ["gemma-chat", "hermes", "qwen-code", "default", "embed", "broken", "huge", "mine"]
    assert brought(FILES, switch(**wish), asked) == expected


# --- how long it takes --------------------------------------------------------------------------------


def test_the_median_of_the_latest_switches_is_told():
    times = StartTimes()
    times.learn(switch(seconds, mode=CODE) for seconds in (500.0, 10.0, 90.0, 20.0, 30.0, 25.0))
    assert times.seconds(Goal(CODE), FILES) == 25.0


def test_a_failed_switch_teaches_nothing():
    times = StartTimes()
    times.learn(
        [switch(1.0, SwitchState.ROLLED_BACK, mode=CODE), replace(switch(2.0, mode=CODE), ended=None)]
    )
    assert times.seconds(Goal(CODE), FILES) == 150.0


def test_a_service_that_idled_has_its_own_time():
    times = StartTimes()
    times.learn([switch(7.0, start=ServiceId("embed"))])
    assert times.seconds(Goal(service=ServiceId("embed")), FILES) == 7.0


def test_something_is_told_where_nothing_is_known():
    assert StartTimes().seconds(None, FILES) == 30.0
    assert StartTimes().seconds(Goal(BLANK), FILES) == 30.0
