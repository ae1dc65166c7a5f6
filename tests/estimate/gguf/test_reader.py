"""What is read of a GGUF, and what is said about a file that is none or is broken."""

import os
import socket
import struct
import sys

import pytest

from gpumod.estimate.errors import ModelFileError
from gpumod.estimate.gguf.header import SkippedArray, Tensor
from gpumod.estimate.gguf.reader import read_gguf
from gpumod.estimate.gguf.types import tensor_bytes
from gpumod.testing.gguf_format import TensorInfo, Typed, text
from gpumod.testing.shapes import write_shape
from tests.estimate.gguf.files import TENSORS, gguf_bytes, raw_entry, raw_gguf, raw_tensor, refusal

U8, U32, STRING, ARRAY, F32 = 0, 4, 8, 9, 6
HUGE = 2**63 - 1


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.gguf"


def test_every_kind_of_value_is_read(path):
    metadata = {
        "general.architecture": "llama",
        "llama.u8": Typed("u8", 255),
        "llama.i8": Typed("i8", -3),
        "llama.u16": Typed("u16", 65535),
        "llama.i16": Typed("i16", -300),
        "llama.u32": 2**32 - 1,
        "llama.i32": Typed("i32", -(2**31)),
        "llama.u64": Typed("u64", 2**64 - 1),
        "llama.i64": Typed("i64", -(2**63)),
        "llama.f32": 0.5,
        "llama.f64": Typed("f64", 0.1),
        "llama.yes": True,
        "llama.text": "Grüße 👋",
        "llama.heads": [4, 0, 4],
        "llama.flags": [True, False],
        "llama.factors": [1.5, 2.5],
        "llama.names": ["a", "", "ü"],
        "llama.none": Typed("i32", []),
    }
    path.write_bytes(gguf_bytes(metadata))
    header = read_gguf(path)
    read = {key: tuple(one) if isinstance(one, list) else one for key, one in metadata.items()}
    assert dict(header.metadata) == {
        key: (tuple(one.value) if isinstance(one.value, list) else one.value)
        if isinstance(one, Typed)
        else one
        for key, one in read.items()
    }
    assert header.metadata["llama.yes"] is True
    assert header.value("heads") == (4, 0, 4)


def test_tensors_are_read_with_their_sizes(path):
    path.write_bytes(gguf_bytes())
    header = read_gguf(str(path))
    assert header.tensors == (Tensor("a.weight", 8, (64, 3)), Tensor("b.weight", 0, (5,)))
    assert [tensor_bytes(tensor) for tensor in header.tensors] == [3 * 2 * 34, 20]
    assert header.files == ((str(path), path.stat().st_size),)


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ([1] * 4096, True),
        ([1] * 4097, False),
        ([True] * 4097, False),
        (["x"] * 64, True),
        (["x"] * 65, False),
    ],
)
def test_long_arrays_are_stepped_over(path, values, kept):
    path.write_bytes(gguf_bytes({"long": values, "after": 7}))
    metadata = read_gguf(path).metadata
    assert metadata["long"] == (tuple(values) if kept else SkippedArray(len(values)))
    assert metadata["after"] == 7


@pytest.mark.parametrize("length", [1, 8, 4000, 70_000, 1_500_000])
def test_a_vocabulary_larger_than_what_is_read_at_once_is_stepped_over(path, length):
    """Lengths stand across every boundary of what is read at once."""
    tokens = ["é" * (number * 7919 % length) for number in range(min(70_000, 3_000_000 // length + 70))]
    path.write_bytes(gguf_bytes({"tokens": tokens, "after": "this"}))
    metadata = read_gguf(path).metadata
    assert metadata == {"tokens": SkippedArray(len(tokens)), "after": "this"}


@pytest.mark.parametrize("lengths", [range(300), (63,) * 600, (64,) * 600, (0,) * 1000, (3,) * 255 + (64,)])
@pytest.mark.parametrize("more", [0, 1])
def test_short_and_long_words_are_stepped_over_alike(path, lengths, more):
    tokens = ["\0" * length for length in lengths] * 3 + ["x"] * more
    path.write_bytes(gguf_bytes({"tokens": tokens, "after": 7}))
    assert read_gguf(path).metadata == {"tokens": SkippedArray(len(tokens)), "after": 7}


def test_a_tokenizer_in_one_string_is_stepped_over(path):
    path.write_bytes(gguf_bytes({"json": "x" * 2**20, "longer": "x" * (2**20 + 1), "after": 1}))
    metadata = read_gguf(path).metadata
    assert metadata["json"] == "x" * 2**20
    assert metadata["longer"] == SkippedArray(2**20 + 1)
    assert metadata["after"] == 1


def test_text_that_is_no_text_does_not_hide_the_model(path):
    path.write_bytes(raw_gguf(entries=[raw_entry("name", STRING, struct.pack("<Q", 3) + b"a\xffb")]))
    assert read_gguf(path).metadata["name"] == "a\ufffdb"


def test_version_2_is_read_too(path):
    content = bytearray(gguf_bytes())
    content[4] = 2
    path.write_bytes(content)
    assert len(read_gguf(path).tensors) == 2


def test_another_alignment_is_obeyed(path):
    content = gguf_bytes({"general.alignment": 256}, alignment=256)
    path.write_bytes(content)
    assert len(read_gguf(path).tensors) == 2
    assert "is 1 byte short" in refusal(path, content[:-1])


def test_a_model_without_tensors_is_read(path):
    path.write_bytes(gguf_bytes(tensors=()))
    assert read_gguf(path).tensors == ()


def test_a_download_that_was_cut_off_is_found_to_the_byte(path):
    whole = gguf_bytes()
    assert refusal(path, whole) == ""
    assert refusal(path, whole[:-1]).endswith(
        "model.gguf is 1 byte short: the download was cut off; fetch it again"
    )
    for length in range(len(whole)):
        assert "cut off" in refusal(path, whole[:length]), length


def test_a_large_download_that_was_cut_off_is_found(tmp_path):
    path = write_shape("llama31-8b", tmp_path / "large.gguf")
    size = path.stat().st_size
    os.truncate(path, size - 10**9)
    assert f"is {10**9} bytes short" in refusal(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\0" * 4096, "begins with zeros"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer"),
        (struct.pack("<Q", 20) + b'{"__metadata__":{}}', "is a safetensors file"),
        (struct.pack("<Q", ord("{")) + b'{"__metadata__":{}}', "is a safetensors file"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"\n  <HTML>", "is a web page"),
        (b'{"error": "Repository not found"}', "is JSON"),
        (b"PK\x03\x04archive/data.pkl", "is a PyTorch checkpoint"),
        (b"\x1f\x8b\x08\0", "compressed with gzip"),
        (b"tjgg\1\0\0\0", "old GGML format"),
        (b"MZ\x90\0", "is not a GGUF"),
        (b"Q", "is not a GGUF"),
    ],
)
def test_a_file_that_is_something_else_is_named(path, content, said):
    assert said in refusal(path, content)


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (1, "version 1"),
        (4, "version 4"),
        (0x03000000, "big-endian"),
        (0, "big-endian"),
        (HUGE % 2**32, "corrupt"),
    ],
)
def test_versions_that_cannot_be_read_are_refused(path, version, said):
    assert said in refusal(path, raw_gguf(version=version))


BROKEN_METADATA = {
    "key twice": ([raw_entry("a", U8, b"\1")] * 2, "'a' twice"),
    "empty key": ([raw_entry("", U8, b"\1")], "key is empty"),
    "key of no text": ([struct.pack("<Q", 2) + b"\xff\xfe" + struct.pack("<IB", U8, 1)], "is not text"),
    "endless key": ([struct.pack("<QQ", HUGE, 0)], f"a metadata key of {HUGE} bytes"),
    "unknown type": ([raw_entry("a", 13, b"\1")], "unknown type 13"),
    "array of unknown type": ([raw_entry("a", ARRAY, struct.pack("<IQ", 99, 1))], "unknown type 99"),
    "array of arrays": (
        [raw_entry("a", ARRAY, struct.pack("<IQIQ", ARRAY, 1, ARRAY, 1))],
        "array of arrays",
    ),
    "endless array": ([raw_entry("a", ARRAY, struct.pack("<IQ", F32, HUGE))], "ends inside its header"),
    "array without end": ([raw_entry("a", ARRAY, struct.pack("<IQ", F32, 2**64 - 1))], "ends inside"),
    "endless vocabulary": ([raw_entry("a", ARRAY, struct.pack("<IQ", STRING, HUGE))], "ends inside"),
    "endless word": (
        [raw_entry("a", ARRAY, struct.pack("<IQ", STRING, 90) + struct.pack("<Q", 2**64 - 1))],
        "ends inside",
    ),
    "endless short word": (
        [raw_entry("a", ARRAY, struct.pack("<IQQ", STRING, 9, 2**64 - 1))],
        "no model has as much metadata",
    ),
    "endless text": ([raw_entry("a", STRING, struct.pack("<Q", 2**64 - 1))], "ends inside"),
    "alignment of text": ([raw_entry("general.alignment", STRING, text("32"))], "not a power of two"),
    "alignment of zero": ([raw_entry("general.alignment", U32, bytes(4))], "not a power of two"),
    "odd alignment": ([raw_entry("general.alignment", U32, struct.pack("<I", 48))], "not a power of two"),
}


@pytest.mark.parametrize("case", BROKEN_METADATA)
def test_broken_metadata_is_refused(path, case):
    entries, said = BROKEN_METADATA[case]
    assert said in refusal(path, raw_gguf(entries=entries, tensors=[raw_tensor("a", (1,), 0)]))


BROKEN_TENSORS = {
    "name twice": ([raw_tensor("a", (8,), 0), raw_tensor("a", (8,), 0, 32)], "'a' twice"),
    "five dimensions": ([raw_tensor("a", (1,) * 5, 0)], "has 5 dimensions"),
    "many dimensions": ([text("a") + struct.pack("<I", 2**32 - 1)], "dimensions"),
    "unknown type": ([raw_tensor("a", (256,), 4)], "unknown type 4"),
    "newer type": ([raw_tensor("a", (256,), 999)], "unknown type 999"),
    "row of half a block": ([raw_tensor("a", (48, 2), 8)], "48 values, no multiple of q8_0's 32"),
    "more than any memory": ([raw_tensor("a", (2**62,), 0)], "larger than any memory"),
    "an overflowing product": ([raw_tensor("a", (2**32, 2**32), 24)], "larger than any memory"),
    "a dimension too large": ([raw_tensor("a", (0, 2**63), 24)], "larger than any memory"),
    "long name": ([raw_tensor("a" * 256, (8,), 0)], "a tensor's name of 256 bytes"),
    "first not at the beginning": ([raw_tensor("a", (8,), 0, 32)], "'a' begins at 32 instead of 0"),
    "overlap": ([raw_tensor("a", (9,), 0), raw_tensor("b", (8,), 0, 32)], "begins at 32 instead of 64"),
    "not aligned": ([raw_tensor("a", (9,), 0), raw_tensor("b", (8,), 0, 36)], "begins at 36 instead of 64"),
    "behind the end": ([raw_tensor("a", (2**40,), 0)], "bytes short"),
}


@pytest.mark.parametrize("case", BROKEN_TENSORS)
def test_broken_tensors_are_refused(path, case):
    tensors, said = BROKEN_TENSORS[case]
    assert said in refusal(path, raw_gguf(tensors=tensors))


@pytest.mark.parametrize("counts", [(HUGE, 0), (0, HUGE), (2**64 - 1, 2**64 - 1), (400, 0), (0, 400)])
def test_counts_that_the_file_cannot_hold_are_refused(path, counts):
    assert "cannot hold" in refusal(path, raw_gguf(counts=counts))


def test_a_name_with_control_characters_does_not_reach_the_terminal(path):
    said = refusal(path, raw_gguf(tensors=[raw_tensor("\x1b[2Ja\nb", (256,), 4)]))
    assert said.isprintable()
    assert r"\x1b" in said


def test_what_is_no_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "not a file but a pipe" in refusal(tmp_path / "pipe")
    assert "is a folder" in refusal(tmp_path)
    assert "No such file" in refusal(tmp_path / "missing.gguf")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "symbolic links" in refusal(tmp_path / "loop")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        assert "a socket" in refusal(tmp_path / "s")
    assert "not a file but a pipe, a socket or a device" in refusal(type(tmp_path)("/dev/zero"))
    with pytest.raises(ModelFileError, match="no name that a file can have"):
        read_gguf("a\0b")


def test_a_file_that_may_not_be_read_is_said_so(path, monkeypatch):
    path.write_bytes(gguf_bytes())

    def forbidden(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", forbidden)
    assert refusal(path).endswith("cannot be read: Permission denied")


def test_a_broken_disk_is_said_so(path, monkeypatch):
    path.write_bytes(gguf_bytes())

    def broken(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", broken)
    assert refusal(path).endswith("cannot be read: Input/output error")


def test_a_file_that_shrinks_while_it_is_read_is_said_so(path, monkeypatch):
    path.write_bytes(gguf_bytes({"tokens": ["x" * 1000] * 1000}))
    real = os.pread

    def shrinking(descriptor, count, offset):
        if offset:
            os.truncate(path, 1000)
        return real(descriptor, count, offset)

    monkeypatch.setattr(os, "pread", shrinking)
    assert "became shorter while it was read" in refusal(path)


def test_no_descriptor_is_left_open(path):
    path.write_bytes(gguf_bytes())
    before = len(os.listdir("/proc/self/fd"))
    for content in (None, b"", raw_gguf(counts=(9999, 9)), raw_gguf(tensors=[raw_tensor("a", (8,), 4)])):
        refusal(path, content)
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_daemon_starts_without_numpy(run_python):
    code = "import sys, gpumod.daemon; print(sorted({'numpy', 'gguf', 'torch'} & set(sys.modules)))"
    assert run_python(code) == "[]"


def test_reading_a_header_needs_no_other_package(run_python, path):
    path.write_bytes(gguf_bytes())
    code = (
        "import sys; before = set(sys.modules); from gpumod.estimate.gguf.reader import read_gguf;"
        f"read_gguf({str(path)!r}); print('numpy' in sys.modules, 'mmap' in sys.modules)"
    )
    assert run_python(code) == "False False"


@pytest.fixture
def run_python():
    import subprocess

    def run(code):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout.strip()

    return run


def test_infos_of_the_writer_are_the_readers(path):
    tensors = [TensorInfo(f"t{kind}", (256, 2), kind) for kind in ("f16", "q4_k", "mxfp4", "iq1_m", "nvfp4")]
    path.write_bytes(gguf_bytes(tensors=(*TENSORS, *tensors)))
    assert [tensor_bytes(one) for one in read_gguf(path).tensors] == [
        one.size for one in (*TENSORS, *tensors)
    ]
