"""What llama.cpp knows of an architecture without reading it in the file.

From llama.cpp's `src/models/<architecture>.cpp` (`load_arch_hparams`), `src/llama-arch.cpp` and
`llama_model::create_memory`, as of October 2026.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Sliding:
    """Which layers look at a window only, where the file has no pattern.

    Args:
        period: one layer in so many sees everything; 0: the file's own pattern is needed.
        dense_first: the one that sees everything is the first of each period, not the last.
        window: tokens, where the file does not say.
        layers: only for models with so many layers; 0 for all.
    """

    period: int
    dense_first: bool = False
    window: int = 0
    layers: int = 0


SLIDING: Final = {
    "afmoe": Sliding(4),
    "cohere2": Sliding(4),
    "cohere2moe": Sliding(4, dense_first=True),
    "dots3note": Sliding(0),
    "exaone-moe": Sliding(4, window=128),
    "exaone4": Sliding(4, window=4096, layers=64),
    "gemma-embedding": Sliding(6),
    "gemma2": Sliding(2, window=4096),
    "gemma3": Sliding(6),
    "gemma3n": Sliding(5),
    "gemma4": Sliding(0),
    "gemma4-assistant": Sliding(0),
    "gpt-oss": Sliding(2),
    "granite_swa": Sliding(0),
    "laguna": Sliding(4, dense_first=True),
    "llama4": Sliding(4, window=8192),
    "mellum": Sliding(4),
    "mimo2": Sliding(0),
    "modern-bert": Sliding(3, dense_first=True),
    "muse-glimmer": Sliding(4),
    "olmo2": Sliding(4),
    "plamo3": Sliding(8),
    "smallthinker": Sliding(4, dense_first=True, window=4096),
    "spark2_5": Sliding(0),
    "step35": Sliding(0),
}
"""Architectures with sliding layers. phi3 is none: its window is read and then switched off."""

SLIDING_WHEN_ATTENDING: Final = frozenset({"lfm2", "lfm2moe"})
"""With a window in the file, every layer that attends is a sliding one."""

RECURRENT: Final = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
"""Every layer is recurrent; none has a KV cache."""

RECURRENT_WITHOUT_KV_HEADS: Final = frozenset({
    "jamba", "plamo2", "granitehybrid", "lfm2", "lfm2moe", "kimi-linear", "kimi-k3", "bailingmoe3",
    "nemotron_h", "nemotron_h_moe",
})  # fmt: skip
"""Hybrids whose recurrent layers are those with no KV head."""

FEED_FORWARD_ALONE: Final = frozenset({"nemotron_h", "nemotron_h_moe"})
"""Hybrids with a third kind of layer: one with a feed-forward part neither attends nor recurs."""

RECURRENT_AND_ATTENDING: Final = frozenset({"falcon-h1"})
"""Every layer is both."""

ATTENTION_INTERVAL: Final = {
    "qwen3next": 4, "qwen35": 4, "qwen35moe": 4, "qwen4exp": 4, "minimax-01": 8,
}  # fmt: skip
"""Hybrids that attend in every n-th layer, where the file has neither a list nor an interval."""

ROLLBACK: Final = frozenset({
    "kimi-k3", "qwen35", "qwen35moe", "qwen4exp", "deepseek4", "glm5-next", "nemotron_h", "nemotron_h_moe",
    "lfm2", "lfm2moe", "bailingmoe3",
})  # fmt: skip
"""Those that keep one state more per drafted token (`llm_arch_supports_rs_rollback`)."""

WITHOUT_MEMORY: Final = frozenset({
    "bert", "jina-bert-v2", "jina-bert-v3", "nomic-bert", "nomic-bert-moe", "neo-bert", "eurobert",
    "wavtokenizer-dec", "modern-bert", "gemma-embedding", "dream", "llada", "llada-moe", "rnd1",
})  # fmt: skip
"""Those that keep nothing between batches: encoders and diffusion models."""

NEXTN_SKIPPED: Final = frozenset({"exaone4", "exaone-moe", "glm4", "bailingmoe2", "dots3note"})
"""Those whose MTP blocks are never loaded."""

NEXTN_HEADS_LOADED: Final = frozenset({"cohere2moe", "step35"})
"""Those whose MTP blocks' own embedding and head matrices are loaded, whether anything drafts or not."""

WITHOUT_OUTPUT: Final = frozenset({
    "bert", "jina-bert-v2", "jina-bert-v3", "nomic-bert", "nomic-bert-moe", "neo-bert", "eurobert",
    "modern-bert", "wavtokenizer-dec", "eagle3",
})  # fmt: skip
"""Those that have no output matrix of their own and do not use the input's either."""

OUTPUT_TWICE: Final = frozenset({"gemma3n", "gemma4"})
"""Those that ask for a tied output before the input: both are loaded, even into the same memory."""

FOUR_POSITIONS: Final = frozenset({
    "qwen2vl", "paddleocr", "qwen3vl", "qwen3vlmoe", "qwen35", "qwen35moe", "qwen4exp", "qwen3tts",
})  # fmt: skip
"""Those with four positions per token (`llama_model_rope_type`: MROPE and IMROPE)."""

SPARSE: Final = frozenset({
    "deepseek32", "deepseek4", "glm-dsa", "minimax-m3", "qwen4exp", "glm5-next", "dots3note", "hy_v4",
})  # fmt: skip
"""Those with an indexer beside the attention, whose caches have a code of their own each."""

ODD: Final = {
    "graniteswitch": "its router layer has a cache of its own",
    "nanbeige": "it runs its layers more than once, with a cache for each time",
    "hrm_text": "it runs its layers more than once, with a cache for each time",
    "t5": "it has an encoder and a decoder",
    "pockettts": "it makes sound",
    "qwen3tts": "it makes sound",
    "wavtokenizer-dec": "it makes sound",
}
"""Those whose memory follows from more than this room's formulas know, with the reason."""

PLAIN: Final = frozenset({
    "llama", "deci", "falcon", "grok", "gpt2", "gptj", "gptneox", "mpt", "baichuan", "starcoder", "refact",
    "bloom", "stablelm", "qwen", "qwen2", "qwen2moe", "qwen2vl", "qwen3", "qwen3moe", "qwen3vl", "qwen3vlmoe",
    "phi2", "phi3", "phimoe", "plamo", "codeshell", "orion", "internlm2", "minicpm", "minicpm3", "gemma",
    "starcoder2", "maple", "xverse", "command-r", "dbrx", "olmo", "olmoe", "openelm", "arctic", "deepseek",
    "deepseek2", "deepseek2-ocr", "chatglm", "glm4", "glm4moe", "bitnet", "t5encoder", "jais", "jais2",
    "nemotron", "exaone", "granite", "granitemoe", "chameleon", "plm", "bailingmoe", "bailingmoe2", "dots1",
    "arcee", "ernie4_5", "ernie4_5-moe", "hunyuan-moe", "hunyuan-dense", "hunyuan_vl", "hy_v3", "smollm3",
    "seed_oss", "grovemoe", "apertus", "minimax-m2", "cogvlm", "pangu-embedded", "mistral3", "eagle3",
    "dflash", "mistral4", "paddleocr", "llama-embed", "maincoder", "talkie",
})  # fmt: skip
"""Those whose every layer attends to everything."""

KNOWN: Final = (
    PLAIN
    | RECURRENT
    | RECURRENT_WITHOUT_KV_HEADS
    | RECURRENT_AND_ATTENDING
    | WITHOUT_MEMORY
    | frozenset(SLIDING)
    | frozenset(ATTENTION_INTERVAL)
)
"""Those that the formulas were written for."""


def unknown_reason(architecture: str) -> str:
    """Why the formulas may not hold for an architecture, as a sentence; empty where they do."""
    if architecture in SPARSE:
        return f"{architecture} has sparse attention: its caches are reckoned generously"
    if reason := ODD.get(architecture):
        return f"{architecture} is reckoned roughly: {reason}"
    if architecture not in KNOWN:
        return f"{architecture} is not known here: it is reckoned as a plain transformer, generously"
    return ""
