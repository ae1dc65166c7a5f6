"""Values that tests of discovery are made of."""

from gpumod.core.cards import HOST_MODEL, CardModel
from gpumod.core.names import CardId
from gpumod.core.units import GIB
from gpumod.discovery.box import Box
from gpumod.discovery.values import FoundFile, Gguf, GgufFacts, GgufFiles, GgufKind
from gpumod.estimate.advice import Room
from gpumod.estimate.gguf.header import GgufHeader, SkippedArray, Tensor

BIG = CardModel("RTX 4090", 24 * GIB, (8, 9), 128)
SMALL = CardModel("RTX 3060", 12 * GIB, (8, 6), 28)


def header(architecture="llama", tensors=("token_embd.weight", "blk.0.attn_norm.weight"), **keys):
    """The header of a language model; keys without a dot are the architecture's own."""
    metadata = {
        "general.architecture": architecture,
        "tokenizer.chat_template": "{{ messages }}",
        "tokenizer.ggml.tokens": SkippedArray(32000),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        f"{architecture}.block_count": 32,
        f"{architecture}.embedding_length": 4096,
        f"{architecture}.context_length": 131072,
        f"{architecture}.attention.head_count": 32,
    }
    for name, value in keys.items():
        key = name.replace("__", ".")
        metadata[key if "." in key else f"{architecture}.{key}"] = value
    known = {key: value for key, value in metadata.items() if value is not None}
    return GgufHeader("/m/a.gguf", known, tuple(Tensor(name, 0, (32, 32)) for name in tensors))


def gguf(path, kind=GgufKind.MODEL, *, size=GIB, projector_path=None, **facts):
    """A GGUF that was read."""
    name = path.rpartition("/")[2].removesuffix(".gguf")
    given = {"embedding": 4096, "blocks": 32, "vocabulary": 32000, "tokenizer": "gpt2/qwen2", **facts}
    architecture = given.pop("architecture", "qwen35")
    return Gguf(GgufFiles(path, size, name, projector_path), GgufFacts(kind, architecture, **given))


def file(path, size=100, inode=None):
    """A file that was found; each with an inode of its own."""
    return FoundFile(path, size, (1, hash(path) if inode is None else inode))


def box(*cards, host=64 * GIB):
    """A box with cards, each a model and its free bytes."""
    rooms = tuple(Room(CardId(f"GPU-{index}"), model, free) for index, (model, free) in enumerate(cards))
    return Box(rooms, host)


def host_box(free=16 * GIB):
    """A box whose card is the host's memory."""
    return Box((Room(CardId("host"), HOST_MODEL, free),), free, on_host=True)
