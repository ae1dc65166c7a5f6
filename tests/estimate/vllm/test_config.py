from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpumod.estimate.errors import ModelFileError
from gpumod.estimate.vllm import Model, predict_vllm, read_checkpoint, vllm_plan
from gpumod.estimate.vllm.config import read_model
from gpumod.estimate.vllm.jsonfile import LARGEST_CONFIG, Values, load
from tests.estimate.vllm import models
from tests.estimate.vllm.models import build, checkpoint, service


def read(config: dict[str, Any]) -> Model:
    return read_model(Values("config.json", config))


def test_a_model_that_sees_is_described_by_its_text_model() -> None:
    model = read(models.QWEN36_27B)
    assert (model.layers, model.hidden, model.heads, model.kv_heads, model.head_size) == (
        64,
        5120,
        24,
        4,
        256,
    )
    assert len(model.attention) == 16
    assert len(model.states) == 48
    assert model.has_vision
    assert model.drafter_layers == 1


def test_a_missing_head_size_follows_from_the_width() -> None:
    assert read(models.LLAMA_8B).head_size == 128
    assert read(models.LLAMA_8B | {"head_dim": None}).head_size == 128


def test_missing_key_and_value_heads_are_as_many_as_heads() -> None:
    config = {key: value for key, value in models.LLAMA_8B.items() if key != "num_key_value_heads"}
    assert read(config).kv_heads == 32


@pytest.mark.parametrize(
    ("changes", "windows"),
    [
        ({}, [None] * 32),
        ({"sliding_window": 4096}, [4096] * 32),
        ({"sliding_window": 4096, "use_sliding_window": False}, [None] * 32),
        ({"sliding_window": 512, "sliding_window_pattern": 4}, ([512] * 3 + [None]) * 8),
        ({"sliding_window": 512, "model_type": "gemma2"}, [512, None] * 16),
        (
            {"sliding_window": 512, "layer_types": ["full_attention", "sliding_attention"] * 16},
            [None, 512] * 16,
        ),
    ],
)  # fmt: skip
def test_which_layers_slide(changes: dict[str, Any], windows: list[int | None]) -> None:
    assert [one.window for one in read(models.LLAMA_8B | changes).attention] == windows


def test_layers_that_share_a_cache_have_none_of_their_own() -> None:
    assert len(read(models.LLAMA_8B | {"num_kv_shared_layers": 12}).attention) == 20


def test_global_layers_can_have_heads_of_their_own() -> None:
    kinds = {(one.window, one.heads, one.key) for one in read(models.GEMMA4_26B_A4B).attention}
    assert kinds == {(1024, 8, 256), (None, 2, 512)}


def test_latent_attention_stores_one_compressed_key() -> None:
    (kind,) = set(read(models.MISTRAL_SMALL_4).attention)
    assert (kind.heads, kind.key, kind.value, kind.latent) == (1, 320, 0, True)


@pytest.mark.parametrize(
    ("scaling", "context"),
    [
        (None, 131072),
        ({"rope_type": "llama3", "factor": 8.0}, 131072),
        ({"rope_type": "linear", "factor": 2.0}, 262144),
        ({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}, 131072),
    ],
)
def test_the_trained_context_is_scaled_as_vllm_does(scaling: dict[str, Any] | None, context: int) -> None:
    assert read(models.LLAMA_8B | {"rope_scaling": scaling}).context == context


@pytest.mark.parametrize(
    ("quantization", "method", "bits", "group"),
    [
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}, "awq", 4, 128),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1, "sym": True}, "gptq", 8, 0),
        ({"quant_method": "auto-round", "bits": 4, "group_size": 128}, "auto-round", 4, 128),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8", 8, 0),
        ({"quant_method": "mxfp4"}, "mxfp4", 4, 32),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 4, "group_size": 32}}},
            },
            "compressed-tensors", 4, 32,
        ),
        (
            {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "group_size": 16}},
            "modelopt_fp4", 4, 16,
        ),
    ],
)  # fmt: skip
def test_how_weights_are_stored(quantization: dict[str, Any], method: str, bits: int, group: int) -> None:
    found = read(models.LLAMA_8B | {"quantization_config": quantization}).quantization
    assert found is not None
    assert (found.method, found.bits, found.group) == (method, bits, group)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": "32"},
        {"num_hidden_layers": float("nan")},
        {"num_hidden_layers": 10**30},
        {"num_hidden_layers": 0},
        {"num_hidden_layers": None},
        {"hidden_size": -4096},
        {"hidden_size": 4096.5},
        {"hidden_size": True},
        {"num_key_value_heads": [8]},
        {"vocab_size": float("inf")},
        {"head_dim": {}},
        {"layer_types": "full_attention"},
        {"layer_types": ["full_attention"] * 100_000},
        {"num_local_experts": 8, "num_experts_per_tok": 9},
        {"rope_scaling": {"rope_type": "linear", "factor": -1}},
        {"tie_word_embeddings": "yes"},
    ],
)
def test_a_wrong_number_is_named(changes: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError, match=r"config.json: `\w+` is .*"):
        read(models.LLAMA_8B | changes)


def test_a_cache_that_is_not_modelled_is_said_not_to_be() -> None:
    config = models.MISTRAL_SMALL_4 | {"compress_ratios": [4, 128]}
    prediction = predict_vllm(checkpoint(config), service(), 1, models.HOPPER, build=build())
    assert any("DeepSeek V4" in note for note in prediction.notes)


def test_a_cache_without_a_size() -> None:
    config = models.MISTRAL_SMALL_4 | {"kv_lora_rank": 0, "qk_rope_head_dim": 0}
    plan = vllm_plan(checkpoint(config), service(), 1, models.HOPPER, build=build())
    assert "no size" in plan.pool.problem
    assert not plan.pool.starts


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "not JSON"),
        (b"[1]", "list in place of an object"),
        (b"[" * 200_000, "not JSON"),
        (b'{"a": NaN}', "not JSON"),
        (b'{"a": ' + b"1" * 10_000 + b"}", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b" " * (LARGEST_CONFIG + 1), "larger than"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, text: bytes, says: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text)
    with pytest.raises(ModelFileError, match=says):
        load(path)


KNOWN = [
    models.LLAMA_8B,
    models.QWEN36_27B,
    models.GEMMA4_26B_A4B,
    models.GPT_OSS_20B,
    models.MISTRAL_SMALL_4,
]
KEYS = sorted({key for config in KNOWN for key in {**config, **config.get("text_config", {})}})
WRONG = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(0, 64)
    | st.floats()
    | st.text(max_size=5)
    | st.lists(st.integers(-1, 3) | st.text(max_size=3), max_size=4)
    | st.dictionaries(st.sampled_from(KEYS), st.integers(-1, 2**40) | st.text(max_size=2), max_size=4)
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(KNOWN), st.dictionaries(st.sampled_from(KEYS), WRONG, max_size=6), st.integers(1, 8))
def test_any_configuration_is_predicted_or_refused(
    tmp_path: Path, config: dict[str, Any], changes: dict[str, Any], cards: int
) -> None:
    inner = config.get("text_config")
    changed = config | changes if inner is None else config | {"text_config": inner | changes}
    (tmp_path / "config.json").write_text(json.dumps(changed))
    try:
        found = read_checkpoint(str(tmp_path))
    except ModelFileError:
        return
    prediction = predict_vllm(found, service(), cards, models.HOPPER, build=build())
    assert len(prediction.cards) == cards
    assert all(size >= 0 for part in prediction.parts for size in part.cards)


def test_layers_with_dimensions_of_their_own_have_a_cache_that_is_not_told() -> None:
    """A cache that were reckoned from the heads alone would refuse contexts that Nemotron NAS serves."""
    found = read(models.LLAMA_8B | {"block_configs": [{}] * 32})
    assert "Nemotron" in found.unknown
