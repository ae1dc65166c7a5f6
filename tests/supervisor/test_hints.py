"""What the daemon says where a name is mistyped, or a log says nothing."""

import pytest

from gpumod.core.errors import NotFoundError
from gpumod.core.names import ServiceId
from gpumod.core.units import GIB
from gpumod.testing.box import mode, service
from gpumod.testing.runner import Script

THINKER = mode("thinker", service("agent", 2 * GIB))


async def test_what_is_nearly_a_mode_or_preset_is_suggested(make_box):
    box = await make_box(THINKER, cards=1)
    for typo, meant in (("thnker", "thinker"), ("agnt", "agent")):
        with pytest.raises(NotFoundError, match=f"neither a mode nor a preset; did you mean {meant}"):
            await box.supervisor.preflight(typo)


async def test_where_nothing_is_near_all_are_named(make_box):
    box = await make_box(THINKER, cards=1)
    with pytest.raises(NotFoundError, match="there are: agent, blank, thinker"):
        await box.supervisor.preflight("xyz")


@pytest.mark.parametrize(
    ("log", "told"),
    [((), "it wrote nothing to its log"), (("loading",), "its log does not say why")],
    ids=["silent", "talkative"],
)
async def test_a_program_that_dies_without_a_reason(make_box, monkeypatch, log, told):
    box = await make_box(THINKER, cards=1)
    agent = ServiceId("agent")
    box.processes.script(agent, Script(exits=1))
    box.engine.of(agent).why = ""
    monkeypatch.setattr("gpumod.supervisor.launcher.last_attempt", lambda *_: log)
    record = await box.switch("thinker")
    assert f"before it was ready: {told}" in record.reason
