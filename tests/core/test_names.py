"""Names are plain strings at run time: they go into JSON, SQL and paths as they are."""

import json

from gpumod.core.names import BLANK, HOST_CARD, CardId, LeaseId, ModeId, PresetId, ServiceId, SwitchId
from gpumod.core.spec import BLANK_MODE, Catalog


def test_every_name_is_a_string():
    names = [one("x") for one in (CardId, ServiceId, PresetId, ModeId, SwitchId, LeaseId)]
    assert all(type(name) is str for name in names)
    assert json.dumps(names) == json.dumps(["x"] * 6)


def test_the_two_names_that_are_built_in():
    assert (HOST_CARD, BLANK) == ("host", "blank")
    assert Catalog().mode(BLANK) is BLANK_MODE
    assert BLANK_MODE.services == ()
