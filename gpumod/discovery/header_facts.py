"""What a GGUF is, from its header. Pure.

Keys and architectures as in llama.cpp: `src/llama-arch.cpp`, `gguf-py/gguf/constants.py` (`GGUFType`,
`PoolingType`), and for projectors `tools/mtmd/clip-impl.h`.
"""

from __future__ import annotations

from typing import Final

from gpumod.core.spec import Task
from gpumod.discovery.values import GgufFacts, GgufKind
from gpumod.estimate.gguf.header import GgufHeader, SkippedArray

_RANK: Final = 4
"""`LLAMA_POOLING_TYPE_RANK`; 1, 2 and 3 are mean, the first and the last token."""
_ENCODERS: Final = frozenset(
    {
        "bert",
        "eurobert",
        "gemma-embedding",
        "jina-bert-v2",
        "jina-bert-v3",
        "llama-embed",
        "modern-bert",
        "neo-bert",
        "nomic-bert",
        "nomic-bert-moe",
    }
)
"""Architectures that make embeddings, or rank where they have a classifier."""
_KINDS: Final = {
    "adapter": "a LoRA adapter, no model of its own",
    "imatrix": "an importance matrix for quantising, no model",
}
_OTHERS: Final = {
    "controlvector": "a control vector, no model of its own",
    "wavtokenizer-dec": "a decoder of audio tokens, no language model",
    "t5encoder": "an encoder for image generation, no language model",
    "eagle3": "an EAGLE-3 draft, which presets cannot name yet",
    "dflash": "a DFlash draft, which presets cannot name yet",
}
_ASSISTANT: Final = "gemma4-assistant"
"""Gemma 4's MTP head as a file of its own (llama.cpp `src/models/gemma4-assistant.cpp`)."""
_BLOCK: Final = 32
"""Values in a block of q8_0."""


def gguf_facts(header: GgufHeader, name: str) -> GgufFacts | str:
    """What the file is, or a phrase that says why it is no model.

    Args:
        header: of the file.
        name: the file's name: some drafts are told by nothing else.
    """
    kind = header.metadata.get("general.type")
    architecture = header.architecture
    if isinstance(kind, str) and kind in _KINDS:
        return _KINDS[kind]
    if architecture in _OTHERS:
        return _OTHERS[architecture]
    if architecture == "clip" or kind == "mmproj":
        return _projector(header)
    if not architecture:
        return "its header names no architecture"
    if not header.tensors:
        return "a vocabulary without weights"
    blocks, embedding = _number(header, "block_count"), _number(header, "embedding_length")
    if blocks is None or embedding is None or "token_embd.weight" not in header.by_name:
        return f"architecture {architecture} is no language model that llama.cpp serves"
    if any(tensor.name.startswith(("v.", "mm.")) for tensor in header.tensors):
        return "has its projector in the same file, which only Ollama's own engine reads"
    return _language_model(header, name, blocks, embedding)


def _projector(header: GgufHeader) -> GgufFacts:
    sizes = (header.metadata.get(f"clip.{part}.projection_dim") for part in ("vision", "audio"))
    types = (
        header.metadata.get(key)
        for key in ("clip.projector_type", "clip.vision.projector_type", "clip.audio.projector_type")
    )
    return GgufFacts(
        GgufKind.PROJECTOR,
        "clip",
        title=_text(header, "general.name"),
        embedding=next((size for size in sizes if isinstance(size, int)), None),
        projector=next((one for one in types if isinstance(one, str)), ""),
    )


def _language_model(header: GgufHeader, name: str, blocks: int, embedding: int) -> GgufFacts:
    draft = _draft(header, name)
    return GgufFacts(
        GgufKind.DRAFT if draft else GgufKind.MODEL,
        header.architecture,
        title=_text(header, "general.name"),
        task=_task(header, name),
        trained=_number(header, "context_length"),
        embedding=embedding,
        target=(_number(header, "embedding_length_out") or embedding) if draft == "mtp" else None,
        blocks=blocks,
        vocabulary=_vocabulary(header),
        tokenizer=f"{_text(header, 'tokenizer.ggml.model')}/{_text(header, 'tokenizer.ggml.pre')}",
        mtp=not draft and any(".nextn." in tensor.name for tensor in header.tensors),
        draft=draft,
        experts=_number(header, "expert_count") or 0,
        quantisable_cache=_head_size(header, embedding) % _BLOCK == 0,
    )


def _draft(header: GgufHeader, name: str) -> str:
    """The type of a draft; empty for a model of its own."""
    heads = any(".nextn." in tensor.name for tensor in header.tensors)
    if header.architecture == _ASSISTANT or (heads and "blk.0.attn_norm.weight" not in header.by_name):
        return "mtp"
    words = name.lower().replace("_", "-").replace(".", "-").split("-")
    # llama.cpp downloads `mtp-*.gguf` beside a model as its draft (common/download.cpp).
    if words[0] == "mtp":
        return "mtp"
    return "model" if {"draft", "drafter"} & set(words) else ""


def _task(header: GgufHeader, name: str) -> Task:
    pooling = _number(header, "pooling_type")
    ranks = any(tensor.name.startswith("cls.") for tensor in header.tensors)
    encoder = header.architecture in _ENCODERS
    if pooling == _RANK or (ranks and (encoder or "rerank" in name.lower())):
        return Task.RERANK
    if encoder or pooling:
        return Task.EMBEDDING
    return Task.CHAT if "tokenizer.chat_template" in header.metadata else Task.COMPLETION


def _head_size(header: GgufHeader, embedding: int) -> int:
    heads = header.value("attention.head_count")
    first = max(heads, default=0) if isinstance(heads, tuple) else heads
    length = _number(header, "attention.key_length")
    if length:
        return length
    return embedding // first if isinstance(first, int) and first > 0 else 0


def _vocabulary(header: GgufHeader) -> int | None:
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, SkippedArray):
        return tokens.length
    return len(tokens) if isinstance(tokens, tuple) else None


def _number(header: GgufHeader, key: str) -> int | None:
    value = header.value(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(header: GgufHeader, key: str) -> str:
    value = header.metadata.get(key)
    return value if isinstance(value, str) else ""
