"""Mode files, and the presets they name."""
# ruff: noqa: E501 - tables of cases

import pytest

from gpumod.core.names import ModeId, PresetId
from gpumod.core.spec import (
    BLANK_MODE,
    CardRequest,
    Idle,
    IdleAction,
    OnDemand,
    OnFailure,
    RequestShape,
)

PRESETS = ("a", "b", "c")


@pytest.fixture
def box(folder):
    """Three sound presets."""
    for name in PRESETS:
        folder.preset(
            name,
            f"id: {name}\nengine: llama.cpp\nmodel: /m/{name}.gguf\naliases: [{name}-alias]\nllama: {{batch: 64, ubatch: 8}}\n",
        )
    return folder


def mode(folder, name="m"):
    catalog = folder.catalog()
    assert catalog.problems == ()
    found = catalog.mode(ModeId(name))
    assert found is not None
    return found


def test_blank_is_always_there(folder):
    assert folder.catalog().modes == (BLANK_MODE,)


def test_a_mode_with_services_routes_and_a_policy(box):
    box.mode(
        "m",
        """id: m
description: Two of them
services:
  - a
  - {id: b-2, preset: b, cards: [1], aliases: [other]}
routes: {default: a, fast: b-2, a-alias: a}
on_failure: blank
""",
    )
    found = mode(box)
    first, second = found.services
    assert (first.id, first.preset, first.cards) == ("a", "a", CardRequest())
    assert (second.id, second.preset, second.model) == ("b-2", "b", "/m/b.gguf")
    assert (second.cards, second.aliases) == (CardRequest(1, ("1",)), ("other",))
    assert found.routes == (("default", "a"), ("fast", "b-2"), ("a-alias", "a"))
    assert (found.description, found.on_failure) == ("Two of them", OnFailure.BLANK)


def test_overrides_are_laid_over_the_preset(box):
    box.mode("m", "id: m\nservices:\n- {id: a, llama: {ubatch: 4}, aliases: null, context: 5, args: [-x]}\n")
    (service,) = mode(box).services
    assert (service.llama.batch, service.llama.ubatch) == (64, 4)
    assert (service.aliases, service.context, service.args) == ((), 5, ("-x",))
    assert box.catalog().preset(PresetId("a")).aliases == ("a-alias",)


def test_an_override_inside_a_block_needs_not_repeat_what_the_preset_says(folder):
    folder.preset("c", "id: c\nengine: container\ncontainer: {image: x, port: 80}\n")
    folder.mode("m", "id: m\nservices: [{id: c, container: {port: 81}}]\n")
    (service,) = mode(folder).services
    assert (service.container.image, service.container.port) == ("x", 81)


@pytest.mark.parametrize(
    ("text", "line", "key", "words", "suggestion"),
    [
        ("services: [nope]", 2, "services.0", "there is no preset nope", ""),
        ("services:\n- a\n- {id: x, preset: aa}", 4, "services.1.preset", "no preset aa", "did you mean 'a'?"),
        ("services:\n- a\n- a", 4, "services.1", "has a service a already", None),
        ("services:\n- a\n- {id: a, preset: b}", 4, "services.1.id", "has a service a already", None),
        ("services:\n- a\n- {id: b, served_name: a}", 4, "services.1", "both answer to the name a", None),
        ("services: [{id: a, contxt: 1}]", 2, "services.0.contxt", "unknown key", "did you mean 'context'?"),
        ("services: [{id: a, engine: vllm}]", 2, "services.0.engine", "unknown key 'engine'", ""),
        ("services: [{id: a, context: x}]", 2, "services.0.context", "must be a whole number", ""),
        ("services:\n- id: a\n  vllm: {dtype: x}", 4, "services.0.vllm", "is a key of vllm", ""),
        ("services: [{id: a, vram: [1GiB, 2GiB]}]", 2, "services.0.vram", "2 sizes for 1 card", ""),
        ("services: [{id: a, model: null}]", 2, "services.0.model", "'model' is required", ""),
        ("services: [{preset: a}]", 2, "services.0.id", "'id' is required", ""),
        ("services: [5]", 2, "services.0", "must be a mapping", ""),
        ("services: a", 2, "services", "must be a list", ""),
        ("description: x", 1, "services", "'services' is required", ""),
        ("services: [a]\nroutes: {default: b}", 3, "routes.default", "b is not a service of this mode", ""),
        ("services: [a, b]\nroutes: {a-alias: b}", 3, "routes.a-alias", "a name of service a already", ""),
        ("services: [a]\nroutes: {'a b': a}", 3, "routes.a b", "is not a model's name", ""),
        ("services: [a]\nroutes: [a]", 3, "routes", "must be a mapping", ""),
        ("services: [a]\non_failure: retry", 3, "on_failure", "must be one of restore, blank, keep", "did you mean 'restore'?"),
        ("services: [{id: a, depends_on: [b]}]", 2, "services.0", "depends on b, which is not in this mode", ""),
        ("services: [{id: a, depends_on: [a]}]", 2, "services.0", "in a circle: a -> a", ""),
        ("services: [{id: a, port: 7780}]", 2, "services.0", "port 7780 is the daemon's own", ""),
        ("services:\n- {id: a, port: 9}\n- {id: b, port: 9}", 4, "services.1", "services a and b both have port 9", ""),
    ],
)  # fmt: skip
def test_each_mistake_has_its_place_and_words(box, text, line, key, words, suggestion):
    path = box.mode("m", f"id: m\n{text}\n")
    problem = box.problem()
    assert (problem.file, problem.line, problem.key) == (str(path), line, key)
    assert words in problem.detail
    if suggestion is not None:
        assert problem.suggestion == suggestion
    assert [name for name, _ in box.catalog().disabled] == ["m"]
    assert box.catalog().modes == (BLANK_MODE,)


def test_circles_are_named_in_the_order_of_who_needs_whom(box):
    box.mode(
        "m",
        "id: m\nservices:\n- {id: a, depends_on: [b]}\n- {id: b, depends_on: [c]}\n- {id: c, depends_on: [a]}\n",
    )
    detail = box.problem().detail
    assert any(circle in detail for circle in ("a -> b -> c -> a", "b -> c -> a -> b", "c -> a -> b -> c"))


def test_services_may_depend_on_each_other_without_a_circle(box):
    box.mode("m", "id: m\nservices:\n- {id: a, depends_on: [b, c]}\n- {id: b, depends_on: [c]}\n- c\n")
    assert mode(box).services[0].depends_on == ("b", "c")


@pytest.mark.parametrize("name", ["blank", "last"])
def test_reserved_ids(box, name):
    box.mode("x", f"id: {name}\nservices: [a]\n")
    problem = box.problem()
    assert (problem.line, problem.key) == (1, "id")
    assert f"no mode may have the id {name}" in problem.detail
    assert box.catalog().modes == (BLANK_MODE,)


def test_two_modes_with_one_id(box):
    box.mode("x", "id: m\nservices: [a]\n")
    box.mode("y", "id: m\nservices: [b]\n")
    catalog = box.catalog()
    assert [problem.key for problem in catalog.problems] == ["id", "id"]
    assert catalog.modes == (BLANK_MODE,)


def test_a_bad_preset_disables_the_modes_that_name_it_and_no_other(box):
    bad = box.preset("bad", "id: bad\nengine: llama.cpp\nmodel: /m\nslots: none\n")
    box.mode("m", "id: m\nservices: [a, bad]\n")
    box.mode("n", "id: n\nservices: [a]\n")
    catalog = box.catalog()
    assert [one.id for one in catalog.modes] == ["blank", "n"]
    reasons = dict(catalog.disabled)
    assert f"{bad}:4" in reasons["bad"]
    assert "preset bad is disabled" in reasons["m"]


def test_a_warning_about_a_preset_is_not_repeated_for_each_mode(box):
    box.preset("w", "id: w\nengine: llama.cpp\nmodel: /m\nargs: [--api-key, x]\n")
    box.mode("m", "id: m\nservices: [w]\n")
    box.problem(warning=True)
    assert box.catalog().mode(ModeId("m"))


def test_an_override_that_does_not_go_with_the_preset_is_found_at_the_service(folder):
    folder.preset("two", "id: two\nengine: llama.cpp\nmodel: /m\ncards: 2\nvram: [1GiB, 1GiB]\n")
    folder.mode("m", "id: m\nservices:\n- {id: two, cards: 3}\n")
    problem = folder.problem()
    assert (problem.line, problem.key) == (3, "services.0")
    assert problem.detail == "with preset two, vram: has 2 sizes for 3 cards"


def test_everything_wrong_with_all_files_is_in_one_answer(box):
    box.preset("bad", "id: bad\nengine: vllm\n")
    box.mode("m", "id: m\nservices: [nope, {id: a, x: 1}]\nroutes: {r: zzz}\non_failure: no\n")
    found = [(problem.file.rsplit("/", 1)[1], problem.key) for problem in box.catalog().problems]
    assert found == [
        ("m.yaml", "services.0"),
        ("m.yaml", "services.1.x"),
        ("m.yaml", "routes.r"),
        ("m.yaml", "on_failure"),
        ("bad.yaml", "model"),
    ]


@pytest.mark.parametrize(
    ("config", "env", "file", "key", "words"),
    [
        ("boot: m", {}, "config.yaml", "boot", "there is no mode m"),
        ("boot: bad", {}, "config.yaml", "boot", "mode bad is disabled"),
        ("modes: [cod]", {}, "config.yaml", "modes.0", "there is no mode cod"),
        ("presets: [nope]", {}, "config.yaml", "presets.0", "there is no preset nope"),
        ("", {"GPUMOD_BOOT": "m"}, "environment", "GPUMOD_BOOT", "there is no mode m"),
    ],
)
def test_settings_that_name_nothing_are_problems_but_prevent_nothing(folder, config, env, file, key, words):
    folder.mode("bad", "id: bad\n")
    folder.write("config.yaml", f"{config}\n")
    problem = next(one for one in folder.catalog(**env).problems if one.key == key)
    assert problem.file.endswith(file)
    assert problem.line == (1 if file == "config.yaml" else None)
    assert words in problem.detail


def test_services_may_share_an_alias(box):
    box.mode("m", "id: m\nservices:\n- a\n- {id: x, preset: a}\n")
    assert [service.aliases for service in mode(box).services] == [("a-alias",), ("a-alias",)]


def test_a_route_may_change_requests(box):
    box.mode(
        "m",
        """id: m
services: [a, b]
routes:
  default: a
  smart:
    service: b
    defaults: {temperature: 0.2}
    set: {reasoning_effort: high}
    strip: [seed]
    chat_template_kwargs: {enable_thinking: true}
on_demand: auto
idle: 2h
""",
    )
    found = mode(box)
    assert found.routes == (("default", "a"), ("smart", "b"))
    assert found.shapes == (
        (
            "smart",
            RequestShape(
                defaults=(("temperature", "0.2"),),
                set=(("reasoning_effort", '"high"'),),
                strip=("seed",),
                template=(("enable_thinking", "true"),),
            ),
        ),
    )
    assert (found.on_demand, found.idle) == (OnDemand.AUTO, Idle(7200.0, IdleAction.BLANK))


@pytest.mark.parametrize("change", ["set: {model: x}", "strip: [messages]", "defaults: {stream: true}"])
def test_a_route_does_not_change_what_the_client_asks(box, change):
    box.mode("m", f"id: m\nservices: [a]\nroutes:\n  fast: {{service: a, {change}}}\n")
    (problem,) = box.catalog().problems
    assert (problem.line, problem.key) == (4, "routes.fast")
    assert "that is what the client asks" in problem.detail


def test_idle_services_are_stopped_and_nothing_else_yet(box):
    box.preset("d", "id: d\nengine: llama.cpp\nmodel: /m\nidle: 30m\n")
    found = box.catalog().preset(PresetId("d"))
    assert found is not None
    assert found.idle == Idle(1800.0, IdleAction.STOP)
    box.preset("e", "id: e\nengine: llama.cpp\nmodel: /m\nidle: {after: 30m, then: sleep}\n")
    (problem,) = box.catalog().problems
    assert (problem.key, problem.detail) == ("idle.then", "sleep is not built yet")
