"""How vLLM divides the KV cache into blocks: which layers share a block table, and a block's bytes.

The arithmetic is that of vLLM 0.20.2: pages in `v1/kv_cache_interface.py`, groups in
`v1/core/kv_cache_utils.py`, the alignment of recurrent states with attention blocks in
`platforms/interface.py` (`_align_hybrid_block_size`). Its boot logs follow from it to the token.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from gpumod.core.cards import CardModel
from gpumod.estimate.vllm.model import DTYPE_BYTES, Attention, Model, State
from gpumod.estimate.vllm.setting import VllmSetting

DEFAULT_BLOCK: Final = 16
_PADS_SINCE: Final = (0, 21)
"""Pages of sizes that do not divide each other are padded. 0.20.2 refuses to start, 0.33.0 pads."""
_PER_TOKEN_HEAD: Final = frozenset({"int8_per_token_head", "fp8_per_token_head"})
_SPARSE_TOKEN: Final = 656
"""Bytes per token of `fp8_ds_mla` (attention/backends/mla/flashmla_sparse.py)."""
_TURBO: Final = {"turboquant_k8v4": (8, 4), "turboquant_4bit_nc": (4, 4), "turboquant_k3v4_nc": (3, 4),
                 "turboquant_3bit_nc": (3, 3)}  # fmt: skip
"""Bits of keys and values."""


@dataclass(frozen=True, slots=True)
class LayerPage:
    """One block of one layer on one rank.

    Args:
        kind: full, sliding, chunked or state.
        size: bytes.
        tokens: per block; for states the tokens between two states.
        reach: tokens of the window or chunk.
    """

    kind: str
    size: int
    tokens: int
    reach: int = 0
    heads: tuple[int, int, int] = (0, 0, 0)
    """What tells apart layers whose pages are equally large: heads, and sizes of keys and values."""


@dataclass(frozen=True, slots=True)
class Group:
    """Layers that share a block table."""

    page: LayerPage
    layers: int


@dataclass(frozen=True, slots=True)
class Layout:
    """All block tables of a launch.

    Args:
        groups: empty where the model has no cache.
        bytes_per_block: of all layers that one block serves.
        block: tokens per attention block.
        problem: why vLLM would not start with this cache, or why it cannot be told; empty where it does.
    """

    groups: tuple[Group, ...]
    bytes_per_block: int
    block: int
    problem: str = ""

    def blocks_for(self, context: int, setting: VllmSetting) -> int:
        """Blocks that one request of so many tokens takes at most."""
        return sum(_blocks(group.page, context, setting) for group in self.groups)


def cache_layout(
    model: Model, setting: VllmSetting, card: CardModel, drafter: Iterable[Attention] = ()
) -> Layout:
    """The block tables that vLLM builds.

    Args:
        model: the model.
        setting: the launch.
        card: decides the block size of latent attention.
        drafter: layers of a draft model with a cache of its own.
    """
    if model.encoder_only:
        return Layout((), 0, DEFAULT_BLOCK)
    if model.unknown:
        return Layout((), 0, DEFAULT_BLOCK, model.unknown)
    attention = (*model.attention, *_own_drafter(model, setting), *drafter)
    block = setting.block or _backend_block(model, card, setting)
    state_page = 0
    if model.states and model.attention:
        token = token_bytes(_general(model), model, setting)
        page = max(state_bytes(state, model, setting) for state in model.states)
        block = _aligned_block(model, setting, block, page, token)
        state_page = block * token
    pages = [_page(one, block, model, setting) for one in attention]
    for state in model.states:
        size = state_page or state_bytes(state, model, setting)
        every = block if setting.mamba_mode != "none" else setting.context
        pages.append(LayerPage("state", size, every))
    if not pages:
        return Layout((), 0, block)
    if not all(page.size for page in pages):
        return Layout((), 0, block, "the configuration has layers whose caches have no size")
    return _grouped(pages, block, setting)


def token_bytes(one: Attention, model: Model, setting: VllmSetting) -> int:
    """Bytes that one layer stores per token on one rank (`real_page_size_bytes`)."""
    dtype = setting.kv_dtype
    if one.raw:
        return one.raw
    if one.latent:
        if dtype == "fp8_ds_mla" or (dtype.startswith("fp8") and _is_sparse(model)):
            return _SPARSE_TOKEN
        return one.key * _kv_bytes(dtype, setting)
    heads = max(1, one.heads // setting.ranks)
    if dtype == "nvfp4":
        # Four bits a value, and a byte of scale per sixteen.
        return heads * (one.key // 2 + one.key // 16 + one.value // 2 + one.value // 16)
    if dtype in _TURBO:
        return heads * _turbo_slot(one.key, *_TURBO[dtype])
    scales = 8 if dtype in _PER_TOKEN_HEAD else 0
    return heads * ((one.key + one.value) * _kv_bytes(dtype, setting) + scales)


def state_bytes(state: State, model: Model, setting: VllmSetting) -> int:
    """Bytes of one layer's recurrent state of one sequence on one rank (`mamba_utils.py`)."""
    ranks = setting.ranks
    groups = state.groups
    if groups and groups % ranks:
        groups = max(groups, ranks)
    columns = state.kernel - 1 + (setting.drafted if state.drafts else 0)
    convolved = (state.convolved + groups * state.group_width) // ranks * columns
    chosen = setting.ssm_dtype if setting.ssm_dtype != "auto" else state.temporal_dtype
    width = DTYPE_BYTES.get(chosen or "", setting.dtype_bytes)
    del model
    return convolved * setting.dtype_bytes + state.temporal // ranks * width


def _is_sparse(model: Model) -> bool:
    return any(one.raw for one in model.attention)


def _kv_bytes(dtype: str, setting: VllmSetting) -> int:
    if dtype.startswith(("fp8", "int8")):
        return 1
    return DTYPE_BYTES.get(dtype, setting.dtype_bytes)


def _turbo_slot(size: int, key_bits: int, value_bits: int) -> int:
    """Key codes with a norm (8-bit keys are plain floats), value codes with scale and zero point, even."""
    key = size if key_bits == 8 else math.ceil(size * key_bits / 8) + 2
    slot = key + math.ceil(size * value_bits / 8) + 4
    return slot + slot % 2


def _own_drafter(model: Model, setting: VllmSetting) -> tuple[Attention, ...]:
    """The caches of a built-in draft module: as those of the model's full layers."""
    if not setting.own_drafter or not model.attention:
        return ()
    full = [one for one in model.attention if one.window is None and one.chunk is None and not one.raw]
    indexers = [one for one in model.attention if one.raw]
    layers = max(1, model.drafter_layers)
    return (full or list(model.attention))[-1:] * layers + indexers[-1:] * layers  # type: ignore[return-value]


def _backend_block(model: Model, card: CardModel, setting: VllmSetting) -> int:
    """What the first attention back end of this card can work with (`get_preferred_block_size`)."""
    del setting
    if model.latent is None:
        return DEFAULT_BLOCK
    if _is_sparse(model):
        return 64
    major = card.compute_capability[0] if card.compute_capability is not None else 0
    # Blackwell of data centres takes FlashInfer, Hopper FlashAttention, all others Triton.
    return 32 if major == 10 else DEFAULT_BLOCK


def _general(model: Model) -> Attention:
    """The attention layer that vLLM aligns states with: the configuration's general heads."""
    first = model.attention[0]
    return first if first.latent else Attention(model.kv_heads, model.head_size, model.head_size)


def _aligned_block(model: Model, setting: VllmSetting, block: int, page: int, token: int) -> int:
    """Tokens of an attention block that is no smaller than a state."""
    if not page or not token:
        return block
    kernel = max(DEFAULT_BLOCK, block)
    if setting.mamba_mode == "all":
        kernel = math.lcm(max(state.chunk for state in model.states), kernel)
    return max(block, kernel * -(-page // (kernel * token)))


def _page(one: Attention, block: int, model: Model, setting: VllmSetting) -> LayerPage:
    size = block * token_bytes(one, model, setting)
    heads = (one.heads, one.key, one.value)
    if one.window is not None and setting.hybrid:
        return LayerPage("sliding", size, block, one.window, heads)
    if one.chunk is not None and setting.hybrid:
        return LayerPage("chunked", size, block, one.chunk, heads)
    return LayerPage("full", size, block, 0, heads)


def _grouped(pages: list[LayerPage], block: int, setting: VllmSetting) -> Layout:
    """`get_kv_cache_groups`: one group where all layers need the same tokens, else groups of equal size."""
    if len({(page.kind, page.tokens, page.reach) for page in pages}) == 1:
        total = sum(page.size for page in pages)
        return Layout((Group(pages[0], len(pages)),), total, block)
    largest = max(page.size for page in pages)
    unified = []
    for page in pages:
        if page.size == largest:
            unified.append(page)
        elif page.kind != "state" and largest % page.size == 0:
            unified.append(replace(page, size=largest, tokens=page.tokens * (largest // page.size)))
        elif setting.version >= _PADS_SINCE:
            unified.append(replace(page, size=largest))
        else:
            return Layout((), 0, block, "the layers' pages are of sizes that this vLLM cannot unify")
    counts: dict[LayerPage, int] = {}
    for page in unified:
        counts[page] = counts.get(page, 0) + 1
    size = _group_size(counts.values())
    groups = tuple(Group(page, size) for page, count in counts.items() for _ in range(-(-count // size)))
    return Layout(groups, largest * size, block)


def _group_size(counts: Iterable[int]) -> int:
    """Layers per group: those of the rarest kind, or of the commonest if that wastes less than half."""
    counts = tuple(counts)
    return max(counts) if max(counts) < min(counts) * 1.5 else min(counts)


def _blocks(page: LayerPage, context: int, setting: VllmSetting) -> int:
    """`max_memory_usage_bytes` of one layer, in blocks."""
    in_flight = setting.in_flight * setting.batched_tokens
    if page.kind == "sliding":
        return -(-min(page.reach - 1 + in_flight, context) // page.tokens) + 1
    if page.kind == "chunked":
        return -(-min(page.reach + in_flight, context) // page.tokens)
    if page.kind == "state" and setting.mamba_mode != "all":
        return (2 if setting.mamba_mode == "align" else 1) + setting.drafted
    return -(-context // page.tokens)
