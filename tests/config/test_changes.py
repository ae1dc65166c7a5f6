"""What a reload changes."""

from dataclasses import replace

from gpumod.config import changes
from gpumod.core.names import ModeId, PresetId, ServiceId
from gpumod.core.spec import BLANK_MODE, Catalog, EngineKind, Mode, ServiceSpec


def preset(name, **fields):
    return ServiceSpec(id=ServiceId(name), preset=PresetId(name), engine=EngineKind.VLLM, model="m", **fields)


def mode(name, *services):
    return Mode(id=ModeId(name), services=services)


OLD = Catalog(
    presets=(preset("a"), preset("b")), modes=(BLANK_MODE, mode("m", preset("a")), mode("n", preset("b")))
)


def test_the_same_files_change_nothing():
    assert not changes(OLD, replace(OLD, problems=()))


def test_what_came_went_and_changed():
    other = preset("b", context=5)
    found = changes(OLD, Catalog((other, preset("c")), (BLANK_MODE, mode("n", other), mode("o"))))
    assert (found.presets.added, found.presets.removed, found.presets.changed) == (("c",), ("a",), ("b",))
    assert (found.modes.added, found.modes.removed, found.modes.changed) == (("o",), ("m",), ("n",))
    assert found
