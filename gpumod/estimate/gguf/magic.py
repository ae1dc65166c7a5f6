"""What a file begins with: a GGUF that can be read, or what it is instead."""

from __future__ import annotations

from typing import Final

from gpumod.estimate.gguf.source import Source

_MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_PLAUSIBLE: Final = 31
"""No format of one new version in two years gets that far."""
_LOOK: Final = 64

_BEGINNINGS: Final = (
    (b"version https://git-lfs", "is a Git LFS pointer: fetch the model itself with `git lfs pull`"),
    (b"PK\x03\x04", "is a PyTorch checkpoint or a zip archive, not a GGUF"),
    (b"\x1f\x8b", "is compressed with gzip: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd: unpack it first"),
    (b"lmgg", "is in the old GGML format: fetch a GGUF of the model"),
    (b"fmgg", "is in the old GGML format: fetch a GGUF of the model"),
    (b"tjgg", "is in the old GGML format: fetch a GGUF of the model"),
    (b"algg", "is a LoRA adapter in the old GGML format: fetch a GGUF"),
    (b"{", "is JSON, not a GGUF: the answer of a server, or a file beside the model; fetch the model again"),
    (bytes(8), "begins with zeros: its download has not come to the beginning yet, or was cut off"),
)
_PAGES: Final = (b"<!doctype", b"<html", b"<?xml")


def check_magic(source: Source) -> None:
    """Read the magic and the version.

    Raises:
        ModelFileError: the file is no GGUF, or one of a version or byte order that llama.cpp does not read.
    """
    if source.size == 0:
        source.fail("is empty: its download has not begun or was cut off; fetch it again")
    head = source.take(min(_LOOK, source.size))
    if len(head) < 8 and _MAGIC.startswith(head[:4]):
        source.fail("ends after its first bytes: the download was cut off; fetch it again")
    if head[:4] != _MAGIC:
        source.fail(_instead(head))
    version = int.from_bytes(head[4:8], "little")
    if not version & 0xFFFF:
        source.fail("is in big-endian byte order, for other processors: fetch the little-endian file")
    if version < _VERSIONS[0]:
        source.fail(f"is in version {version} of GGUF, which llama.cpp no longer reads: fetch a newer one")
    if version > _PLAUSIBLE:
        source.fail(f"is corrupt: it says that it is in version {version} of GGUF; fetch it again")
    if version > _VERSIONS[-1]:
        source.fail_unknown(f"is in version {version} of GGUF, which is newer than what gpumod can read")
    source.rewind(8)


def _instead(head: bytes) -> str:
    # Eight bytes with the length of a JSON object, which follows.
    if head[8:9] == b"{" and 0 < int.from_bytes(head[:8], "little") < 2**32:
        return "is a safetensors file, which vLLM reads and llama.cpp does not: fetch a GGUF of the model"
    for beginning, answer in _BEGINNINGS:
        if head.startswith(beginning):
            return answer
    if head.lstrip().lower().startswith(_PAGES):
        return "is a web page, not a model: fetch it again, perhaps with a login"
    return "is not a GGUF: it does not begin with those four letters"
