"""Headers that nobody would write: an answer in bounded memory, and no other error than ModelFileError."""

import contextlib
import os
import struct
import tracemalloc
from math import prod

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st

from gpumod.core.units import MIB
from gpumod.estimate.errors import ModelFileError
from gpumod.estimate.gguf.header import SkippedArray
from gpumod.estimate.gguf.reader import read_gguf
from gpumod.estimate.gguf.types import GGML_TYPES, tensor_bytes
from gpumod.testing.gguf_format import TensorInfo, Typed, text
from tests.estimate.gguf.files import gguf_bytes, raw_entry, raw_gguf, refusal
from tests.tries import tries

STRING, ARRAY = 8, 9
MOST_MEMORY = 80 * MIB
ON_DISK = [HealthCheck.function_scoped_fixture]

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)

NUMBERS = st.one_of(
    *(st.builds(Typed, st.just(f"u{bits}"), st.integers(0, 2**bits - 1)) for bits in (8, 16, 32, 64)),
    *(
        st.builds(Typed, st.just(f"i{bits}"), st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
        for bits in (8, 16, 32, 64)
    ),
    st.builds(Typed, st.just("f64"), st.floats(allow_nan=False)),
    st.builds(Typed, st.just("u16"), st.lists(st.integers(0, 65535), max_size=20)),
    st.builds(Typed, st.just("i64"), st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20)),
)
VALUES = st.one_of(
    NUMBERS, TEXT, st.booleans(), st.lists(st.booleans(), min_size=1, max_size=9), st.lists(TEXT, min_size=1)
)
METADATA = st.dictionaries(TEXT.filter(bool).map("k{}".format), VALUES, max_size=8)


@st.composite
def tensor_lists(draw):
    names = draw(st.lists(TEXT, unique=True, max_size=6))
    tensors = []
    for name in names:
        kind = draw(st.sampled_from(list(GGML_TYPES.values())))
        row = kind.block * draw(st.integers(0, 3))
        others = draw(st.lists(st.integers(0, 3), max_size=3))
        scalar = kind.block == 1 and draw(st.booleans())
        tensors.append(TensorInfo(name, () if scalar else (row, *others), kind.name.lower()))
    return tensors


def plain(value):
    """What the reader makes of a value."""
    value = value.value if isinstance(value, Typed) else value
    if isinstance(value, list):
        return SkippedArray(len(value)) if len(value) > 64 and isinstance(value[0], str) else tuple(value)
    return value


@tries(50, suppress_health_check=ON_DISK)
@given(METADATA, tensor_lists())
def test_what_is_written_is_read(tmp_path, metadata, tensors):
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf_bytes(metadata, tensors))
    header = read_gguf(path)
    assert header.metadata == {key: plain(value) for key, value in metadata.items()}
    read = [(one.name, one.shape, tensor_bytes(one)) for one in header.tensors]
    assert read == [(one.name, one.shape, one.size) for one in tensors]
    assert [prod(one.shape) for one in header.tensors] == [prod(one.shape) for one in tensors]


SAMPLE = gguf_bytes(
    {
        "general.architecture": "llama",
        "general.alignment": 32,
        "llama.heads": [1, 2, 3],
        "tokenizer.ggml.tokens": [f"t{number}" for number in range(80)],
        "split.count": Typed("u16", 1),
        "tokenizer.ggml.scores": [0.5] * 30,
    }
)
INTERESTING = (0, 1, 4, 8, 9, 13, 127, 255, 2**16, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
EDITS = st.lists(
    st.tuples(st.integers(0, len(SAMPLE) - 1), st.sampled_from(INTERESTING), st.sampled_from((1, 2, 4, 8))),
    min_size=1,
    max_size=4,
)


@tries(150, suppress_health_check=ON_DISK)
@given(EDITS, st.integers(0, len(SAMPLE)) | st.none())
@example([(8, 2**63 - 1, 8)], None)
@example([(16, 2**63 - 1, 8)], None)
def test_no_damage_to_a_header_is_more_than_a_refusal(tmp_path, edits, length):
    content = bytearray(SAMPLE)
    for at, value, width in edits:
        content[at : at + width] = (value % 2 ** (8 * width)).to_bytes(width, "little")
    path = tmp_path / "m.gguf"
    path.write_bytes(content[:length])
    with contextlib.suppress(ModelFileError):
        header = read_gguf(path)
        assert sum(map(tensor_bytes, header.tensors)) <= path.stat().st_size


@tries(100, suppress_health_check=ON_DISK)
@given(st.binary(max_size=400))
def test_noise_behind_the_magic_is_no_more_than_a_refusal(tmp_path, noise):
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF\3\0\0\0" + noise)
    with contextlib.suppress(ModelFileError):
        read_gguf(path)


def big_text(number):
    return raw_entry(f"k{number}", STRING, text("x" * 2**20))


def big_array(number):
    return raw_entry(f"k{number}", ARRAY, struct.pack("<IQ", 0, 4096) + os.urandom(4096))


def many_words(number):
    return raw_entry(f"k{number}", ARRAY, struct.pack("<IQ", STRING, 64) + text("x" * 2**14) * 64)


def tensor_without_a_name_twice(number):
    return text(f"{number:0255d}") + struct.pack("<IQIQ", 1, 0, 0, 0)


HOSTILE = {
    "texts": lambda: raw_gguf(entries=map_all(big_text, 90)),
    "arrays": lambda: raw_gguf(entries=map_all(big_array, 9000)),
    "lists of words": lambda: raw_gguf(entries=map_all(many_words, 80)),
    "small entries": lambda: raw_gguf(entries=[raw_entry(f"{n:0100d}", 0, b"\1") for n in range(300_000)]),
    "empty tensors": lambda: raw_gguf(tensors=map_all(tensor_without_a_name_twice, 120_000)),
}


def map_all(make, count):
    return [make(number) for number in range(count)]


@pytest.mark.parametrize("case", HOSTILE)
def test_memory_is_bounded(tmp_path, case):
    path = tmp_path / "m.gguf"
    path.write_bytes(HOSTILE[case]())
    tracemalloc.start()
    try:
        said = refusal(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "no model has as much metadata" in said
    assert peak < MOST_MEMORY


def test_a_vocabulary_of_nothing_in_a_sparse_file_ends(tmp_path):
    """A terabyte of zeros is a hundred thousand million empty words."""
    path = tmp_path / "m.gguf"
    path.write_bytes(raw_gguf(entries=[raw_entry("a", ARRAY, struct.pack("<IQ", STRING, 2**37))]))
    os.truncate(path, 2**40 + 1000)
    assert "no vocabulary has as many entries" in refusal(path)


def test_an_array_in_a_sparse_file_is_stepped_over(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(raw_gguf(entries=[raw_entry("a", ARRAY, struct.pack("<IQ", 0, 2**39))]))
    os.truncate(path, 2**40)
    path.chmod(0o600)
    assert read_gguf(path).metadata == {"a": SkippedArray(2**39)}
