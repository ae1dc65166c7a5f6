"""The footprint of a model whose files cannot be read: from their size alone."""

from __future__ import annotations

import math
from typing import Final

from gpumod.core.cards import HOST_CARD_NAME, CardModel
from gpumod.core.footprint import Part
from gpumod.core.spec import EngineKind, ServiceSpec
from gpumod.core.units import GIB, MIB, format_size
from gpumod.estimate.host import host_needs
from gpumod.estimate.prediction import Prediction

WEIGHTS_FACTOR: Final = 1.05
"""Padding of tensors, buffers that grow with the model."""
ALLOWANCE: Final = GIB
"""Per card, for the context's cache, compute buffers and the CUDA context, all of them unknown here."""
VLLM_UTILISATION: Final = 0.92
"""vLLM's default of `--gpu-memory-utilization` (0.9 before version 0.21)."""
VLLM_OUTSIDE: Final = 512 * MIB
VLLM_COMMUNICATION: Final = 256 * MIB
"""What vLLM takes outside its utilisation: the CUDA context, and buffers between several cards."""


def predict_from_sizes(spec: ServiceSpec, count: int, card: CardModel, weights: int | None) -> Prediction:
    """A rough footprint.

    Args:
        spec: the service.
        count: how many cards.
        card: the cards' model.
        weights: bytes of all files that are known; None where none is.
    """
    on_host = card.name == HOST_CARD_NAME
    resident, loading = host_needs(spec, weights or 0, count, on_host_card=on_host)
    parts, note = _parts(spec, count, card, weights)
    parts = (*parts, Part("process", (0,) * count, host=resident))
    return Prediction(parts, loading, notes=(note,))


def start_rule(
    spec: ServiceSpec,
    count: int,
    card: CardModel,
    *,
    utilisation: float = VLLM_UTILISATION,
    outside: int | None = None,
) -> int:
    """Bytes that have to be free on each card for vLLM to start, and what it takes outside of these.

    It refuses to start with less free than its utilisation of the card (vllm/v1/worker/utils.py,
    `request_memory`). 0 for other engines, and where the card's size is not known.

    Args:
        spec: the service.
        count: how many cards.
        card: the cards' model.
        utilisation: the engine's own, where the service has none.
        outside: bytes per card that it takes besides; None takes what is usual.
    """
    if spec.engine is not EngineKind.VLLM or card.total is None or card.name == HOST_CARD_NAME:
        return 0
    if outside is None:
        outside = VLLM_OUTSIDE + (VLLM_COMMUNICATION if count > 1 else 0)
    return math.ceil((spec.vllm.gpu_memory_utilization or utilisation) * card.total) + outside


def _parts(
    spec: ServiceSpec, count: int, card: CardModel, weights: int | None
) -> tuple[tuple[Part, ...], str]:
    share = 0 if spec.llama.gpu_layers == 0 else math.ceil((weights or 0) * WEIGHTS_FACTOR / count)
    pool = spec.vllm.kv_cache_memory or 0
    floor = start_rule(spec, count, card)
    if floor and (not pool or floor > share + pool + ALLOWANCE):
        # Without a cache of a given size, vLLM fills its utilisation and takes no more.
        chosen = spec.vllm.gpu_memory_utilization
        written = f"{chosen}" if chosen else f"vLLM's default of {VLLM_UTILISATION}"
        note = f"gpu_memory_utilization ({written}) of the card, and what vLLM takes outside it"
        return (Part("utilisation", (floor,) * count),), note
    parts = [Part("weights", (share,) * count), Part("allowance", (ALLOWANCE,) * count)]
    if pool:
        parts.append(Part("KV cache", (pool,) * count, note="as `kv_cache_memory` says"))
    if weights is None:
        return tuple(parts), f"no model file is known, {format_size(ALLOWANCE)} per card; declare `vram:`"
    over = f" over {count} cards" if count > 1 else ""
    margin = f"{WEIGHTS_FACTOR - 1:.0%} more{over}"
    note = f"the files' size and {margin}, {format_size(ALLOWANCE)} per card for cache and buffers"
    return tuple(parts), note
