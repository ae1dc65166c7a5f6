"""Against the gguf package, and against ggml's own table of types."""

import ctypes

import gguf
import numpy as np
import pytest

from gpumod.estimate.gguf.header import SkippedArray
from gpumod.estimate.gguf.reader import read_gguf
from gpumod.estimate.gguf.types import GGML_TYPES, tensor_bytes
from gpumod.testing.gguf import write_gguf
from gpumod.testing.shapes import TINY, write_shape


def values_of(field):
    """A field's value as ours: a tuple for an array."""
    value = field.contents()
    return tuple(value) if isinstance(value, list) else value


def compare(path):
    """What both readers say of a file."""
    ours, theirs = read_gguf(path), gguf.GGUFReader(path)
    fields = {key: one for key, one in theirs.fields.items() if not key.startswith("GGUF.")}
    assert ours.metadata.keys() == fields.keys()
    for key, value in ours.metadata.items():
        if isinstance(value, SkippedArray):
            assert value.length == len(fields[key].data), key
        else:
            assert value == values_of(fields[key]), key
    assert [(one.name, one.type, list(one.shape), tensor_bytes(one)) for one in ours.tensors] == [
        (one.name, int(one.tensor_type), [int(n) for n in one.shape], int(one.n_bytes))
        for one in theirs.tensors
    ]


@pytest.mark.parametrize("name", TINY)
def test_our_files_are_read_alike(tmp_path, name):
    compare(write_shape(name, tmp_path / "m.gguf"))


def test_a_small_whole_model_is_read_alike(tmp_path):
    compare(write_gguf(tmp_path / "m.gguf"))


def test_a_file_of_the_package_is_read_alike(tmp_path):
    """Every type of value and every type of tensor, written by the package."""
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint8("a.u8", 200)
    writer.add_int8("a.i8", -100)
    writer.add_uint16("a.u16", 60000)
    writer.add_int16("a.i16", -30000)
    writer.add_uint32("a.u32", 2**32 - 1)
    writer.add_int32("a.i32", -(2**31))
    writer.add_uint64("a.u64", 2**64 - 1)
    writer.add_int64("a.i64", -(2**63))
    writer.add_float32("a.f32", 0.25)
    writer.add_float64("a.f64", 0.1)
    writer.add_bool("a.bool", True)
    writer.add_string("a.text", "naïve 👋")
    writer.add_array("a.numbers", [1, -2, 3])
    writer.add_array("a.reals", [0.5, 1.5])
    writer.add_array("a.flags", [True, False])
    writer.add_array("a.words", ["x", "ÿ", ""])
    writer.add_array("tokenizer.ggml.tokens", [f"token {number}" for number in range(5000)])
    for kind, (block, size) in gguf.GGML_QUANT_SIZES.items():
        if kind.name == "Q8_1":
            continue  # the package has it with 40 bytes, ggml with 36; it is never in a file
        writer.add_tensor(f"t.{kind.name}", np.zeros((3, 2 * size), np.uint8), raw_dtype=kind)
        assert GGML_TYPES[int(kind)][1:] == (block, size)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    compare(path)


def test_a_split_of_the_package_is_read(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama", split_max_tensors=2)
    for number in range(5):
        writer.add_tensor(f"t{number}", np.zeros((4, 32), np.float32))
    writer.write_header_to_file(tmp_path / "m.gguf")
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    header = read_gguf(tmp_path / "m-00002-of-00003.gguf")
    assert [tensor.name for tensor in header.tensors] == [f"t{number}" for number in range(5)]
    assert [tensor.part for tensor in header.tensors] == [0, 0, 1, 1, 2]


def test_types_are_as_in_ggml():
    library = ctypes.CDLL(pytest.importorskip("xllamacpp").xllamacpp.__file__)
    library.ggml_type_name.restype = ctypes.c_char_p
    library.ggml_type_size.restype = ctypes.c_size_t
    library.ggml_blck_size.restype = ctypes.c_int64
    in_ggml = {
        number: (
            library.ggml_type_name(number).decode(),
            library.ggml_blck_size(number),
            library.ggml_type_size(number),
        )
        for number in range(43)
        if library.ggml_blck_size(number)
    }
    assert in_ggml == GGML_TYPES
