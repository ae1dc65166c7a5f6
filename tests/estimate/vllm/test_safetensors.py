from __future__ import annotations

import contextlib
import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gpumod.estimate.errors import ModelFileError
from gpumod.estimate.vllm import safetensors
from gpumod.estimate.vllm.safetensors import Entry, read_header
from tests.estimate.vllm.models import write_header, write_safetensors


def read(path: Path) -> list[Entry]:
    return list(read_header(path))


def test_tensors_with_their_sizes(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_safetensors(
        path, {"a.weight": ("BF16", [3, 5], 30), "a.scale": ("F32", [], 4), "b": ("F4", [8], 4)}
    )
    assert read(path) == [
        Entry("a.weight", "BF16", (3, 5), 30),
        Entry("a.scale", "F32", (), 4),
        Entry("b", "F4", (8,), 4),
    ]


@pytest.mark.parametrize("indent", [None, 2])
def test_a_header_in_any_layout(tmp_path: Path, indent: int | None) -> None:
    header = {
        "__metadata__": {"format": "pt", "braces": 'a "quoted" } { \\'},
        "x": {"data_offsets": [0, 4], "shape": [2], "dtype": "F16"},
    }
    path = tmp_path / "model.safetensors"
    write_header(path, json.dumps(header, indent=indent).encode() + b"   ", 4)
    assert read(path) == [Entry("x", "F16", (2,), 4)]


def test_an_empty_header(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_header(path, b"{}")
    assert read(path) == []


def entry(**changed: Any) -> bytes:
    value = {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]} | changed
    return json.dumps({"x": value}).encode()


BROKEN = {
    "cut off in a tensor": (entry(shape=[4], data_offsets=[0, 8]), "cut off"),
    "bytes that are not the shape's": (entry(shape=[3]), "bytes as its shape"),
    "negative shape": (entry(shape=[-2, -1]), "shape"),
    "huge shape": (entry(shape=[2**60, 2**60]), "shape"),
    "shape of words": (entry(shape=["2"]), "type, shape (and|or) place"),
    "shape of truth": (entry(shape=[True, 2]), "type, shape (and|or) place"),
    "offsets backwards": (entry(data_offsets=[4, 0]), "bytes as its shape"),
    "negative offsets": (entry(data_offsets=[-4, 0]), "bytes as its shape"),
    "one offset": (entry(data_offsets=[0]), "type, shape (and|or) place"),
    "not a number": (entry(shape=[float("nan")]), "type, shape (and|or) place"),
    "unknown type": (entry(dtype="F99"), "not known here"),
    "type of a number": (entry(dtype=16), "type, shape (and|or) place"),
    "no object": (b'{"x": 5}', "cannot be read|type, shape"),
    "a list": (b"[]", "not JSON"),
    "no end": (b'{"x": ', "type, shape|cannot be read"),
    "no comma": (entry()[:-1] + entry()[1:], "cannot be read"),
    "deep": (b'{"x": ' + b"[" * 100_000, "type, shape|cannot be read"),
    "deep metadata": (b'{"__metadata__": ' + b"[" * 100_000, "metadata"),
    "not text": (b"{\xff}", "not text"),
    "overlap": (b"{" + entry()[1:-1] + b"," + entry()[1:-1].replace(b'"x"', b'"y"') + b"}", "overlap"),
    "digits": (b'{"x":{"dtype":"F16","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,4]}}', "type, shape"),
}


@pytest.mark.parametrize(("header", "says"), BROKEN.values(), ids=BROKEN)
def test_a_broken_header_is_said_to_be_broken(tmp_path: Path, header: bytes, says: str) -> None:
    path = tmp_path / "model.safetensors"
    write_header(path, header, 4)
    with pytest.raises(ModelFileError, match=says) as caught:
        read(path)
    assert str(path) in caught.value.detail
    assert len(caught.value.detail) < 400 + len(str(path))


@pytest.mark.parametrize(
    "content", [b"", b"\x01", struct.pack("<Q", 2**63) + b"{}", struct.pack("<Q", 100) + b"{}"]
)
def test_a_file_that_is_cut_off_in_its_header(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="cut off"):
        read(path)


def test_a_header_that_no_model_has_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", safetensors.LARGEST_HEADER + 1))
        file.truncate(safetensors.LARGEST_HEADER + 100)
    with pytest.raises(ModelFileError, match="header would have"):
        read(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="No such file"):
        read(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    "filler", [b'{"__metadata__":{"a":"' + b"[" * 1000, b'{"x":{"a":' + b"[],", b'{"x":' + b"[]," * 300]
)
def test_a_hostile_header_takes_no_more_memory_than_it_has(tmp_path: Path, filler: bytes) -> None:
    size = 4 * 1024**2
    path = tmp_path / "model.safetensors"
    write_header(path, (filler * (size // len(filler) + 1))[:size])
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 4 * size
    finally:
        tracemalloc.stop()


NUMBERS = st.integers() | st.floats() | st.text(max_size=3) | st.none() | st.booleans()
VALUES = st.recursive(
    NUMBERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F16", "F4", "U8", "X"]) | VALUES,
        "shape": st.lists(st.integers(-2, 4), max_size=3) | VALUES,
        "data_offsets": st.tuples(st.integers(-1, 20), st.integers(-1, 20)) | VALUES,
    },
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(st.text(max_size=5) | st.just("__metadata__"), ENTRIES | VALUES, max_size=4))
@example({"__metadata__": {"a": "b"}, "x": {"dtype": "F4", "shape": [3], "data_offsets": (0, 2)}})
def test_any_header_is_read_or_refused(tmp_path: Path, header: dict[str, Any]) -> None:
    path = tmp_path / "model.safetensors"
    write_header(path, json.dumps(header).encode(), 64)
    try:
        entries = read(path)
    except ModelFileError:
        return
    assert sum(one.size for one in entries) <= 64
    assert {one.name for one in entries} == set(header) - {"__metadata__"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with contextlib.suppress(ModelFileError):
        read(path)
