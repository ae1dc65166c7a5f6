"""A mode with what is added to it and removed from it, asked for as a whole."""

import pytest

from gpumod.core.errors import InvalidRequestError
from gpumod.core.names import BLANK, ModeId, ServiceId
from gpumod.core.plan import Refused, Target
from gpumod.core.service import Desired
from gpumod.core.spec import Catalog, OnFailure
from gpumod.core.switch import SwitchRequest
from gpumod.planner.target import resolve_target
from gpumod.testing.box import mode, service

GEMMA, EMBED, QWEN = service("gemma"), service("embed"), service("qwen")
CATALOG = Catalog(presets=(GEMMA, EMBED, QWEN), modes=(mode("chat", GEMMA, EMBED),))


def resolve(desired, **fields):
    return resolve_target(CATALOG, Desired("chat"), SwitchRequest(exactly=desired, **fields))


def names(target):
    return {spec.id for spec in target.services}


def test_one_preset_alone_is_blank_with_it_added():
    target = resolve(Desired(BLANK, added=(QWEN,)), on_failure=OnFailure.RESTORE)
    assert isinstance(target, Target)
    assert (target.mode, names(target), target.added) == (BLANK, {"qwen"}, (QWEN,))
    assert target.on_failure is OnFailure.RESTORE


def test_a_mode_comes_back_with_its_overrides():
    desired = Desired("chat", added=(QWEN,), removed=(ServiceId("embed"),), since=5.0)
    target = resolve(desired)
    assert names(target) == {"gemma", "qwen"}
    assert desired.same(Desired(target.mode, target.added, target.removed))
    assert SwitchRequest(exactly=desired).phrase == "switch to chat with qwen without embed"


def test_a_mode_that_is_gone_is_refused():
    assert isinstance(resolve(Desired("gone")), Refused)


def test_it_goes_with_no_other_wish():
    with pytest.raises(InvalidRequestError):
        resolve(Desired("chat"), mode=ModeId("chat"))


@pytest.mark.parametrize(
    "other",
    [
        Desired("code"),
        Desired("chat", added=(QWEN,)),
        Desired("chat", removed=(ServiceId("embed"),)),
    ],
)
def test_other_services_are_another_state(other):
    assert not Desired("chat").same(other)
    assert Desired("chat", since=1.0).same(Desired("chat", since=2.0))
