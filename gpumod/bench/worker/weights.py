"""What model files say of themselves: the types of their weights."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final

from gpumod.estimate.errors import ModelFileError
from gpumod.estimate.files import shards
from gpumod.estimate.gguf.reader import read_gguf
from gpumod.estimate.gguf.types import GGML_TYPES, tensor_bytes
from gpumod.estimate.vllm.checkpoint import read_checkpoint

_GUESSED: Final = 1024
"""Added to a file type that was guessed (llama.h, LLAMA_FTYPE_GUESSED)."""
_FILE_TYPES: Final = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
    19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL",
    26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0",
    37: "TQ2_0", 38: "MXFP4",
}  # fmt: skip
"""`general.file_type` by llama.h's `enum llama_ftype`."""


def weights_of(path: str) -> dict[str, object]:
    """`quant`, and `weights`: bytes by type, of a GGUF or a checkpoint's file; nothing where it does not say.

    Reads the header alone. A split GGUF is told at its first part, a checkpoint at any of its files.
    """
    try:
        if path.endswith(".gguf"):
            return _gguf(path)
        if path.endswith(".safetensors"):
            return _checkpoint(str(Path(path).parent))
    except (ModelFileError, OSError):
        return {}
    return {}


def _gguf(path: str) -> dict[str, object]:
    if next(shards(path)) != path:
        return {}  # a later part of a split model
    header = read_gguf(path)
    sizes: Counter[str] = Counter()
    for tensor in header.tensors:
        sizes[GGML_TYPES[tensor.type].name.upper()] += tensor_bytes(tensor)
    kind = header.metadata.get("general.file_type")
    named = _FILE_TYPES.get(kind % _GUESSED) if isinstance(kind, int) else None
    largest = sizes.most_common(1)
    quant = named or (largest[0][0] if largest else "")
    return {"quant": quant, "weights": dict(sizes.most_common())} if quant else {}


def _checkpoint(folder: str) -> dict[str, object]:
    model = read_checkpoint(folder).model
    stored = model.quantization
    if stored is None:
        return {"quant": model.dtype}
    return {"quant": f"{stored.method} {stored.bits} bit" if stored.bits else stored.method}
