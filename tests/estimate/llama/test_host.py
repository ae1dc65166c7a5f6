"""What a llama-server needs of the host's memory."""

from dataclasses import replace

from gpumod.core.spec import LlamaOptions
from gpumod.core.units import GIB
from gpumod.estimate.llama.host import checkpoints, host_parts, loading
from tests.estimate.llama.headers import model, setting

MIB = 1 << 20
MATRICES = [("output.weight", "f16", (4096, 1000)), ("token_embd.weight", "f16", (4096, 2000))]
PLAIN = model(tensors=MATRICES)
DELTA = model(
    "qwen35",
    full_attention_interval=4,
    ssm__conv_kernel=4,
    ssm__inner_size=4096,
    ssm__state_size=128,
    ssm__group_count=16,
    ssm__time_step_rank=32,
)


def by_name(of, launch):
    return {part.name: part for part in host_parts(of, launch)}


def test_beside_a_card_a_process_has_cuda_s_libraries():
    beside, alone = setting(PLAIN, context=4096), setting(PLAIN, on_host=True, context=4096)
    with_card, without = by_name(PLAIN, beside)["process"], by_name(PLAIN, alone)["process"]
    assert with_card.cards == (0,)
    assert with_card.host - without.cards[0] == 310 * MIB
    # Measured on an H200 with this vocabulary: 376 to 390 MiB.
    assert 370 * MIB < with_card.host < 450 * MIB
    assert without.host == 0


def test_the_prompt_cache_is_as_large_as_it_may_get():
    launch = setting(PLAIN, context=4096, llama=LlamaOptions(prompt_cache=3 * GIB))
    assert by_name(PLAIN, launch)["prompt cache"].host == 3 * GIB
    nothing = setting(PLAIN, on_host=True, context=4096)
    assert "prompt cache" not in by_name(PLAIN, nothing)


def test_hybrids_keep_states_of_their_prompts():
    launch = setting(DELTA, context=16384, slots=2, llama=LlamaOptions(prompt_cache=0))
    # 24 of 32 layers recur; three states, and one more per 8,192 tokens.
    state = 24 * 4 * (3 * (4096 + 2 * 16 * 128) + 128 * 4096)
    assert checkpoints(DELTA, launch) == 2 * (3 + 2) * state
    assert by_name(DELTA, launch)["prompt cache"].host == 2 * 5 * state
    assert checkpoints(DELTA, replace(launch, checkpoints=1)) == 2 * state
    assert checkpoints(PLAIN, setting(PLAIN, context=16384)) == 0


def test_sliding_windows_are_kept_too_unless_everything_is():
    sliding = model("gemma3", attention__sliding_window=1024)
    launch = setting(sliding, context=8192)
    cells = launch.window_cells(sliding)
    windowed = sum(layer.sliding for layer in sliding.layers)
    assert checkpoints(sliding, launch) == 4 * windowed * cells * 2 * 8 * 128 * 2
    assert checkpoints(sliding, replace(launch, full_window=True)) == 0


def test_loading_takes_little_from_a_mapped_file():
    assert loading(PLAIN, setting(PLAIN, context=4096)) == 64 * MIB
    assert loading(PLAIN, setting(PLAIN, context=4096, args=("--no-mmap",))) == 256 * MIB
    # The processor's own copy is filled tensor by tensor.
    assert loading(PLAIN, setting(PLAIN, on_host=True, context=4096)) == 4096 * 2000 * 2
