"""Which service a name means."""

from gpumod.core.names import ModeId, PresetId, ServiceId
from gpumod.core.spec import BLANK_MODE, Catalog, EngineKind, Mode, RequestShape, ServiceSpec
from gpumod.gateway.naming import answering, names, offers, shape_of


def spec(name, *aliases, served=None, shape=None):
    return ServiceSpec(
        ServiceId(name), PresetId(name), EngineKind.LLAMA_CPP, aliases=aliases, served_name=served,
        requests=shape or RequestShape(),
    )  # fmt: skip


A, B = spec("a", "both", served="org/A"), spec("b", "both", "own")
DAY = Mode(ModeId("day"), services=(A, B), routes=(("default", B.id), ("fast", A.id), ("own", A.id)))
NIGHT = Mode(ModeId("night"), services=(spec("c", "own"),))
CATALOG = Catalog(modes=(BLANK_MODE, DAY, NIGHT))


def told(mode, name):
    return [str(one.id) for one in answering(mode, name)]


def test_ids_and_served_names_come_before_routes_and_those_before_aliases():
    assert (told(DAY, "a"), told(DAY, "org/A"), told(DAY, "fast")) == (["a"], ["a"], ["a"])
    assert told(DAY, "own") == ["a", "b"]
    assert told(DAY, "both") == ["a", "b"]
    assert told(DAY, "nobody") == []


def test_a_request_without_a_name_is_for_the_default_or_the_only_service():
    assert (told(DAY, ""), told(NIGHT, ""), told(BLANK_MODE, "")) == (["b"], ["c"], [])
    assert told(NIGHT, "default") == []


def test_offers_come_from_every_mode():
    assert [(one.mode, one.spec.id) for one in offers(CATALOG, "own")] == [
        ("day", "a"),
        ("day", "b"),
        ("night", "c"),
    ]


def test_every_name_is_listed_once():
    assert [(name, str(one.id)) for name, one in names(DAY)] == [
        ("a", "a"), ("org/A", "a"), ("b", "b"), ("default", "b"), ("fast", "a"), ("own", "a"), ("both", "a"),
    ]  # fmt: skip


def test_a_routes_changes_come_before_the_services():
    own = RequestShape(set=(("n", "1"), ("m", "1")), strip=("x",))
    routed = RequestShape(set=(("n", "2"),), strip=("y", "x"))
    mode = Mode(
        ModeId("m"), services=(s := spec("s", shape=own), t := spec("t")),
        routes=(("fast", s.id),), shapes=(("fast", routed),),
    )  # fmt: skip
    assert shape_of(mode, s, "s") == own
    assert shape_of(mode, t, "fast") == RequestShape()
    assert shape_of(None, s, "fast") == own
    merged = shape_of(mode, s, "fast")
    assert (dict(merged.set), merged.strip) == ({"n": "2", "m": "1"}, ("x", "y"))
