"""What launches of any model teach about a card: the size of a CUDA context, which no formula gives. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import median_high
from typing import Final

from gpumod.core.cards import CardModel
from gpumod.core.spec import EngineKind
from gpumod.core.units import GIB, MIB
from gpumod.estimate.formulas import USUAL, Overheads
from gpumod.estimate.learning import Seen
from gpumod.estimate.llama import overhead as llama
from gpumod.estimate.vllm import activations as vllm
from gpumod.estimate.vllm.predict import OUTSIDE

CONTEXT_PARTS: Final = {EngineKind.LLAMA_CPP: "CUDA context", EngineKind.VLLM: OUTSIDE}
"""By engine, the part that stands for the context of a process on a card."""
_STEP: Final = 2 * MIB
"""The driver gives memory in pieces of this size."""
_LARGEST: Final = 4 * GIB
"""No context is larger: more is another process, or a wrong formula."""


def context_seen(launches: Iterable[Seen], part: str, *assumed: int) -> int | None:
    """Bytes per card and process that are in no buffer; None where no launch tells.

    The median of what launches took besides: one that something disturbed, and a model whose formula is
    wrong, are outvoted. A context below nothing or beyond 4 GiB is not believed at all. A launch with a
    projector does not tell: its buffers grow with the pictures that it is shown, and may be far from full.

    Args:
        launches: beside what the formulas say of them.
        part: the name of the part that stands for it in the formulas.
        assumed: what is believed as much as one launch is.
    """
    found = []
    for one in launches:
        standing, projector = one.prediction.part(part), one.prediction.part("projector")
        if standing is not None and one.whole and not (projector is not None and any(projector.cards)):
            context = max(map(sum, zip(one.expected, standing.cards, strict=True)))
            found += [context] if 0 < context <= _LARGEST else []
    return -(-median_high((*found, *assumed)) // _STEP) * _STEP if found else None


def overheads_of(launches: Sequence[Seen], engine: EngineKind, card: CardModel) -> Overheads:
    """What launches of an engine on a model of card teach about the next one there.

    Of vLLM, what lies outside its budget is a context and what torch takes between tensors, which is known
    within 100 MiB or so: one launch that took less does not show a smaller context, several do.
    """
    if engine is EngineKind.LLAMA_CPP:
        context = context_seen(launches, CONTEXT_PARTS[engine])
        if context is None:
            return USUAL
        return Overheads(llama=replace(llama.usual_overhead(card), context=context))
    usual = vllm.usual_overhead(card)
    ranks = launches[0].measurement.count if launches else 1
    context = context_seen(launches, CONTEXT_PARTS[engine], usual.outside(ranks))
    if context is None:
        return USUAL
    shared = usual.communication if ranks > 1 else 0
    return Overheads(vllm=replace(usual, context=max(0, context - shared)))
