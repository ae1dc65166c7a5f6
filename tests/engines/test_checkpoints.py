"""The files of a model's folder, and indexes that strangers wrote."""

import json
import os

import pytest

from gpumod.engines import checkpoints
from gpumod.engines.checkpoints import checkpoint_files

INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.safetensors").touch()
    return tmp_path


def of_index(folder, text):
    (folder / INDEX).write_text(text)
    return [path.removeprefix(f"{folder}/") for path in checkpoint_files(folder)]


@pytest.mark.parametrize(
    "places",
    [
        {"x": "../../../../etc/shadow"},
        {"x": "a/b.safetensors"},
        {"x": ".hidden"},
        {"x": "a\0b"},
        {str(number): f"{number}.safetensors" for number in range(2001)},
        ["a.safetensors"],
        None,
    ],
    ids=["up", "below", "hidden", "null", "many", "list", "nothing"],
)
def test_an_index_that_no_vllm_wrote_is_passed_over(folder, places):
    assert of_index(folder, json.dumps({"weight_map": places})) == ["config.json", "a.safetensors"]


@pytest.mark.parametrize("text", ["", "[" * 100_000, '{"weight_map": {"x": ' * 5000, "\udcff", "[]"])
def test_what_is_no_index_is_passed_over(folder, text):
    (folder / INDEX).write_bytes(text.encode(errors="surrogateescape"))
    assert checkpoint_files(folder)[1:] == (f"{folder}/a.safetensors",)


def test_a_pipe_in_its_place_holds_nobody_up(folder):
    os.mkfifo(folder / INDEX)
    assert checkpoint_files(folder)[1:] == (f"{folder}/a.safetensors",)


def test_an_index_of_any_size_is_not_read(folder, monkeypatch):
    monkeypatch.setattr(checkpoints, "_LARGEST_INDEX", 10)
    assert of_index(folder, '{"weight_map": {"x": "b.safetensors"}}') == ["config.json", "a.safetensors"]


def test_an_index_is_read_once_until_it_changes(folder, monkeypatch):
    assert of_index(folder, '{"weight_map": {"x": "b.safetensors"}}')[2:] == ["b.safetensors"]
    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "_content", lambda path: pytest.fail("it was read again"))
        assert checkpoint_files(folder)[2:] == (f"{folder}/b.safetensors",)
    assert of_index(folder, '{"weight_map": {"x": "other.safetensors"}}')[2:] == ["other.safetensors"]
