"""What the daemon says where a name is mistyped."""

import pytest

from gpumod.core.errors import NotFoundError
from gpumod.core.units import GIB
from gpumod.testing.box import mode, service

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
