"""Landmines of vLLM's types: of weights and of the cache, and which cards compute with them."""

from __future__ import annotations

from typing import Final

from gpumod.core.spec import EngineKind
from gpumod.estimate.landmines.trap import Found, Launch, Trap, trap
from gpumod.estimate.vllm.model import Quantization

VLLM: Final = (EngineKind.VLLM,)
_ADA: Final = (8, 9)
_TURING: Final = (7, 5)
_BLACKWELL: Final = (10, 0)


@trap(
    "vllm-fp8-weights",
    engines=VLLM,
    reason="Cards below compute capability 8.9 have no FP8 arithmetic: vLLM unpacks the weights in its "
    "Marlin "
    "kernel instead, which saves memory and no time; below 7.5 it refuses.",
    fix="use an INT4 checkpoint (AWQ, GPTQ, AutoRound)",
    source="vLLM 0.33 vllm/model_executor/layers/quantization/fp8.py (get_min_capability, use_marlin)",
    varies=True,
)
def fp8_weights(launch: Launch) -> Found | None:
    """FP8 weights on a card without FP8."""
    capability, stored = launch.card.compute_capability, _stored(launch)
    asked = launch.spec.vllm.quantization
    if capability is None or capability >= _ADA or not (asked == "fp8" or (stored and stored.is_fp8)):
        return None
    return Found(
        f"the weights are FP8 and {launch.card.name} ({_version(capability)}) has no FP8 arithmetic",
        fatal=capability < _TURING,
    )


@trap(
    "vllm-nvfp4-weights",
    engines=VLLM,
    reason="Only cards from compute capability 10.0 on compute with NVFP4; others unpack the weights in the "
    "Marlin kernel; below 7.5 vLLM refuses. A group of cards of both kinds fails.",
    fix="use an INT4 checkpoint (AWQ, GPTQ, AutoRound), or FP8 from 8.9 on",
    source="vLLM 0.33 .../compressed_tensors/schemes/compressed_tensors_w4a4_nvfp4.py (get_min_capability)",
    varies=True,
)
def nvfp4_weights(launch: Launch) -> Found | None:
    """NVFP4 weights on a card before Blackwell."""
    capability, stored = launch.card.compute_capability, _stored(launch)
    methods = {"modelopt_fp4", "nvfp4"}
    asked = launch.spec.vllm.quantization in methods or (stored is not None and stored.method in methods)
    if capability is None or capability >= _BLACKWELL or not asked:
        return None
    return Found(
        f"the weights are NVFP4 and {launch.card.name} ({_version(capability)}) cannot compute with them",
        fatal=capability < _TURING,
    )


@trap(
    "vllm-fp8-kv-cache",
    engines=VLLM,
    reason="The type `fp8` is e4m3, for which the Triton kernels need compute capability 8.9; FlashInfer "
    "takes "
    "it on older cards for some weights only.",
    fix="set `vllm.kv_cache_dtype: fp8_e5m2`",
    source="vLLM 0.33 vllm/v1/attention/backends/triton_attn.py ('native FP8 (fp8e4nv) requires SM89+')",
)
def fp8_kv_cache(launch: Launch) -> Found | None:
    """An e4m3 cache on a card before Ada."""
    capability, dtype = launch.card.compute_capability, launch.spec.vllm.kv_cache_dtype
    if capability is None or capability >= _ADA or dtype not in {"fp8", "fp8_e4m3"}:
        return None
    return Found(
        f"vllm.kv_cache_dtype: {dtype} may be refused on {launch.card.name} ({_version(capability)})"
    )


@trap(
    "vllm-e5m2-on-fp8",
    engines=VLLM,
    reason="A checkpoint with FP8 weights carries scales for an e4m3 cache; vLLM refuses an e5m2 cache "
    "with it.",
    fix="set `vllm.kv_cache_dtype: fp8_e4m3`, or leave it out",
    source="vLLM 0.33 vllm/model_executor/layers/attention/attention.py ('fp8_e5m2 kv-cache is not supported "
    "with fp8 checkpoints')",
    fatal=True,
    varies=True,
)
def e5m2_on_fp8(launch: Launch) -> Found | None:
    """An e5m2 cache on FP8 weights."""
    stored = _stored(launch)
    if launch.spec.vllm.kv_cache_dtype != "fp8_e5m2" or stored is None or not stored.is_fp8:
        return None
    # Weight-only compressed-tensors checkpoints declare no cache scales and take it.
    return Found(
        f"vllm.kv_cache_dtype is fp8_e5m2 and the weights are {stored.method} in 8 bits",
        fatal=stored.method != "compressed-tensors",
    )


@trap(
    "vllm-nvfp4-kv-cache",
    engines=VLLM,
    reason="Before 0.33 vLLM has kernels for an NVFP4 cache on compute capability 10.x alone; for models "
    "with "
    "latent attention there is none.",
    fix="set `vllm.kv_cache_dtype: fp8`, or `fp8_e5m2` below compute capability 8.9",
    source="vLLM 0.33 vllm/v1/attention/backends/flashinfer.py, vllm/config/vllm.py "
    "(validate_nvfp4_kv_cache_with_mla)",
    fatal=True,
)
def nvfp4_kv_cache(launch: Launch) -> Found | None:
    """An NVFP4 cache where nothing can read it."""
    dtype, capability = launch.spec.vllm.kv_cache_dtype or "", launch.card.compute_capability
    if not dtype.startswith("nvfp4") or dtype.endswith("_ds_mla"):
        return None
    if launch.model is not None and launch.model.latent is not None:
        return Found(f"vllm.kv_cache_dtype: {dtype} does not go with latent attention")
    if capability is None or capability[0] == _BLACKWELL[0] or not launch.before(0, 33):
        return None
    return Found(
        f"vllm.kv_cache_dtype: {dtype} needs compute capability 10.x, this is {_version(capability)}"
    )


@trap(
    "vllm-turboquant-drafting",
    engines=VLLM,
    reason="A TurboQuant cache together with speculative decoding starts, answers and is wrong: longer "
    "answers end in loops while every sign of health is green.",
    fix="remove `draft`, or take an fp8 cache",
    source="vllm#40831, vllm#53180, vllm#52475",
)
def turboquant(launch: Launch) -> Found | None:
    """Drafting over a TurboQuant cache."""
    dtype = launch.spec.vllm.kv_cache_dtype or ""
    if launch.spec.draft is None or not dtype.startswith("turboquant"):
        return None
    return Found(f"drafting over a {dtype} cache was seen to answer in loops")


@trap(
    "vllm-tp-groups",
    engines=VLLM,
    reason="Quantised weights share a scale per group. Where a card's share of a matrix is no whole number "
    "of "
    "groups the kernel refuses it, or vLLM takes a slow one.",
    fix="use another number of cards, or a checkpoint with smaller groups",
    source="vLLM 0.33 vllm/model_executor/layers/quantization/utils/marlin_utils.py, "
    "vllm/distributed/utils.py "
    "verify_group_size_divides_partition",
)
def tp_groups(launch: Launch) -> Found | None:
    """Groups that a card's share cuts through."""
    model, stored = launch.model, _stored(launch)
    if model is None or stored is None or stored.group < 2:
        return None
    width = model.experts.width if model.experts else model.feed_forward
    kind = "an expert" if model.experts else "the feed-forward part"
    if not width or (width % launch.count == 0 and width // launch.count % stored.group == 0):
        return None
    return Found(f"{kind} is {width} wide: over {launch.count} cards no whole groups of {stored.group}")


def _stored(launch: Launch) -> Quantization | None:
    return launch.model.quantization if launch.model else None


def _version(capability: tuple[int, int]) -> str:
    return f"compute capability {capability[0]}.{capability[1]}"


VLLM_TYPE_TRAPS: Final[tuple[Trap, ...]] = (
    fp8_weights,
    nvfp4_weights,
    fp8_kv_cache,
    e5m2_on_fp8,
    nvfp4_kv_cache,
    turboquant,
    tp_groups,
)
