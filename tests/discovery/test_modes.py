"""What the first mode is made of."""

from gpumod.core.footprint import Footprint, Source
from gpumod.core.names import PresetId, ServiceId
from gpumod.core.spec import EngineKind, LlamaOptions, ServiceSpec, Task
from gpumod.core.units import GIB
from gpumod.discovery.modes import Member, first_mode, mode_id
from tests.discovery.made import BIG, SMALL, box


def member(name, size, *cards, task=Task.CHAT, host=GIB, **keys):
    spec = ServiceSpec(
        ServiceId(name), PresetId(name), EngineKind.LLAMA_CPP, task=task, **{"context": 32768, **keys}
    )
    return Member(spec, Footprint(tuple(card * GIB for card in cards), Source.ESTIMATED, resident=host), size)


def chosen(place, *members):
    return [str(one.spec.id) for one in first_mode(members, place)]


def test_the_largest_model_and_what_fits_beside_it():
    found = (
        member("small", 4, 6),
        member("large", 16, 20),
        member("embed", 1, 2, task=Task.EMBEDDING),
        member("embed-large", 2, 3, task=Task.EMBEDDING),
        member("rerank", 1, 2, task=Task.RERANK),
    )
    assert chosen(box((BIG, 23 * GIB)), *found) == ["large", "embed"]
    assert chosen(box((BIG, 23 * GIB), (SMALL, 11 * GIB)), *found) == ["large", "embed", "rerank"]


def test_what_does_not_fit_is_not_in_it():
    assert chosen(box((BIG, 23 * GIB)), member("two", 40, 20, 20), member("one", 4, 6)) == ["one"]
    assert chosen(
        box((BIG, 23 * GIB), host=2 * GIB), member("heavy", 40, 9, host=4 * GIB), member("one", 4, 6)
    ) == ["one"]
    assert chosen(box((BIG, 23 * GIB)), member("two", 40, 30)) == []


def test_a_model_that_runs_on_the_cards_alone_comes_first():
    slow = member("slow", 60, 20, llama=LlamaOptions(cpu_moe_layers=30))
    cramped = member("cramped", 40, 20, context=2048)
    assert chosen(box((BIG, 23 * GIB)), slow, cramped, member("good", 16, 20)) == ["good"]
    assert chosen(box((BIG, 23 * GIB)), slow, cramped) == ["cramped"]
    assert chosen(box((BIG, 23 * GIB)), slow) == ["slow"]


def test_embedding_alone_is_a_mode_too():
    assert chosen(box((BIG, 23 * GIB)), member("embed", 1, 2, task=Task.EMBEDDING)) == ["embed"]


def test_an_id_that_nobody_has():
    assert mode_id(()) == "main"
    assert mode_id(("main", "main-2")) == "main-3"
