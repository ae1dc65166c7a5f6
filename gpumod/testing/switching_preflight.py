"""Preflights of the fake box: the same few parts for every service."""

from __future__ import annotations

from gpumod.core.footprint import Footprint, KvPool, Part, Source
from gpumod.core.landmine import Landmine
from gpumod.core.names import CardId
from gpumod.core.plan import Plan, Refused, StepKind
from gpumod.core.preflight import (
    Advice,
    FittedContext,
    OracleAnswer,
    OracleDevice,
    Preflight,
    ServicePreflight,
)
from gpumod.core.spec import ServiceSpec
from gpumod.core.units import GIB, MIB
from gpumod.testing.switching_catalog import CARDS, size_of

ROOM = 22 * GIB
"""What a card of the fake box has to give, for any service."""


def preflight(outcome: Plan | Refused, *, fit_context: bool, oracle: bool) -> Preflight:
    """The report behind a plan or refusals."""
    placed = {}
    if isinstance(outcome, Plan):
        orders = [step.order for step in outcome.steps if step.kind is StepKind.START]
        placed = {order.spec.id: order.cards for order in orders if order is not None}
    return Preflight(
        outcome,
        tuple(
            _service(spec, placed.get(spec.id, CARDS[:1]), outcome, fit_context=fit_context, oracle=oracle)
            for spec in outcome.target.services
        ),
    )


def _service(
    spec: ServiceSpec, cards: tuple[CardId, ...], outcome: Plan | Refused, *, fit_context: bool, oracle: bool
) -> ServicePreflight:
    size = size_of(spec)
    weights, cache, context = size - 3 * GIB // 2, GIB, 512 * MIB
    footprint = Footprint(
        cards=(size,),
        source=Source.DECLARED,
        resident=GIB,
        learned_peak=(size - 256 * MIB,),
        note="declared by `vram:`",
        parts=(
            Part("weights", (weights,), host=256 * MIB, note="310 tensors"),
            Part("KV cache", (cache,), note="32768 cells, f16"),
            Part("CUDA context", (context,), Source.LEARNED),
            Part("process", (0,), host=768 * MIB),
        ),
        formula=(size,),
        warnings=("the formula is 256 MiB above what was learned",),
        pool=KvPool(65536, 2.0, 65536),
    )
    fits = size <= ROOM
    advice = Advice(
        "context", "8192", "context: 8192", "24576 tokens of context fewer (75%)", (ROOM,), GIB, 3.5
    )
    devices = (
        OracleDevice("CUDA0", weights, cache, 0, weights + cache),
        OracleDevice("Host", 256 * MIB, 0, 0, None),
    )
    return ServicePreflight(
        service=spec.id,
        runs=isinstance(outcome, Plan) and spec.id in outcome.keeps,
        cards=cards,
        card_name="Fake 24 GB",
        available=(ROOM,),
        footprint=footprint,
        landmines=(Landmine("llama-no-context", "context is not set", "set `context`"),),
        advice=() if fits or isinstance(outcome, Plan) else (advice,),
        fitted=FittedContext(40960, "context: 40960", (ROOM,), "more does not fit") if fit_context else None,
        oracle=OracleAnswer("/usr/bin/llama-fit-params", devices, limits=("it knows no projector",))
        if oracle
        else None,
    )
