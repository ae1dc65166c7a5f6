from __future__ import annotations

from typing import Any

import pytest

from gpumod.core.cards import CardModel
from gpumod.core.spec import Draft, ServiceSpec
from gpumod.estimate.vllm import Checkpoint, TensorGroup, vllm_setting
from gpumod.estimate.vllm.weights import rotary_table, weights_per_rank
from tests.estimate.vllm import models
from tests.estimate.vllm.models import build, checkpoint, service


def loaded(
    tensors: list[TensorGroup],
    ranks: int = 1,
    *,
    config: dict[str, Any] = models.LLAMA_8B,
    spec: ServiceSpec | None = None,
    card: CardModel = models.AMPERE,
) -> int:
    """Bytes per rank without what is not in the files."""
    model = checkpoint(config).model
    found = Checkpoint("x", model, tuple(tensors))
    setting = vllm_setting(model, spec or service(), ranks, card, build())
    return weights_per_rank(found, setting, card) - rotary_table(model, setting)


def one(name: str, *shape: int, dtype: str = "BF16", count: int = 1) -> TensorGroup:
    return TensorGroup(name, dtype, shape, count)


LAYER = "model.layers.#."


@pytest.mark.parametrize(
    ("name", "shape", "share"),
    [
        (f"{LAYER}self_attn.q_proj.weight", (4096, 4096), 4),
        (f"{LAYER}self_attn.q_proj.bias", (4096,), 4),
        (f"{LAYER}self_attn.o_proj.weight", (4096, 4096), 4),
        (f"{LAYER}self_attn.o_proj.bias", (4096,), 1),
        (f"{LAYER}self_attn.k_proj.weight", (1024, 4096), 4),
        (f"{LAYER}mlp.down_proj.weight", (4096, 14336), 4),
        (f"{LAYER}mlp.down_proj.bias", (4096,), 1),
        (f"{LAYER}mlp.experts.#.up_proj.weight", (768, 4096), 4),
        (f"{LAYER}mlp.gate.weight", (128, 4096), 1),
        (f"{LAYER}mlp.gate.e_score_correction_bias", (128,), 1),
        (f"{LAYER}mlp.gate_proj.weight", (128, 4096), 4),
        (f"{LAYER}input_layernorm.weight", (4096,), 1),
        (f"{LAYER}self_attn.q_norm.weight", (128,), 1),
        (f"{LAYER}self_attn.kv_a_proj_with_mqa.weight", (576, 4096), 1),
        (f"{LAYER}self_attn.q_a_proj.weight", (1536, 4096), 1),
        (f"{LAYER}self_attn.kv_b_proj.weight", (8192, 512), 4),
        (f"{LAYER}linear_attn.in_proj_qkv.weight", (8192, 4096), 4),
        (f"{LAYER}linear_attn.conv1d.weight", (8192, 1, 4), 4),
    ],
)
def test_what_four_ranks_divide_and_what_each_holds(name: str, shape: tuple[int, ...], share: int) -> None:
    tensor = one(name, *shape, count=32)
    assert loaded([tensor]) == tensor.size
    assert loaded([tensor], 4) == tensor.size // share


def test_key_and_value_heads_are_held_twice_where_there_are_too_few() -> None:
    keys = one(f"{LAYER}self_attn.k_proj.weight", 1024, 4096)
    assert loaded([keys], 16) == keys.size // 8


@pytest.mark.parametrize("name", ["lm_head.weight", "model.embed_tokens.weight"])
def test_the_vocabulary_is_padded(name: str) -> None:
    assert loaded([one(name, 128257, 4096)], 2) == (128257 + 63) * 4096 * 2 // 2


def test_a_tied_head_is_held_once() -> None:
    tensors = [one("model.embed_tokens.weight", 128, 64), one("lm_head.weight", 128, 64)]
    assert loaded(tensors, config=models.LLAMA_8B | {"tie_word_embeddings": True}) == 128 * 64 * 2
    assert loaded(tensors) == 2 * 128 * 64 * 2


def test_floats_take_the_models_type_and_codes_keep_theirs() -> None:
    assert loaded([one("model.layers.#.mlp.up_proj.weight", 8, 8, dtype="F32")]) == 128
    assert loaded([one("model.layers.#.mlp.up_proj.qweight", 8, 8, dtype="I32")]) == 256
    assert loaded([one("model.layers.#.linear_attn.A_log", 32, dtype="F32")]) == 128
    wide = service(vllm={"dtype": "float32"})
    assert loaded([one("model.layers.#.mlp.up_proj.weight", 8, 8)], spec=wide) == 256


def test_weights_that_are_quantised_while_loading() -> None:
    tensors = [one("model.layers.#.mlp.up_proj.weight", 64, 64), one("lm_head.weight", 64, 64)]
    assert loaded(tensors, spec=service(vllm={"quantization": "fp8"})) == 64 * 64 * (1 + 2)


def test_the_towers_are_loaded_unless_only_text_is_asked_for() -> None:
    tensors = [one("model.visual.blocks.#.attn.qkv.weight", 96, 32), one("lm_head.weight", 64, 32)]
    text = 64 * 32 * 2
    assert loaded(tensors, config=models.QWEN36_27B) == text + 96 * 32 * 2
    for args in (("--language-model-only",), ("--limit-mm-per-prompt", '{"image": 0, "video": 0}')):
        assert loaded(tensors, config=models.QWEN36_27B, spec=service(args=args)) == text
    some = service(args=("--limit-mm-per-prompt", '{"image": 2, "video": 0}'))
    assert loaded(tensors, config=models.QWEN36_27B, spec=some) > text


def test_a_draft_module_is_loaded_only_to_draft() -> None:
    tensors = [one("mtp.fc.weight", 64, 64), one("mtp.embed_tokens.weight", 64, 64)]
    assert loaded(tensors) == 0
    assert loaded(tensors, spec=service(draft=Draft("mtp"))) == 64 * 64 * 2


def test_missing_and_pickled_weights_are_divided() -> None:
    assert loaded([one("weights that were not read", 1000, dtype="U8")], 2) == 500


def test_four_bit_experts_are_padded_where_marlin_computes_them() -> None:
    experts = one("model.layers.#.mlp.experts.gate_up_proj_blocks", 32, 5760, 90, 16, dtype="U8")
    assert loaded([experts], config=models.GPT_OSS_20B, card=models.HOPPER) == experts.size
    padded = loaded([experts], config=models.GPT_OSS_20B, card=models.AMPERE)
    assert padded == pytest.approx(experts.size * (2944 / 2880) * (3072 / 2880))


def test_quantised_latent_attention_keeps_an_unquantised_projection() -> None:
    quantised = models.MISTRAL_SMALL_4 | {"quantization_config": {"quant_method": "fp8"}}
    plain = weights(models.MISTRAL_SMALL_4)
    assert weights(quantised) == plain + 36 * 32 * (64 + 128) * 256 * 2


def weights(config: dict[str, Any]) -> int:
    """Of files with one tensor."""
    return loaded([one("lm_head.weight", 64, 64)], config=config)


@pytest.mark.parametrize(
    ("quantization", "share"),
    [
        (None, 2.0),
        ({"quant_method": "fp8"}, 1.0),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, 0.5 + 2 / 128 + 0.5 / 128),
        ({"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": True}, 0.5 + 2 / 32),
    ],
)
def test_a_configuration_alone_says_how_linear_layers_are_stored(
    quantization: dict[str, Any] | None, share: float
) -> None:
    config = models.LLAMA_8B | {"quantization_config": quantization}
    model = checkpoint(config)
    setting = vllm_setting(model.model, service(), 1, models.ADA, build())
    linear = 32 * 4096 * (2 * 4096 + 2 * 1024 + 3 * 14336)
    rest = 2 * 128256 * 4096 * 2 + 65 * 4096 * 2 + rotary_table(model.model, setting)
    assert weights_per_rank(model, setting, models.ADA) == pytest.approx(linear * share + rest, rel=1e-3)


def test_modules_that_the_configuration_leaves_out_are_not_quantised() -> None:
    quantization: dict[str, Any] = {"quant_method": "fp8"}
    everything = weights_of(quantization)
    one_layer = weights_of(quantization | {"modules_to_not_convert": ["model.layers.0.mlp.up_proj"]})
    all_layers = weights_of(quantization | {"ignored_layers": ["up_proj"]})
    extra = 14336 * 4096 - 4 * 14336
    assert one_layer - everything == extra
    assert all_layers - everything == 32 * extra


def weights_of(quantization: dict[str, Any]) -> int:
    found = checkpoint(models.LLAMA_8B | {"quantization_config": quantization})
    setting = vllm_setting(found.model, service(), 1, models.ADA, build())
    return weights_per_rank(found, setting, models.ADA)
