"""Configurations of published models, as far as memory depends on them, and services to run them with."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpumod.core.cards import CardModel
from gpumod.core.names import PresetId, ServiceId
from gpumod.core.ports import EngineBuild
from gpumod.core.spec import EngineKind, ServiceSpec, VllmOptions
from gpumod.core.units import GIB
from gpumod.estimate.vllm.checkpoint import Checkpoint
from gpumod.estimate.vllm.config import read_model
from gpumod.estimate.vllm.jsonfile import Values

AMPERE = CardModel("NVIDIA GeForce RTX 3090", int(23.56 * GIB), (8, 6))
ADA = CardModel("NVIDIA GeForce RTX 4090", int(23.5 * GIB), (8, 9))
HOPPER = CardModel("NVIDIA H200", int(139.8 * GIB), (9, 0))
A100 = CardModel("NVIDIA A100-SXM4-80GB", int(79.25 * GIB), (8, 0))

LLAMA_8B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192},
    "torch_dtype": "bfloat16",
}
QWEN3_14B: dict[str, Any] = {
    "model_type": "qwen3",
    "hidden_size": 5120,
    "intermediate_size": 17408,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "torch_dtype": "bfloat16",
}
QWEN3_30B_A3B: dict[str, Any] = {
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "decoder_sparse_step": 1,
    "head_dim": 128,
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "torch_dtype": "bfloat16",
}
QWEN3_CODER_480B: dict[str, Any] = QWEN3_30B_A3B | {
    "hidden_size": 6144,
    "num_hidden_layers": 62,
    "num_attention_heads": 96,
    "num_key_value_heads": 8,
    "num_experts": 160,
    "moe_intermediate_size": 2560,
    "max_position_embeddings": 262144,
}
_GATED_DELTA_NET: dict[str, Any] = {
    "linear_num_key_heads": 16,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
    "full_attention_interval": 4,
    "mamba_ssm_dtype": "float32",
    "head_dim": 256,
    "vocab_size": 248320,
    "max_position_embeddings": 262144,
    "mtp_num_hidden_layers": 1,
    "dtype": "bfloat16",
}
QWEN36_35B_A3B: dict[str, Any] = {
    "model_type": "qwen3_5_moe",
    "architectures": ["Qwen3_5MoeForConditionalGeneration"],
    "text_config": _GATED_DELTA_NET
    | {
        "model_type": "qwen3_5_moe_text",
        "hidden_size": 2048,
        "num_hidden_layers": 40,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "linear_num_value_heads": 32,
        "num_experts": 256,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 512,
        "shared_expert_intermediate_size": 512,
    },
    "vision_config": {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304},
}
QWEN36_27B: dict[str, Any] = {
    "model_type": "qwen3_5",
    "architectures": ["Qwen3_5ForConditionalGeneration"],
    "text_config": _GATED_DELTA_NET
    | {
        "model_type": "qwen3_5_text",
        "hidden_size": 5120,
        "intermediate_size": 17408,
        "num_hidden_layers": 64,
        "num_attention_heads": 24,
        "num_key_value_heads": 4,
        "linear_num_value_heads": 48,
    },
    "vision_config": {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304},
}
GPT_OSS_20B: dict[str, Any] = {
    "model_type": "gpt_oss",
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "num_hidden_layers": 24,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 201088,
    "num_local_experts": 32,
    "num_experts_per_tok": 4,
    "max_position_embeddings": 131072,
    "sliding_window": 128,
    "layer_types": ["sliding_attention", "full_attention"] * 12,
    "attention_bias": True,
    "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]},
    "rope_scaling": {"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096},
}
_GEMMA4: dict[str, Any] = {
    "model_type": "gemma4_text",
    "head_dim": 256,
    "global_head_dim": 512,
    "attention_k_eq_v": True,
    "vocab_size": 262144,
    "sliding_window": 1024,
    "max_position_embeddings": 262144,
    "dtype": "bfloat16",
}
GEMMA4_26B_A4B: dict[str, Any] = {
    "model_type": "gemma4",
    "text_config": _GEMMA4
    | {
        "hidden_size": 2816,
        "intermediate_size": 2112,
        "moe_intermediate_size": 704,
        "num_experts": 128,
        "top_k_experts": 8,
        "num_hidden_layers": 30,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "num_global_key_value_heads": 2,
        "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 5,
    },
    "vision_config": {
        "model_type": "gemma4_vision",
        "num_hidden_layers": 27,
        "hidden_size": 1152,
        "intermediate_size": 4304,
    },
}
GEMMA4_31B: dict[str, Any] = {
    "model_type": "gemma4",
    "text_config": _GEMMA4
    | {
        "hidden_size": 5376,
        "intermediate_size": 21504,
        "num_hidden_layers": 60,
        "num_attention_heads": 32,
        "num_key_value_heads": 16,
        "num_global_key_value_heads": 4,
        "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 10,
    },
    "vision_config": {"num_hidden_layers": 27, "hidden_size": 1152, "intermediate_size": 4304},
}
MISTRAL_SMALL_4: dict[str, Any] = {
    # The text model's latent attention; the experts do not matter for its cache.
    "model_type": "deepseek_v3",
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "kv_lora_rank": 256,
    "q_lora_rank": 1024,
    "qk_nope_head_dim": 64,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "vocab_size": 131072,
    "max_position_embeddings": 1048576,
}


def checkpoint(config: Mapping[str, Any]) -> Checkpoint:
    """A model of which only the configuration is there."""
    return Checkpoint("config only", read_model(Values("config.json", config)))


def service(*, args: tuple[str, ...] = (), vllm: dict[str, Any] | None = None, **keys: Any) -> ServiceSpec:
    return ServiceSpec(
        id=ServiceId("llm"),
        preset=PresetId("llm"),
        engine=EngineKind.VLLM,
        model="/models/llm",
        args=args,
        vllm=VllmOptions(**(vllm or {})),
        **keys,
    )


def build(version: str = "0.20.2") -> EngineBuild:
    return EngineBuild("/usr/bin/vllm", version)


def write_safetensors(
    path: Path, tensors: Mapping[str, tuple[str, list[int], int]], *, data: bool = True
) -> None:
    """A file whose tensors have the given types, shapes and bytes; their data is a hole."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place + size]}
        place += size
    write_header(path, json.dumps(header).encode(), place if data else 0)


def write_header(path: Path, header: bytes, data: int = 0) -> None:
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + data)
