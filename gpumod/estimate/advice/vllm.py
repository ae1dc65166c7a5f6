"""What would do for vLLM: another share of the card, a smaller cache, or one of eight bits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gpumod.core.footprint import Footprint
from gpumod.core.preflight import Advice
from gpumod.core.spec import ServiceSpec
from gpumod.core.units import MIB
from gpumod.estimate.advice.common import LONGEST_CONTEXT, fewer, largest, pool_words, suggest, yaml_line

if TYPE_CHECKING:
    from gpumod.estimate.advice.advisor import Advisor

_UTILISATION_STEPS: Final = 100
_MOST_SHARE: Final = 94
"""Steps; with more vLLM was seen to run out of memory after it was ready."""
_POOL_STEP: Final = 64 * MIB
_FP8: Final = (8, 9)
"""From this compute capability on cards compute with fp8."""


def for_vllm(advisor: Advisor, spec: ServiceSpec) -> Iterator[Advice]:
    """The share of the card and the size of the cache before the cache's precision."""
    yield from _utilisation(advisor, spec)
    yield from _pool(advisor, spec)
    options = spec.vllm
    if options.kv_cache_dtype in {None, "auto"}:
        capability = min((room.model.compute_capability or _FP8 for room in advisor.rooms), default=_FP8)
        # Cards before Ada have no arithmetic for the other eight-bit type.
        dtype = "fp8" if capability >= _FP8 else "fp8_e5m2"
        footprint = advisor.fits(replace(spec, vllm=replace(options, kv_cache_dtype=dtype)))
        if footprint is not None:
            detail = f"the cache loses little in precision{pool_words(footprint)}"
            yield suggest("vllm.kv_cache_dtype", dtype, detail, footprint, 2.25)


def _utilisation(advisor: Advisor, spec: ServiceSpec) -> Iterator[Advice]:
    """Another share of the card: the most that there is room for, or the least that serves."""

    def room(steps: int) -> Footprint | None:
        return advisor.has_room(_with_share(spec, steps))

    fills = advisor.has_room(spec) is None
    most = largest(_MOST_SHARE, 1, 1, room)
    if most is None:
        return
    footprint = advisor.fits(_with_share(spec, most[0]))
    if footprint is None:
        if fills:
            yield from _share_and_context(advisor, spec, most[0])
        return
    steps = most[0]
    if not fills:
        less = largest(most[0] - 1, 0, 1, lambda less: advisor.fits(_with_share(spec, most[0] - less)))
        steps, footprint = (most[0] - less[0], less[1]) if less else (steps, footprint)
    value = f"{steps / _UTILISATION_STEPS:.2f}"
    detail = f"vLLM takes {value} of each card{pool_words(footprint)}"
    yield suggest("vllm.gpu_memory_utilization", value, detail, footprint, 1.0)


def _share_and_context(advisor: Advisor, spec: ServiceSpec, steps: int) -> Iterator[Advice]:
    """A share of the card that there is room for, whose cache is too small for the whole context."""
    smaller = _with_share(spec, steps)
    before, found = spec.context or advisor.trained or LONGEST_CONTEXT, advisor.largest_context(smaller)
    if found.context is None or found.context >= before:
        return
    footprint = advisor.fits(replace(smaller, context=found.context))
    if footprint is not None:
        lost = 1 - found.context / before
        value = f"{steps / _UTILISATION_STEPS:.2f}"
        line = f"{yaml_line('vllm.gpu_memory_utilization', value)}\n{found.line}"
        detail = f"vLLM takes {value} of each card, and {fewer(before, found.context)}"
        yield suggest("vllm.gpu_memory_utilization", value, detail, footprint, 2 + 2 * lost, line)


def _pool(advisor: Advisor, spec: ServiceSpec) -> Iterator[Advice]:
    """A smaller cache, where it was given a size."""
    pool = spec.vllm.kv_cache_memory
    if not pool:
        return

    def room(size: int) -> Footprint | None:
        return advisor.has_room(_with_pool(spec, size))

    found = largest(pool - _POOL_STEP, _POOL_STEP, _POOL_STEP, room)
    footprint = advisor.fits(_with_pool(spec, found[0])) if found is not None else None
    if found is not None and footprint is not None:
        value = f"{found[0] // MIB}MiB"
        detail = f"a smaller KV cache{pool_words(footprint)}"
        yield suggest("vllm.kv_cache_memory", value, detail, footprint, 1 + (pool - found[0]) / pool)


def _with_share(spec: ServiceSpec, steps: int) -> ServiceSpec:
    part = steps / _UTILISATION_STEPS
    return replace(spec, vllm=replace(spec.vllm, gpu_memory_utilization=part))


def _with_pool(spec: ServiceSpec, pool: int) -> ServiceSpec:
    return replace(spec, vllm=replace(spec.vllm, kv_cache_memory=pool))
