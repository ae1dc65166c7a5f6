import pytest

from gpumod.core.spec import Draft, KvCache, LlamaOptions, Task
from tests.estimate.llama.headers import model, setting

GEMMA = model("gemma3", attention__sliding_window=1024)
PLAIN = model()
DELTA = model("qwen35", block_count=33, nextn_predict_layers=1, ssm__inner_size=64, ssm__state_size=8)


def test_each_slot_has_its_context_padded_to_256_cells():
    found = setting(PLAIN, context=3333, slots=3)
    # 9,999 is padded to 10,240, a third of which is padded to 3,584: more than was asked for.
    assert (found.cells, found.slots, found.context) == (3584, 3, 10752)


def test_an_unset_context_is_the_trained_one():
    assert setting(PLAIN, context=None).cells == 131072


def test_the_window_s_cache_holds_a_batch_besides():
    assert setting(GEMMA, context=32768).window_cells(GEMMA) == 1536
    large = setting(GEMMA, context=32768, llama=LlamaOptions(ubatch=2048))
    assert large.window_cells(GEMMA) == 3072
    assert setting(GEMMA, context=700).window_cells(GEMMA) == 768
    assert setting(GEMMA, context=32768, args=("--swa-full",)).window_cells(GEMMA) == 32768


def test_a_batch_is_no_longer_than_the_context():
    found = setting(PLAIN, context=200)
    assert (found.batch, found.ubatch) == (200, 200)


def test_an_embedding_server_takes_a_prompt_in_one_batch():
    found = setting(PLAIN, task=Task.EMBEDDING, context=8192, slots=2)
    assert (found.batch, found.ubatch, found.outputs) == (512, 512, 512)


def test_outputs_are_reserved_for_every_drafted_token():
    assert setting(PLAIN, slots=4).outputs == 4
    assert setting(DELTA, slots=4, context=4096, draft=Draft("mtp", n_max=3)).outputs == 16


def test_a_state_is_kept_for_every_drafted_token_where_it_can_be_taken_back():
    drafting = setting(DELTA, slots=4, draft=Draft("mtp", n_max=3))
    assert drafting.state_rows(DELTA) == 16
    assert setting(DELTA, slots=4).state_rows(DELTA) == 4
    # llama.cpp keeps none for qwen3next (llm_arch_supports_rs_rollback).
    other = model("qwen3next", ssm__inner_size=64, ssm__state_size=8)
    assert setting(other, slots=4, draft=Draft("mtp", n_max=3)).state_rows(other) == 4


@pytest.mark.parametrize(
    ("head", "asked", "on"),
    [
        (128, None, True),
        (128, False, False),
        (100, None, False),
        (100, True, True),
        (256, None, True),
    ],
)
def test_flash_attention_turns_itself_off_for_odd_heads(head, asked, on):
    odd = model(attention__key_length=head, attention__value_length=head)
    found = setting(odd, llama=LlamaOptions(flash_attention=asked))
    assert found.flash_attention is on


def test_the_cpu_has_flash_attention_for_every_head():
    odd = model(attention__key_length=100, attention__value_length=100)
    assert setting(odd, on_host=True).flash_attention


def test_quantised_values_turn_it_on():
    odd = model(attention__key_length=96 + 8, attention__value_length=96 + 8)
    assert setting(odd, kv_cache=KvCache("q8_0", "q8_0")).flash_attention


def test_the_user_s_own_flags_count():
    found = setting(
        PLAIN,
        draft=Draft("mtp"),
        args=(
            "-nkvo", "--no-op-offload", "-ot", r"ffn_.*_exps=CPU,blk\.3\.=CUDA1", "--cache-type-k-draft",
            "q8_0", "-ctvd", "q4_0", "--no-mmproj-offload", "--no-mmap", "-ncmoed", "3",
        ),
    )  # fmt: skip
    assert (found.kv_offload, found.operation_offload, found.projector_offload) == (False, False, False)
    assert [(one.pattern, one.buffer) for one in found.overrides] == [
        ("ffn_.*_exps", "CPU"),
        (r"blk\.3\.", "CUDA1"),
    ]
    assert found.draft is not None
    assert (found.draft.key_type, found.draft.value_type, found.draft.cpu_moe_layers) == ("q8_0", "q4_0", 3)
    assert not found.mapped


def test_nothing_is_mapped_on_the_host_card():
    assert not setting(PLAIN, on_host=True).mapped
    assert setting(PLAIN).mapped
    assert not setting(PLAIN, args=("--load-mode", "none")).mapped
