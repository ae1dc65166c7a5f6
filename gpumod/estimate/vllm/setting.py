"""What `vllm serve` makes of a service: every number that memory depends on, defaults filled in.

The defaults are those of vLLM 0.20.2 (`engine/arg_utils.py`, `config/cache.py`, `config/vllm.py`); where
0.33.0 differs, the version decides.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gpumod.core.cards import CardModel
from gpumod.core.ports import EngineBuild
from gpumod.core.spec import ServiceSpec, Task
from gpumod.core.units import GIB
from gpumod.estimate.vllm.model import DTYPE_BYTES, Model

UTILISATION: Final = 0.92
OLD_UTILISATION: Final = 0.9
_NEW_UTILISATION_SINCE: Final = (0, 20)
_HYBRID_PREFIX_CACHE_SINCE: Final = (0, 28)
"""Hybrid models cache prefixes unasked (vllm-metal#651 says so of 0.28.0)."""
_OVERLAPPING_SINCE: Final = (0, 25)
"""Two batches are in flight and both count for sliding windows: vllm#47728, of July 2026, after 0.24."""
_GRAPHS_COUNTED_SINCE: Final = (0, 20)
"""CUDA graphs come out of the utilisation, not on top of it (0.20.2 does, its log says 0.21)."""
_LARGE_CARD: Final = 70 * GIB
"""From here on vLLM takes larger batches, except on an A100."""
_NEWEST: Final = (999, 0)
_VALUE_FLAGS: Final = {
    "--block-size", "--limit-mm-per-prompt", "--max-cudagraph-capture-size", "--mamba-ssm-cache-dtype",
    "--num-gpu-blocks-override",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class VllmSetting:
    """The numbers of one launch.

    Args:
        ranks: cards that the model is divided over (tensor parallelism).
        utilisation: share of each card that vLLM asks for.
        kv_cache_memory: bytes of cache on each card; None lets the utilisation decide.
        context: tokens that one request may have.
        sequences: requests at once.
        batched_tokens: tokens computed at once.
        dtype_bytes: of a value of weights and activations.
        kv_dtype: type of the KV cache, `auto` is the model's own.
        block: tokens per block that the user chose; None is vLLM's choice.
        prefix_cache: whether prefixes are cached.
        mamba_mode: how recurrent states are cached: none, align or all.
        ssm_dtype: type of recurrent states that the user chose; `auto` is the model's.
        drafted: tokens drafted per step.
        own_drafter: whether the model's own draft module drafts.
        eager: no CUDA graphs.
        graphs_counted: CUDA graphs are taken from the utilisation.
        in_flight: batches that may be in flight at once.
        hybrid: whether layers of several kinds are cached apart.
        vision: whether the towers are loaded.
        experts_parallel: whole experts per card in place of a part of each.
        override_blocks: blocks that the user chose.
        quantization: what the weights are converted to while loading; empty means as they are.
        pooling: an embedding or scoring model: no sampler.
        capture: the largest batch that is captured as a CUDA graph.
        version: of vLLM.
    """

    ranks: int
    utilisation: float
    kv_cache_memory: int | None
    context: int
    sequences: int
    batched_tokens: int
    dtype_bytes: int
    kv_dtype: str
    block: int | None
    prefix_cache: bool
    mamba_mode: str
    ssm_dtype: str
    drafted: int
    own_drafter: bool
    eager: bool
    graphs_counted: bool
    in_flight: int
    hybrid: bool
    vision: bool
    experts_parallel: bool
    override_blocks: int | None
    quantization: str
    pooling: bool
    capture: int
    version: tuple[int, int]

    def requested(self, card: CardModel) -> int:
        """Bytes that the utilisation asks for on each card; 0 where its size is not known.

        `request_memory` (v1/worker/utils.py).
        """
        return math.ceil((card.total or 0) * self.utilisation)


def vllm_setting(
    model: Model, spec: ServiceSpec, count: int, card: CardModel, build: EngineBuild | None = None
) -> VllmSetting:
    """The numbers that vLLM derives from a service's keys and arguments.

    Args:
        model: of the checkpoint.
        spec: the service.
        count: how many cards.
        card: their model; its size decides some defaults.
        build: the engine; None counts as recent.
    """
    options, version = spec.vllm, version_of(build)
    given = _flags(spec.args)
    pooling = spec.task in {Task.EMBEDDING, Task.RERANK}
    context = spec.context or model.context or 4096
    sequences, tokens = _batches(spec, card, context)
    drafted = (spec.draft.n_max or 1) if spec.draft is not None else 0
    prefix = _prefix_cache(model, given, version)
    chosen = options.quantization or ""
    return VllmSetting(
        ranks=count,
        utilisation=options.gpu_memory_utilization or usual_utilisation(build),
        kv_cache_memory=options.kv_cache_memory,
        context=context,
        sequences=sequences,
        batched_tokens=tokens,
        dtype_bytes=_dtype_bytes(model, options.dtype),
        kv_dtype=options.kv_cache_dtype or "auto",
        block=_whole(given, "--block-size"),
        prefix_cache=prefix,
        mamba_mode=_mamba_mode(model, options.mamba_cache_mode, drafted, prefix=prefix, version=version),
        ssm_dtype=given.get("--mamba-ssm-cache-dtype", "auto"),
        drafted=drafted,
        own_drafter=spec.draft is not None and spec.draft.model is None,
        eager=options.enforce_eager or "--enforce-eager" in given,
        graphs_counted=version >= _GRAPHS_COUNTED_SINCE and not _graphs_left_out(spec),
        in_flight=2 if version >= _OVERLAPPING_SINCE and "--no-async-scheduling" not in given else 1,
        hybrid="--disable-hybrid-kv-cache-manager" not in given,
        vision=model.has_vision and not _text_only(given),
        experts_parallel="--enable-expert-parallel" in given,
        override_blocks=_whole(given, "--num-gpu-blocks-override"),
        quantization="" if model.quantization is not None else chosen,
        pooling=pooling,
        capture=_whole(given, "--max-cudagraph-capture-size") or min(sequences * (1 + drafted) * 2, 512),
        version=version,
    )


def usual_utilisation(build: EngineBuild | None) -> float:
    """The share of a card that an engine takes where nothing is written."""
    return UTILISATION if version_of(build) >= _NEW_UTILISATION_SINCE else OLD_UTILISATION


def version_of(build: EngineBuild | None) -> tuple[int, int]:
    """Major and minor version of a vLLM; an unknown one counts as recent."""
    match = re.match(r"(\d{1,4})\.(\d{1,4})", build.version) if build is not None else None
    return (int(match[1]), int(match[2])) if match else _NEWEST


def _flags(args: Sequence[str]) -> dict[str, str]:
    """Long options with their values; those without one have an empty value."""
    found: dict[str, str] = {}
    words = list(args)
    for index, word in enumerate(words):
        if not word.startswith("--"):
            continue
        name, equals, value = word.partition("=")
        name = name.replace("_", "-")
        if not equals and name in _VALUE_FLAGS and index + 1 < len(words):
            value = words[index + 1]
        found[name] = value
    return found


def _whole(given: dict[str, str], name: str) -> int | None:
    text = given.get(name, "")
    return int(text) if re.fullmatch(r"[1-9]\d{0,8}", text) else None


def _batches(spec: ServiceSpec, card: CardModel, context: int) -> tuple[int, int]:
    """Requests and tokens at once (`get_batch_defaults`, usage context of the API server)."""
    large = card.total is not None and card.total >= _LARGE_CARD and "a100" not in card.name.lower()
    sequences = spec.slots or (1024 if large else 256)
    tokens = spec.vllm.max_num_batched_tokens
    if tokens is None:
        tokens = min(8192 if large else 2048, sequences * context)
    if spec.slots is None:
        sequences = min(sequences, tokens)
    return sequences, tokens


def _dtype_bytes(model: Model, chosen: str | None) -> int:
    """Bytes per value; `auto` turns 32-bit checkpoints into 16-bit models."""
    name = model.dtype if chosen in {None, "auto"} else chosen
    size = DTYPE_BYTES.get(name or "", 2)
    return 2 if chosen in {None, "auto"} and size > 2 else size


def _prefix_cache(model: Model, given: dict[str, str], version: tuple[int, int]) -> bool:
    if "--enable-prefix-caching" in given:
        return True
    if "--no-enable-prefix-caching" in given or not model.attention:
        return False
    return not model.states or version >= _HYBRID_PREFIX_CACHE_SINCE


def _mamba_mode(
    model: Model, chosen: str | None, drafted: int, *, prefix: bool, version: tuple[int, int]
) -> str:
    """`MambaModelConfig` (models/config.py): without a prefix cache the user's choice is put aside."""
    if not prefix or not model.states:
        return "none"
    every = all(state.caches_all for state in model.states) and version < _HYBRID_PREFIX_CACHE_SINCE
    if chosen in {"align", "all"}:
        return "all" if chosen == "all" and every else "align"
    return "all" if every and not drafted else "align"


def _text_only(given: dict[str, str]) -> bool:
    """Whether the towers are left out: `--language-model-only`, or no item of any kind allowed."""
    limits = re.findall(r"[:=]\s*(\d+)", given.get("--limit-mm-per-prompt", ""))
    return "--language-model-only" in given or (bool(limits) and all(int(one) == 0 for one in limits))


def _graphs_left_out(spec: ServiceSpec) -> bool:
    return dict(spec.env).get("VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS") == "0"
