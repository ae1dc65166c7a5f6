"""Numbers that others' boot logs show, with where they were published.

`Available KV cache memory` is logged in hundredths of a GiB: what follows from it may be what follows from
any number of bytes that is shown so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from gpumod.core.cards import CardModel
from gpumod.core.spec import Draft
from gpumod.core.units import GIB
from gpumod.estimate.vllm import Pool, vllm_plan, vllm_pool
from tests.estimate.vllm import models
from tests.estimate.vllm.models import build, checkpoint, service


@dataclass(frozen=True)
class Boot:
    source: str
    model: dict[str, Any]
    context: int
    available: float
    version: str
    cards: int = 1
    keys: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    args: tuple[str, ...] = ()
    card: CardModel = models.AMPERE

    def pool(self, gib: float) -> Pool:
        spec = service(context=self.context, args=self.args, vllm=self.options, **self.keys)
        return vllm_pool(
            checkpoint(self.model), spec, self.cards, self.card, int(gib * GIB), build=build(self.version)
        )

    def pools(self) -> list[Pool]:
        """Every pool that a number of bytes gives that is logged as `available`."""
        least, most = self.pool(self.available - 0.005), self.pool(self.available + 0.005)
        return [
            self.pool((blocks + 0.5) * least.bytes_per_block / GIB)
            for blocks in range(least.blocks, most.blocks + 1)
        ]


HYBRID = ("--enable-prefix-caching",)
QWEN_35B_612 = Boot(
    "https://github.com/noonghunna/club-3090/issues/612",
    models.QWEN36_35B_A3B, 131072, 5.98, "0.24.0", keys={"slots": 1}, args=HYBRID,
    options={"kv_cache_dtype": "fp8", "max_num_batched_tokens": 8192},
)  # fmt: skip
QWEN_35B_652 = Boot(
    "https://github.com/noonghunna/club-3090/issues/652",
    models.QWEN36_35B_A3B, 131072, 6.01, "0.24.0", keys={"slots": 1}, args=HYBRID,
    options={"kv_cache_dtype": "fp8", "max_num_batched_tokens": 8192},
)  # fmt: skip
QWEN_27B_594 = Boot(
    "https://github.com/noonghunna/club-3090/pull/594",
    models.QWEN36_27B, 262144, 5.33, "0.24.0", cards=2, args=HYBRID,
    keys={"slots": 2, "draft": Draft("mtp", n_max=3)},
    options={"kv_cache_dtype": "fp8", "max_num_batched_tokens": 8192},
)  # fmt: skip
QWEN3_14B = Boot("https://github.com/LMCache/LMCache/issues/1739", models.QWEN3_14B, 32768, 6.51, "0.11.0")


@pytest.mark.parametrize(
    ("boot", "tokens"),
    [
        (QWEN_35B_612, 567_978),
        (QWEN_35B_652, 569_878),
        (QWEN_27B_594, 300_220),
        (QWEN3_14B, 42_656),
    ],
    ids=lambda value: value.source.rpartition("com/")[2] if isinstance(value, Boot) else str(value),
)
def test_the_pool_has_the_tokens_that_were_logged(boot: Boot, tokens: int) -> None:
    assert tokens in [pool.tokens for pool in boot.pools()]


@pytest.mark.parametrize(
    ("available", "largest"), [(48.66, 205_728), (55.65, 235_296)], ids=["util 0.92", "util 0.95"]
)
def test_the_largest_context_is_the_one_that_a_refusal_named(available: float, largest: int) -> None:
    boot = Boot("https://github.com/vllm-project/recipes/pull/12", models.QWEN3_CODER_480B, 262144,
                available, "0.10.1")  # fmt: skip
    pools = boot.pools()
    assert largest in [pool.largest_context for pool in pools]
    assert not any(pool.starts for pool in pools)
    assert {f"{pool.needed / GIB:.2f}" for pool in pools} == {"62.00"}


def test_latent_attention_is_refused_as_it_was() -> None:
    boot = Boot("https://github.com/kaito-project/kaito/issues/2132", models.MISTRAL_SMALL_4, 1048576,
                17.39, "0.20.2")  # fmt: skip
    pools = boot.pools()
    assert 810_208 in [pool.largest_context for pool in pools]
    assert {pool.needed / GIB for pool in pools} == {22.5}


@pytest.mark.parametrize(("available", "blocks"), [(3.81, 1952), (2.89, 1478)])
def test_a_llama_has_the_blocks_that_were_logged(available: float, blocks: int) -> None:
    boot = Boot("https://github.com/vllm-project/vllm/issues/10517", models.LLAMA_8B, 20000, available,
                "0.6.4")  # fmt: skip
    assert blocks in [pool.blocks for pool in boot.pools()]


@pytest.mark.parametrize(
    ("source", "tokens"),
    [
        ("https://github.com/noonghunna/club-3090/issues/295", 620_944),
        ("https://github.com/noonghunna/club-3090/issues/294", 622_408),
    ],
)
def test_a_whole_number_of_blocks_gives_the_tokens_that_were_logged(source: str, tokens: int) -> None:
    """The logs do not say the bytes; of all numbers of blocks only one can give these tokens."""
    boot = Boot(source, models.QWEN36_27B, 262144, 11.0, "0.21.0", cards=2, args=HYBRID,
                keys={"slots": 2, "draft": Draft("mtp", n_max=3)},
                options={"kv_cache_dtype": "fp8_e5m2", "max_num_batched_tokens": 8192})  # fmt: skip
    block = boot.pool(11.0).bytes_per_block
    assert tokens in [boot.pool((blocks + 0.5) * block / GIB).tokens for blocks in range(420, 430)]


def test_sliding_and_global_layers_give_the_concurrency_that_was_logged() -> None:
    """37,392 tokens there were blocks by 6 groups of 16 tokens: that version counted so."""
    boot = Boot("https://github.com/vllm-project/vllm/issues/39734", models.GEMMA4_31B, 262144, 0.0, "0.19.1",
                options={"max_num_batched_tokens": 2048})  # fmt: skip
    blocks = 37_392 // 16 * 6
    pool = boot.pool(blocks * boot.pool(0.0).bytes_per_block / GIB)
    assert pool.blocks == blocks
    assert f"{pool.concurrency:.2f}" == "1.53"


def test_the_block_beside_a_state_is_the_one_that_was_logged() -> None:
    boot = Boot("https://github.com/vllm-project/vllm/issues/40696",
                models.QWEN36_27B | {"text_config": models.QWEN36_27B["text_config"] | {
                    "hidden_size": 2560, "num_hidden_layers": 32, "num_attention_heads": 16,
                    "linear_num_value_heads": 32}},
                1024, 1.0, "0.19.1", args=HYBRID)  # fmt: skip
    assert boot.pool(1.0).block_size == 528


LOADED = [
    ("https://github.com/vllm-project/vllm/issues/10517", models.LLAMA_8B, 1, models.AMPERE, 14.9888, 1e-4),
    ("https://github.com/vllm-project/vllm/issues/17469", models.QWEN3_30B_A3B, 4, models.ADA, 14.2474, 1e-3),
    ("https://myoceane.fr/index.php/ai-vllm-a100-gemma-4/", models.GPT_OSS_20B, 1, models.A100, 13.72, 2e-3),
    (
        "https://myoceane.fr/index.php/ai-vllm-a100-gemma-4/",
        models.GEMMA4_26B_A4B,
        1,
        models.A100,
        48.5,
        1e-2,
    ),
]


@pytest.mark.parametrize(("source", "config", "cards", "card", "loaded", "tolerance"), LOADED)
def test_a_configuration_alone_says_what_loading_took(
    source: str, config: dict[str, Any], cards: int, card: CardModel, loaded: float, tolerance: float
) -> None:
    plan = vllm_plan(checkpoint(config), service(), cards, card, build=build())
    assert plan.weights / GIB == pytest.approx(loaded, rel=tolerance)
