"""GGUFs for tests, from bytes: valid ones and wrong ones."""

import struct

from gpumod.estimate.errors import ModelFileError
from gpumod.estimate.gguf.reader import read_gguf
from gpumod.testing.gguf_format import Entry, TensorInfo, aligned, gguf_header, text

SMALL: dict[str, Entry] = {"general.architecture": "llama", "llama.block_count": 2}
TENSORS = (TensorInfo("a.weight", (64, 3), "q8_0"), TensorInfo("b.weight", (5,), "f32"))


def gguf_bytes(metadata=None, tensors=TENSORS, *, alignment=32):
    """A complete file with zeros for data, and no padding after the last tensor."""
    header = gguf_header(SMALL if metadata is None else metadata, tensors, alignment=alignment)
    *before, last = [tensor.size for tensor in tensors] or [0]
    return header + bytes(sum(aligned(size, alignment) for size in before) + last)


def raw_gguf(*, entries=(), tensors=(), counts=None, version=3, data=bytes(4096)):
    """A file out of entries and tensors that are bytes already, with other counts than theirs if given."""
    tensor_count, entry_count = counts or (len(tensors), len(entries))
    header = b"GGUF" + struct.pack("<IQQ", version, tensor_count, entry_count)
    header += b"".join(entries) + b"".join(tensors)
    return header.ljust(aligned(len(header)), b"\0") + data


def raw_entry(key, kind, value):
    return text(key) + struct.pack("<I", kind) + value


def raw_tensor(name, shape, kind, offset=0):
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def refusal(path, content=None):
    """Why a file is refused; it has to begin with the file's path."""
    if content is not None:
        path.write_bytes(content)
    try:
        read_gguf(path)
    except ModelFileError as problem:
        said = problem.detail
    else:
        return ""
    assert said.startswith(str(path.parent)), said
    return said
