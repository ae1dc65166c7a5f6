"""Models in several files, as gguf-split makes them."""

import os
import re

import pytest

from gpumod.estimate.gguf.reader import gguf_files, read_gguf
from gpumod.estimate.gguf.types import tensor_bytes
from gpumod.testing.gguf_format import TensorInfo, Typed
from gpumod.testing.shapes import shape, write_shape
from tests.estimate.gguf.files import gguf_bytes, refusal


@pytest.fixture
def split(tmp_path):
    """The paths of a model in three parts."""
    first = write_shape("tiny-llama", tmp_path / "m.gguf", parts=3)
    return [first.with_name(f"m-0000{number}-of-00003.gguf") for number in (1, 2, 3)]


def part(tensors, number, count, total):
    metadata = {
        "general.architecture": "llama",
        "split.no": Typed("u16", number),
        "split.count": Typed("u16", count),
        "split.tensors.count": Typed("i32", total),
    }
    return gguf_bytes(metadata, tensors)


@pytest.mark.parametrize("named", [0, 1, 2])
def test_any_part_stands_for_the_whole_model(split, named):
    header = read_gguf(split[named])
    whole = shape("tiny-llama")
    assert header.path == str(split[0])
    assert header.architecture == "llama"
    assert header.files == tuple((str(path), path.stat().st_size) for path in split)
    assert [tensor.name for tensor in header.tensors] == [tensor.name for tensor in whole.tensors]
    assert sum(map(tensor_bytes, header.tensors)) == sum(tensor.size for tensor in whole.tensors)
    assert sorted({tensor.part for tensor in header.tensors}) == [0, 1, 2]


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_missing_part_is_named(split, missing):
    split[missing].unlink()
    for path in split:
        said = refusal(path)
        assert split[missing].name in said
        assert ("No such file" if missing == 0 else "1 is missing beside it") in said


def test_many_missing_parts_are_counted(tmp_path):
    path = tmp_path / "m-00001-of-00009.gguf"
    said = refusal(path, part([TensorInfo("a", (8,), "f32")], 0, 9, 9))
    assert "of which 8 are missing" in said
    assert said.endswith("m-00004-of-00009.gguf and 5 more")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_part_that_was_cut_off_is_named(split, number):
    path = split[number - 1]
    os.truncate(path, path.stat().st_size - 100)
    assert re.search(rf"m-0000{number}-of-00003.gguf is \d+ bytes short", refusal(split[0]))


def test_parts_of_different_models_are_told_apart(split):
    split[1].rename(split[1].with_suffix(".kept"))
    split[2].rename(split[1])
    split[1].with_suffix(".kept").rename(split[2])
    assert "m-00002-of-00003.gguf does not call itself part 2 of 3" in refusal(split[0])


def test_a_later_part_by_the_name_of_the_first_is_found(split):
    split[0].write_bytes(split[1].read_bytes())
    assert "says that it is part 2, not part 1" in refusal(split[0])


def test_a_renamed_part_is_told_what_name_it_needs(split, tmp_path):
    renamed = split[0].rename(tmp_path / "model.gguf")
    assert "-00001-of-00003.gguf" in refusal(renamed)
    other = renamed.rename(tmp_path / "m-00001-of-00002.gguf")
    assert "-00001-of-00003.gguf" in refusal(other)


def test_a_part_of_a_model_that_is_whole_is_refused(tmp_path):
    whole = tmp_path / "m-00001-of-00002.gguf"
    assert refusal(whole, gguf_bytes()) == ""
    assert "says that it is a whole model" in refusal(tmp_path / "m-00002-of-00002.gguf")


def test_tensors_that_are_missing_in_all_parts_are_counted(tmp_path):
    for number in (0, 1):
        path = tmp_path / f"m-0000{number + 1}-of-00002.gguf"
        path.write_bytes(part([TensorInfo(f"t{number}", (8,), "f32")], number, 2, 3))
    assert "have 3 tensors, but they have 2" in refusal(tmp_path / "m-00001-of-00002.gguf")


def test_a_tensor_in_two_parts_is_refused(tmp_path):
    for number in (0, 1):
        path = tmp_path / f"m-0000{number + 1}-of-00002.gguf"
        path.write_bytes(part([TensorInfo("same", (8,), "f32")], number, 2, 2))
    assert "'same' twice" in refusal(tmp_path / "m-00001-of-00002.gguf")


@pytest.mark.parametrize("key", ["split.count", "split.no", "split.tensors.count"])
def test_a_split_that_is_counted_in_words_is_refused(tmp_path, key):
    path = tmp_path / "m-00001-of-00001.gguf"
    metadata = {"split.count": 1, "split.no": 0, "split.tensors.count": 0} | {key: "one"}
    if key != "split.count":
        metadata["split.count"] = 2
        path = tmp_path / "m-00001-of-00002.gguf"
        (tmp_path / "m-00002-of-00002.gguf").write_bytes(part([], 1, 2, 0))
    assert f"{key} is not a whole number" in refusal(path, gguf_bytes(metadata, ()))


@pytest.mark.parametrize(
    "name",
    ["m.gguf", "m-00001-of-99999.gguf", "m-00000-of-00002.gguf", "m-00003-of-00002.gguf", "m-1-of-2.gguf"],
)
def test_a_name_that_is_no_parts_name_is_one_file(name):
    assert gguf_files(name) == (name,)
