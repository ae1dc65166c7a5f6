"""Changing a service of a mode in its file."""

import os
import stat

import pytest

from gpumod.config import set_mode_service
from gpumod.config.edit import replace_preset
from gpumod.core.errors import InvalidRequestError, NotFoundError
from gpumod.core.names import ModeId

TEXT = """# Mine.
id: m   # the id

services:
  # first
  - a        # why
  - {id: x, preset: b, cards: [1]}       # over there
  - id: y   # block
    preset: c
# about routes
routes: {default: a}
"""


@pytest.fixture
def box(folder):
    for name in "abcd":
        folder.preset(name, f"id: {name}\nengine: llama.cpp\nmodel: /{name}\n")
    folder.mode("m", TEXT)
    return folder


@pytest.mark.parametrize(
    ("service", "preset", "before", "after"),
    [
        ("a", "d", "  - a   ", "  - {id: a, preset: d}   "),
        ("x", "d", "{id: x, preset: b,", "{id: x, preset: d,"),
        ("y", "d", "    preset: c", "    preset: d"),
        ("d", "d", "    preset: c\n", "    preset: c\n  - d\n"),
        ("z", "d", "    preset: c\n", "    preset: c\n  - {id: z, preset: d}\n"),
        ("a", "a", "", ""),
    ],
)
def test_only_the_entry_changes(box, service, preset, before, after):
    path = set_mode_service(box.settings(), "m", service, preset)
    assert path.read_text() == TEXT.replace(before, after, 1)
    services = {one.id: one.preset for one in box.catalog().mode(ModeId("m")).services}
    assert services[service] == preset


@pytest.mark.parametrize(
    ("text", "service", "expected"),
    [
        ("services: [a, b]  # x", "c", "services: [a, b, c]  # x"),
        ("services: []", "c", "services: [c]"),
        ("services:\n- a\n\n# end", "c", "services:\n- a\n- c\n\n# end"),
        ("services:\n- id: q # me\n  preset: a\n", "c", "services:\n- id: q # me\n  preset: a\n- c\n"),
        ("services:\n- {id: a}", "a", "services:\n- {id: a, preset: a}"),
        ("services:\n- id: a # me\n  context: 5", "a", "services:\n- id: a # me\n  preset: a\n  context: 5"),
        ("services:\n- 'a'", "a", "services:\n- a"),
        (
            "services:\n  - a\n  - b\ndescription: |\n  a\n",
            "c",
            "services:\n  - a\n  - b\n  - c\ndescription: |\n  a\n",
        ),
    ],
)
def test_ways_to_write_services(box, text, service, expected):
    path = box.mode("m", f"id: m\n{text}\n")
    set_mode_service(box.settings(), "m", service, service)
    assert path.read_text() == f"id: m\n{expected}\n"


def test_a_shipped_mode_is_copied_first(folder):
    folder.write("config.yaml", "vars: {MODELS: /models}\n")
    path = set_mode_service(
        folder.settings(), "code", "qwen36-35b-a3b-mtp-iq4xs-preserve", "qwen36-35b-a3b-mtp-iq4xs"
    )
    assert path == folder.path / "modes/code.yaml"
    (service,) = folder.catalog().mode(ModeId("code")).services
    assert service.preset == "qwen36-35b-a3b-mtp-iq4xs"


@pytest.mark.parametrize(
    ("mode", "service", "preset", "error", "words"),
    [
        ("nope", "a", "a", NotFoundError, "there is no mode nope"),
        ("m", "a", "nope", NotFoundError, "there is no preset nope"),
        ("blank", "a", "a", InvalidRequestError, "built in"),
        ("m", "a", "b\nroutes: {}", InvalidRequestError, "is not an id"),
        ("m", "a}", "b", InvalidRequestError, "is not an id"),
        ("m", "a", "bad", InvalidRequestError, "preset bad is disabled"),
    ],
)
def test_nothing_is_written_that_could_not_be_used(box, mode, service, preset, error, words):
    box.preset("bad", "id: bad\nengine: vllm\n")
    with pytest.raises(error, match=words):
        set_mode_service(box.settings(), mode, service, preset)
    assert (box.path / "modes/m.yaml").read_text() == TEXT
    assert os.listdir(box.path / "modes") == ["m.yaml"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id: m\nservices: [", "not valid YAML"),
        ("id: m\nservices: a", "no list of services"),
        ("id: m\nx: &x a\nservices: [*x, b]", "aliases"),
        ("id: m\nservices: [&x a, *x]", "aliases"),
        ("id: m\ndescription: 3\nservices: [a]", "description: must be text"),
    ],
)
def test_a_file_that_is_not_sound_is_left_alone(box, text, words):
    path = box.mode("m", text)
    with pytest.raises((InvalidRequestError, NotFoundError), match=words):
        set_mode_service(box.settings(), "m", "a", "b")
    assert path.read_text() == text


def test_mode_bits_and_links_are_kept(box):
    real = box.write("elsewhere/real.yaml", TEXT)
    real.chmod(0o640)
    link = box.path / "modes/m.yaml"
    link.unlink()
    link.symlink_to(real)
    set_mode_service(box.settings(), "m", "a", "d")
    assert link.is_symlink()
    assert "preset: d" in real.read_text()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_a_folder_that_cannot_be_written_is_said(box, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkstemp", full)
    with pytest.raises(InvalidRequestError, match="No space left on device"):
        set_mode_service(box.settings(), "m", "a", "d")
    assert (box.path / "modes/m.yaml").read_text() == TEXT


@pytest.mark.parametrize(
    ("old", "services", "before", "after"),
    [
        ("a", ("a",), "  - a   ", "  - {id: a, preset: d}   "),
        ("b", ("x",), "{id: x, preset: b,", "{id: x, preset: d,"),
        ("c", ("y",), "    preset: c", "    preset: d"),
    ],
)
def test_a_preset_is_replaced_wherever_the_mode_runs_it(box, old, services, before, after):
    path, changed = replace_preset(box.settings(), "m", old, "d")
    assert changed == services
    assert path.read_text() == TEXT.replace(before, after, 1)


def test_every_service_of_a_preset_is_replaced(box):
    path = box.mode("m", "id: m\nservices: [a, {id: two, preset: a}, {id: c}]  # x\n")
    assert replace_preset(box.settings(), "m", "a", "b")[1] == ("a", "two")
    expected = "services: [{id: a, preset: b}, {id: two, preset: b}, {id: c}]  # x"
    assert path.read_text() == f"id: m\n{expected}\n"


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [("d", "a", NotFoundError), ("a", "nope", NotFoundError), ("a", "b}", InvalidRequestError)],
)
def test_what_cannot_be_replaced_is_left(box, old, new, error):
    with pytest.raises(error):
        replace_preset(box.settings(), "m", old, new)
    assert (box.path / "modes/m.yaml").read_text() == TEXT
