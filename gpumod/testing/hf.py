"""Small Hugging Face model folders with random weights, written with the standard library alone: for vLLM.

As in `gguf`, the output rows of everything but printable ASCII are zero and the others large: a request runs
to its `max_tokens` and is readable.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SPECIALS: Final = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_VOCABULARY: Final = 320
"""256 bytes and the special tokens, padded to a multiple of 64."""
_BLOCK: Final = 16381
_ADDED: Final[dict[str, object]] = {
    "single_word": False,
    "lstrip": False,
    "rstrip": False,
    "normalized": False,
    "special": True,
}
_TEMPLATE: Final = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True, slots=True)
class HfShape:
    """The dimensions of a Qwen2 model in float32."""

    layers: int = 2
    hidden: int = 64
    feed_forward: int = 256
    heads: int = 2
    context: int = 2048


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    spread: float | None
    """Standard deviation of the values; None means that all are `value`."""
    value: float = 0.0


def write_hf(folder: Path, shape: HfShape | None = None, *, seed: int = 0) -> Path:
    """Write a model folder (config, tokenizer, weights) and return its path."""
    shape = shape or HfShape()
    folder.mkdir(parents=True, exist_ok=True)
    alphabet = _byte_alphabet()
    order = {character: index for index, character in enumerate(sorted(alphabet.values()))}
    specials = {token: len(order) + index for index, token in enumerate(_SPECIALS)}
    documents = {
        "config.json": _config(shape, specials),
        "generation_config.json": {"eos_token_id": [specials["<|im_end|>"]], "do_sample": False},
        "tokenizer.json": _tokenizer(order, specials),
        "tokenizer_config.json": _tokenizer_config(shape, specials),
    }
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document))
    printable = {order[alphabet[byte]] for byte in range(0x21, 0x7F)}
    _write_weights(folder / "model.safetensors", shape, printable, random.Random(seed))
    return folder


def _byte_alphabet() -> dict[int, str]:
    """The character that byte-level tokenizers show each byte as: itself where it is printable."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {byte: chr(byte) for byte in shown} | {byte: chr(256 + n) for n, byte in enumerate(hidden)}


def _config(shape: HfShape, specials: dict[str, int]) -> dict[str, object]:
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "hidden_act": "silu",
        "max_position_embeddings": shape.context,
        "max_window_layers": shape.layers,
        "use_sliding_window": False,
        "sliding_window": None,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "vocab_size": _VOCABULARY,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "bos_token_id": specials["<|endoftext|>"],
        "eos_token_id": specials["<|im_end|>"],
    }


def _tokenizer(order: dict[str, int], specials: dict[str, int]) -> dict[str, object]:
    """Byte-level BPE without merges: every byte is a token."""
    added = [_ADDED | {"id": number, "content": token} for token, number in specials.items()]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model: dict[str, object] = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": order,
        "merges": [],
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": model,
    }


def _tokenizer_config(shape: HfShape, specials: dict[str, int]) -> dict[str, object]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": shape.context,
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
        "added_tokens_decoder": {
            str(number): _ADDED | {"content": token} for token, number in specials.items()
        },
        "chat_template": _TEMPLATE,
    }


def _tensors(shape: HfShape) -> Iterator[_Tensor]:
    width, inner = shape.hidden, shape.feed_forward
    narrow, wide = width**-0.5, inner**-0.5
    yield _Tensor("model.embed_tokens.weight", (_VOCABULARY, width), 1.0)
    yield _Tensor("model.norm.weight", (width,), None, 1.0)
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}."
        yield _Tensor(f"{prefix}input_layernorm.weight", (width,), None, 1.0)
        yield _Tensor(f"{prefix}post_attention_layernorm.weight", (width,), None, 1.0)
        for part in ("q", "k", "v"):
            yield _Tensor(f"{prefix}self_attn.{part}_proj.weight", (width, width), narrow)
            yield _Tensor(f"{prefix}self_attn.{part}_proj.bias", (width,), None)
        yield _Tensor(f"{prefix}self_attn.o_proj.weight", (width, width), narrow)
        yield _Tensor(f"{prefix}mlp.gate_proj.weight", (inner, width), narrow)
        yield _Tensor(f"{prefix}mlp.up_proj.weight", (inner, width), narrow)
        yield _Tensor(f"{prefix}mlp.down_proj.weight", (width, inner), wide)
    yield _Tensor("lm_head.weight", (_VOCABULARY, width), 10 * narrow)


def _write_weights(path: Path, shape: HfShape, printable: set[int], source: random.Random) -> None:
    block = [source.gauss(0.0, 1.0) for _ in range(_BLOCK)]
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = bytearray()
    begin = 0
    for tensor in _tensors(shape):
        rows, columns = tensor.shape[0], tensor.shape[1] if len(tensor.shape) > 1 else 1
        start = len(data)
        for row in range(rows):
            silent = tensor.name == "lm_head.weight" and row not in printable
            if tensor.spread is None or silent:
                values = [0.0 if silent else tensor.value] * columns
            else:
                values = [block[(begin + index) % _BLOCK] * tensor.spread for index in range(columns)]
                begin += columns
            data += struct.pack(f"<{columns}f", *values)
        header[tensor.name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": [start, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
