"""What a launch of vLLM takes on each card, part by part."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from gpumod.core.cards import CardModel
from gpumod.core.footprint import KvPool, Part, Source
from gpumod.core.ports import EngineBuild
from gpumod.core.spec import ServiceSpec
from gpumod.core.units import format_size
from gpumod.estimate.host import VLLM_LOADING, VLLM_RESIDENT
from gpumod.estimate.prediction import Prediction
from gpumod.estimate.vllm.activations import (
    VllmOverhead,
    activation_peak,
    captured_memory,
    gap_memory,
    graph_memory,
    usual_overhead,
)
from gpumod.estimate.vllm.checkpoint import Checkpoint
from gpumod.estimate.vllm.layout import cache_layout
from gpumod.estimate.vllm.pool import Pool, pool_of
from gpumod.estimate.vllm.setting import VllmSetting, vllm_setting
from gpumod.estimate.vllm.weights import weights_per_rank

UNUSED: Final = "unused utilisation"
OUTSIDE: Final = "outside vLLM's budget"


@dataclass(frozen=True, slots=True)
class VllmPlan:
    """One launch in numbers, all of them bytes per card.

    Args:
        requested: what the utilisation asks for; vLLM starts only if so much is free on every card, after its
            CUDA context is made. None where the card's size is not known.
        weights: of one rank, those of a draft model included.
        activations: the peak of the profiling run, and what is loaded beside torch.
        graphs: what vLLM expects of CUDA graphs.
        context: what is taken before vLLM looks at the card.
        captured: what CUDA graphs do take; what is more than `graphs` comes on top of what was requested.
        gaps: what torch takes between tensors, on top as well.
        available: what is left for the KV cache.
        pool: the cache that it makes.
        setting: the launch.
    """

    requested: int | None
    weights: int
    activations: int
    graphs: int
    context: int
    captured: int
    gaps: int
    available: int
    pool: Pool
    setting: VllmSetting

    @property
    def outside(self) -> int:
        """Bytes per card that no utilisation holds."""
        counted = self.graphs if self.setting.graphs_counted else 0
        return self.context + self.gaps + self.captured - counted


def vllm_plan(
    checkpoint: Checkpoint,
    spec: ServiceSpec,
    count: int,
    card: CardModel,
    *,
    overhead: VllmOverhead | None = None,
    build: EngineBuild | None = None,
    draft: Checkpoint | None = None,
) -> VllmPlan:
    """The numbers of one launch. Arguments as for `predict_vllm`."""
    model = checkpoint.model
    setting = vllm_setting(model, spec, count, card, build)
    extra = overhead or usual_overhead(card)
    weights = weights_per_rank(checkpoint, setting, card)
    if draft is not None:
        weights += weights_per_rank(draft, setting, card)
    activations = activation_peak(model, setting, card) + extra.kernels
    graphs = graph_memory(model, setting, card)
    requested = setting.requested(card) if card.total is not None else None
    available = setting.kv_cache_memory
    if available is None:
        counted = graphs if setting.graphs_counted else 0
        available = max((requested or 0) - weights - activations - counted, 0)
    layout = cache_layout(model, setting, card, draft.model.attention if draft is not None else ())
    return VllmPlan(
        requested=requested,
        weights=weights,
        activations=activations,
        graphs=graphs,
        context=extra.outside(count),
        captured=captured_memory(model, setting, card),
        gaps=gap_memory(model, setting, card),
        available=available,
        pool=pool_of(layout, setting, available, model.context),
        setting=setting,
    )


def predict_vllm(
    checkpoint: Checkpoint,
    spec: ServiceSpec,
    count: int,
    card: CardModel,
    *,
    overhead: VllmOverhead | None = None,
    build: EngineBuild | None = None,
    draft: Checkpoint | None = None,
) -> Prediction:
    """What a launch takes on each of its cards.

    Args:
        checkpoint: the model.
        spec: the service, of the engine vLLM.
        count: how many cards; the model is divided over all of them.
        card: their model. Its total, in bytes, is what CUDA reports.
        overhead: what launches on such cards were seen to take besides; None assumes the usual.
        build: the engine; None counts as recent.
        draft: the draft model, where the service has one of its own.

    With a utilisation, the parts of each card sum to what it requests and what lies outside of it. With
    `kv_cache_memory`, to the parts alone.
    """
    plan = vllm_plan(checkpoint, spec, count, card, overhead=overhead, build=build, draft=draft)
    activations = f"{plan.setting.batched_tokens} tokens, {plan.setting.sequences} requests"
    sizes = [
        ("weights", plan.weights, _weights_note(checkpoint, plan)),
        ("KV cache", plan.pool.size, _pool_note(plan)),
        ("activations", plan.activations + plan.gaps, activations),
        ("CUDA graphs", plan.captured, f"batches of up to {plan.setting.capture}"),
    ]
    if plan.requested is not None and plan.setting.kv_cache_memory is None:
        held = plan.requested + plan.outside - plan.context
        sizes.append(
            (UNUSED, max(held - sum(size for _, size, _ in sizes), 0), "what is left after whole blocks")
        )
    sizes.append((OUTSIDE, plan.context, "the CUDA context, NCCL"))
    parts = [Part(name, (size,) * count, Source.ESTIMATED, note=note) for name, size, note in sizes if size]
    parts.append(Part("process", (0,) * count, Source.ESTIMATED, host=VLLM_RESIDENT * (count + 1)))
    notes = _notes(checkpoint, plan, card)
    return Prediction(tuple(parts), VLLM_LOADING * count, notes=notes, pool=_kv_pool(plan))


def _weights_note(checkpoint: Checkpoint, plan: VllmPlan) -> str:
    source = "the tensors of the files" if checkpoint.tensors else "config.json: there are no weight files"
    return f"{source}, over {plan.setting.ranks} cards" if plan.setting.ranks > 1 else source


def _kv_pool(plan: VllmPlan) -> KvPool | None:
    """The cache in tokens; None where it cannot be told."""
    pool = plan.pool
    if pool.problem or (plan.requested is None and plan.setting.kv_cache_memory is None):
        return None
    return KvPool(pool.tokens, pool.concurrency, pool.largest_context)


def _pool_note(plan: VllmPlan) -> str:
    pool = plan.pool
    requests = f"{pool.concurrency:.2f} requests of {plan.setting.context}"
    return f"{pool.blocks} blocks, {pool.tokens} tokens, {requests}"


def _notes(checkpoint: Checkpoint, plan: VllmPlan, card: CardModel) -> tuple[str, ...]:
    """What a reader has to know of these numbers."""
    notes, pool = [], plan.pool
    if pool.problem:
        notes.append(f"the KV cache cannot be told: {pool.problem}")
    elif not pool.starts and pool.bytes_per_block:
        notes.append(
            f"vLLM would not start: one request of {plan.setting.context} tokens takes"
            f" {format_size(pool.needed)} of KV cache, and {format_size(plan.available)} are left for it;"
            f" the largest context that starts is {pool.largest_context}"
        )
    if plan.requested is None:
        notes.append(f"the size of {card.name} is not known, so neither is what the utilisation takes")
    if checkpoint.missing:
        notes.append(
            f"{len(checkpoint.missing)} weight files are missing, the first: {checkpoint.missing[0]}"
        )
    return tuple(notes)


def largest_utilisation(free: int, context: int, card: CardModel) -> float:
    """The largest utilisation that vLLM would start with, in steps of a hundredth.

    Args:
        free: bytes free on the fullest of the cards.
        context: bytes that a launch takes before vLLM looks (`VllmPlan.context`).
        card: the cards' model.
    """
    if not card.total:
        return 0.0
    return max(math.floor((free - context) / card.total * 100) / 100, 0.0)
