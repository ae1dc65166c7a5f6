"""The KV cache that fits: how many blocks, how many tokens, how many requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpumod.core.cards import CardModel
from gpumod.core.ports import EngineBuild
from gpumod.core.spec import ServiceSpec
from gpumod.estimate.vllm.checkpoint import Checkpoint
from gpumod.estimate.vllm.layout import Layout, cache_layout
from gpumod.estimate.vllm.setting import VllmSetting, vllm_setting

_LONGEST: Final = 2**24
"""Tokens; a search for the largest context ends here where the model names none."""


@dataclass(frozen=True, slots=True)
class Pool:
    """The KV cache of one rank, in vLLM's own units.

    Args:
        blocks: how many there are.
        block_size: tokens per attention block.
        bytes_per_block: over all layers.
        blocks_per_request: that one request of the whole context takes.
        tokens: what vLLM logs as `GPU KV cache size` (0.20.2 and newer: concurrency x context).
        concurrency: requests of the whole context at once, as vLLM logs.
        needed: bytes that one request of the whole context takes; vLLM does not start with less.
        largest_context: the longest `--max-model-len` that would start, up to what the model was trained for.
        problem: why there is no cache, or why it cannot be told; empty where it can.
    """

    blocks: int
    block_size: int
    bytes_per_block: int
    blocks_per_request: int
    tokens: int
    concurrency: float
    needed: int
    largest_context: int
    problem: str = ""

    @property
    def size(self) -> int:
        """Bytes that are allocated."""
        return self.blocks * self.bytes_per_block

    @property
    def starts(self) -> bool:
        """Whether vLLM starts with it: one request of the whole context has to fit."""
        return not self.problem and self.blocks >= self.blocks_per_request


def vllm_pool(
    checkpoint: Checkpoint,
    spec: ServiceSpec,
    count: int,
    card: CardModel,
    available: int | None = None,
    *,
    non_kv: int | None = None,
    build: EngineBuild | None = None,
    draft: Checkpoint | None = None,
) -> Pool:
    """The cache that vLLM makes of so many bytes.

    Args:
        checkpoint: the model.
        spec: the service.
        count: how many cards.
        card: their model.
        available: bytes for the cache on each card: vLLM's `Available KV cache memory`.
        non_kv: in its place, what of the utilisation each card needs besides: vLLM's `Total non KV cache
            memory` and its estimate of CUDA graphs.
        build: the engine; None counts as recent.
        draft: the draft model, where it is one of its own.
    """
    setting = vllm_setting(checkpoint.model, spec, count, card, build)
    if available is None:
        available = setting.kv_cache_memory or setting.requested(card) - (non_kv or 0)
    own = draft.model.attention if draft is not None else ()
    return pool_of(cache_layout(checkpoint.model, setting, card, own), setting, available,
                   checkpoint.model.context)  # fmt: skip


def pool_of(layout: Layout, setting: VllmSetting, available: int, trained: int | None) -> Pool:
    """The cache of a layout in so many bytes (`get_kv_cache_config_from_groups`)."""
    if not layout.groups:
        # A model without a cache still has one block, which stands for none.
        return Pool(1, layout.block, 0, 0, 0, 0.0, 0, trained or setting.context, layout.problem)
    blocks = max(available, 0) // layout.bytes_per_block
    if setting.override_blocks is not None:
        blocks = setting.override_blocks
    per_request = layout.blocks_for(setting.context, setting)
    concurrency = blocks / per_request
    return Pool(
        blocks=blocks,
        block_size=layout.block,
        bytes_per_block=layout.bytes_per_block,
        blocks_per_request=per_request,
        tokens=int(concurrency * setting.context),
        concurrency=concurrency,
        needed=per_request * layout.bytes_per_block,
        largest_context=largest_context(layout, setting, blocks, trained),
    )


def largest_context(layout: Layout, setting: VllmSetting, blocks: int, trained: int | None) -> int:
    """The longest context of which one request fits into so many blocks; 0 where none does."""
    low, high = 0, max(trained or 0, setting.context) or _LONGEST
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if layout.blocks_for(middle, setting) <= blocks else (low, middle - 1)
    return low
