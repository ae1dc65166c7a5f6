import pytest

from gpumod.estimate.errors import ModelFileError
from gpumod.estimate.gguf.header import GgufHeader
from gpumod.estimate.gguf.reader import read_gguf
from gpumod.estimate.llama.model import llama_model
from gpumod.testing.shapes import write_shape
from tests.estimate.llama.headers import header, model


def test_a_plain_model_has_the_file_s_numbers():
    found = model()
    layer = found.layers[31]
    assert len(found.layers) == 32
    assert (layer.key_width, layer.value_width, layer.heads) == (1024, 1024, 32)
    assert (found.vocabulary, found.trained_context, found.positions) == (128256, 131072, 1)
    assert not found.sliding
    assert found.unknown == ""


def test_numbers_per_layer_are_taken_per_layer():
    kv = tuple(0 if i % 2 else 8 for i in range(32))
    found = model("lfm2", attention__head_count_kv=kv, shortconv__l_cache=3)
    assert [layer.recurrent for layer in found.layers] == [not heads for heads in kv]
    assert [layer.attends for layer in found.layers] == [bool(heads) for heads in kv]
    assert found.recurrence is not None
    # Two rows of the last tokens, as wide as the model: LFM2's short convolution.
    assert (found.recurrence.convolution_row, found.recurrence.state_row) == (2 * 4096, 0)


@pytest.mark.parametrize(
    ("architecture", "keys", "full"),
    [
        ("gemma3", {"attention__sliding_window": 1024}, {5, 11, 17, 23, 29}),
        ("gpt-oss", {"attention__sliding_window": 128}, set(range(1, 32, 2))),
        ("gemma2", {}, set(range(1, 32, 2))),
        ("cohere2moe", {"attention__sliding_window": 64}, set(range(0, 32, 4))),
        (
            "gemma3",
            {"attention__sliding_window": 8, "attention__sliding_window_pattern": 4},
            set(range(3, 32, 4)),
        ),
        ("gemma3", {"attention__sliding_window": 0}, set(range(32))),
        ("exaone4", {}, set(range(32))),
        ("phi3", {"attention__sliding_window": 2048}, set(range(32))),
    ],
)
def test_the_layers_that_see_everything(architecture, keys, full):
    found = model(architecture, **keys)
    assert {i for i, layer in enumerate(found.layers) if not layer.sliding} == full


def test_a_pattern_in_the_file_goes_before_the_architecture_s_own():
    pattern = tuple(i % 3 == 0 for i in range(32))
    found = model("gemma4", attention__sliding_window=512, attention__sliding_window_pattern=pattern)
    assert tuple(layer.sliding for layer in found.layers) == pattern


def test_sliding_layers_may_have_heads_of_their_own_size():
    pattern = (True, False) * 16
    found = model(
        "gemma4",
        attention__sliding_window=512,
        attention__sliding_window_pattern=pattern,
        attention__key_length=512,
        attention__value_length=512,
        attention__key_length_swa=256,
        attention__value_length_swa=256,
        attention__shared_kv_layers=10,
    )
    assert [layer.key for layer in found.layers[:2]] == [256, 512]
    assert [layer.own_kv for layer in found.layers].count(True) == 22


def test_gated_delta_networks_attend_in_every_fourth_layer_and_draft_with_the_last():
    found = model(
        "qwen35",
        block_count=33,
        nextn_predict_layers=1,
        ssm__conv_kernel=4,
        ssm__inner_size=6144,
        ssm__state_size=128,
        ssm__group_count=16,
        ssm__time_step_rank=48,
    )
    assert [i for i, layer in enumerate(found.trunk) if layer.attends] == list(range(3, 32, 4))
    assert [layer.nextn for layer in found.layers] == [False] * 32 + [True]
    assert found.positions == 4
    assert found.recurrence is not None
    # 27B: 3 x (6144 + 2 x 16 x 128) and 128 x 6144 values.
    assert (found.recurrence.convolution_row, found.recurrence.state_row) == (30720, 786432)


def test_a_latent_cache_is_as_wide_as_the_compressed_vector():
    found = model(
        "deepseek2",
        attention__head_count_kv=1,
        attention__key_length=576,
        attention__value_length=512,
        attention__key_length_mla=192,
        attention__value_length_mla=128,
        attention__kv_lora_rank=512,
        rope__dimension_count=64,
    )
    assert found.mla is not None
    assert found.layers[0].key_width == 576


@pytest.mark.parametrize("architecture", ["deepseek32", "minimax-m3", "nanbeige", "brandnew"])
def test_what_the_formulas_do_not_know_is_said(architecture):
    assert architecture in model(architecture).unknown


@pytest.mark.parametrize(
    ("broken", "word"),
    [
        ({"block_count": None}, "block_count is missing"),
        ({"block_count": 0}, "block_count is 0"),
        ({"block_count": 1 << 30}, "block_count"),
        ({"embedding_length": "many"}, "embedding_length"),
        ({"embedding_length": -4}, "embedding_length"),
        ({"attention__head_count_kv": (8, 8)}, "2 entries for 32 layers"),
        ({"nextn_predict_layers": 40}, "nextn_predict_layers"),
    ],
)
def test_a_damaged_header_is_a_sentence(broken, word):
    with pytest.raises(ModelFileError) as raised:
        model(**broken)
    assert word in raised.value.detail
    assert "/models/m.gguf" in raised.value.detail


def test_a_projector_is_no_model():
    with pytest.raises(ModelFileError, match="mmproj"):
        llama_model(header("clip"))


def test_a_file_that_names_no_architecture_is_no_model():
    with pytest.raises(ModelFileError, match="architecture"):
        llama_model(GgufHeader("/models/m.gguf", {}, ()))


def test_the_27b_s_header_is_read_from_a_file(tmp_path):
    found = llama_model(read_gguf(write_shape("qwen35-27b", tmp_path / "m.gguf")))
    assert (found.nextn, len(found.layers), found.vocabulary) == (1, 65, 248320)
