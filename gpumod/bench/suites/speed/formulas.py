"""What the numbers of `speed` are."""

from __future__ import annotations

from typing import Final

from gpumod.bench.formulas import Formula, Pooling

TTFT: Final = Formula(
    "speed.ttft.v1", "s",
    "Seconds from handing the request to the socket until the first delta that has content, reasoning or a "
    "tool call in it was complete. At the prompt's nominal depth in tokens.",
    larger_is_better=False,
)  # fmt: skip
PREFILL_CLIENT: Final = Formula(
    "speed.prefill.client.v1", "tokens/s",
    "Tokens of the prompt that the server did not take from its cache (usage.prompt_tokens less "
    "cached_tokens), divided by the TTFT; the first token's own time is in it.",
    larger_is_better=True,
)  # fmt: skip
PREFILL_SERVER: Final = Formula(
    "speed.prefill.server.v1", "tokens/s",
    "llama.cpp's timings: prompt_n divided by prompt_ms.",
    larger_is_better=True,
)  # fmt: skip
DECODE_CLIENT: Final = Formula(
    "speed.decode.client.v1", "tokens/s",
    "Tokens generated after the first delta, divided by the seconds from the first delta to the last. The "
    "tokens of each delta are those that the server tells with it (timings_per_token, "
    "continuous_usage_stats); where it does not, the first delta counts as one token of "
    "usage.completion_tokens.",
    larger_is_better=True,
)  # fmt: skip
DECODE_SERVER: Final = Formula(
    "speed.decode.server.v1", "tokens/s",
    "llama.cpp's timings: predicted_n less 1, divided by predicted_ms, because that time begins with the "
    "first token, which predicted_n counts.",
    larger_is_better=True,
)  # fmt: skip
GAP_MEDIAN: Final = Formula(
    "speed.gap.median.v1", "s",
    "Median of the seconds between successive reads that brought deltas; deltas read at once are one.",
    larger_is_better=False,
)  # fmt: skip
GAP_P95: Final = Formula(
    "speed.gap.p95.v1", "s",
    "The same gaps' 95th percentile by nearest rank.",
    larger_is_better=False,
)  # fmt: skip
GAP_MOST: Final = Formula("speed.gap.most.v1", "s", "The longest of the same gaps.", larger_is_better=False)
CACHED: Final = Formula(
    "speed.cached.v1", "share",
    "Share of the prompt that the server took from its cache; prompts are fresh, so it should be next to 0. "
    "Above 0.1 the sample has no prefill speed and no TTFT.",
)  # fmt: skip
THROUGHPUT: Final = Formula(
    "speed.throughput.v1", "tokens/s",
    "usage.completion_tokens of N requests sent at once, divided by the seconds from the first request's "
    "sending to the last answer's end; reading the prompts is in it. At N.",
    larger_is_better=True,
)  # fmt: skip
TTFT_TOGETHER: Final = Formula(
    "speed.together.ttft.v1", "s",
    "Mean TTFT of N requests sent at once. At N.",
    larger_is_better=False,
)  # fmt: skip
DECODE_TOGETHER: Final = Formula(
    "speed.together.decode.v1", "tokens/s",
    "Mean of the single decode speeds (speed.decode.client.v1) of N requests sent at once. At N.",
    larger_is_better=True,
)  # fmt: skip
DRAFTED: Final = Formula(
    "speed.draft.drafted.v1", "tokens",
    "Tokens that the draft proposed: llama.cpp's timings.draft_n, or what vLLM's counter "
    "vllm:spec_decode_num_draft_tokens_total grew by.",
    pooling=Pooling.SUM,
)  # fmt: skip
ACCEPTED: Final = Formula(
    "speed.draft.accepted.v1", "tokens",
    "Of these, the accepted ones: timings.draft_n_accepted, or "
    "vllm:spec_decode_num_accepted_tokens_total.",
    pooling=Pooling.SUM,
)  # fmt: skip
ACCEPTANCE: Final = Formula(
    "speed.draft.acceptance.v1", "share",
    "All accepted tokens divided by all drafted ones, pooled: long answers weigh more.",
    larger_is_better=True, pooling=Pooling.RATIO, of=(ACCEPTED.id, DRAFTED.id),
)  # fmt: skip
MEMORY_IDLE: Final = Formula(
    "speed.memory.idle.v1", "bytes",
    "What the target holds on all cards together after the warm-up of its first case, with nothing to do.",
    larger_is_better=False, pooling=Pooling.FIRST,
)  # fmt: skip
MEMORY_PEAK: Final = Formula(
    "speed.memory.peak.v1", "bytes",
    "The most that the target held on all cards together, read every half second and at both ends.",
    larger_is_better=False, pooling=Pooling.MOST,
)  # fmt: skip
KV_PEAK: Final = Formula(
    "speed.kv.peak.v1", "share",
    "The fullest that the engine said its KV pool was (vllm:kv_cache_usage_perc, "
    "vllm:gpu_cache_usage_perc, llamacpp:kv_cache_usage_ratio), read every half second.",
    pooling=Pooling.MOST,
)  # fmt: skip

FORMULAS: Final = (
    TTFT, PREFILL_CLIENT, PREFILL_SERVER, DECODE_CLIENT, DECODE_SERVER,
    GAP_MEDIAN, GAP_P95, GAP_MOST, CACHED,
    THROUGHPUT, TTFT_TOGETHER, DECODE_TOGETHER,
    DRAFTED, ACCEPTED, ACCEPTANCE,
    MEMORY_IDLE, MEMORY_PEAK, KV_PEAK,
)  # fmt: skip
