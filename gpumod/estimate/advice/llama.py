"""What would do for llama.cpp: smaller types of the cache, and experts or layers on the host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gpumod.core.cards import HOST_CARD_NAME
from gpumod.core.footprint import Footprint
from gpumod.core.preflight import Advice
from gpumod.core.spec import KvCache, ServiceSpec
from gpumod.estimate.advice.common import largest, suggest

if TYPE_CHECKING:
    from gpumod.estimate.advice.advisor import Advisor

MOST_LAYERS: Final = 256
_KV_TYPES: Final = (("q8_0", 2.25, "little"), ("q4_0", 3.5, "noticeably"))
_KV_BITS: Final = {"f32": 32.0, "f16": 16.0, "bf16": 16.0, "q8_0": 8.5, "q5_1": 6.0, "q5_0": 5.5, "q4_1": 5.0,
                   "q4_0": 4.5, "iq4_nl": 4.5}  # fmt: skip
"""Bits per value, from the sizes of ggml's blocks (ggml-common.h)."""


def for_llama(advisor: Advisor, spec: ServiceSpec) -> Iterator[Advice]:
    """The precision of the cache before the speed of layers."""
    yield from _kv_types(advisor, spec)
    yield from _host_layers(advisor, spec)


def _kv_types(advisor: Advisor, spec: ServiceSpec) -> Iterator[Advice]:
    now = spec.kv_cache or KvCache()
    if spec.llama.flash_attention is False:
        # A quantised value cache needs flash attention.
        return
    for kv_type, loss, how in _KV_TYPES:
        bits = _KV_BITS[kv_type]
        kv = KvCache(
            *(kv_type if _KV_BITS.get(old, 0.0) > bits else old for old in (now.k.lower(), now.v.lower()))
        )
        footprint = advisor.fits(replace(spec, kv_cache=kv)) if kv != now else None
        if footprint is not None:
            value = f"{{k: {kv.k}, v: {kv.v}}}"
            yield suggest("kv_cache", value, f"the cache loses {how} in precision", footprint, loss)
            return


def _host_layers(advisor: Advisor, spec: ServiceSpec) -> Iterator[Advice]:
    """Experts on the host cost less speed than whole layers there."""

    def experts(layers: int) -> Footprint | None:
        return advisor.fits(replace(spec, llama=replace(spec.llama, cpu_moe_layers=MOST_LAYERS - layers)))

    def whole(layers: int) -> Footprint | None:
        return advisor.fits(replace(spec, llama=replace(spec.llama, gpu_layers=layers)))

    if all(room.model.name == HOST_CARD_NAME for room in advisor.rooms):
        return
    before = spec.llama.cpu_moe_layers or 0
    found = largest(MOST_LAYERS - before - 1, 0, 1, experts)
    if found is not None:
        layers = MOST_LAYERS - found[0]
        detail = f"the experts of {layers} layers on the host; slower"
        yield suggest("llama.cpu_moe_layers", str(layers), detail, found[1], 4 + layers / MOST_LAYERS)
    most = MOST_LAYERS if spec.llama.gpu_layers is None else spec.llama.gpu_layers
    found = largest(most - 1, 1, 1, whole)
    if found is not None:
        detail = f"{found[0]} layers on the card, the others on the host; much slower"
        loss = 5 + (most - found[0]) / MOST_LAYERS
        yield suggest("llama.gpu_layers", str(found[0]), detail, found[1], loss)
