"""Landmines of vLLM."""

from __future__ import annotations

import re
from typing import Final

from gpumod.core.footprint import KvPool
from gpumod.core.spec import EngineKind
from gpumod.core.units import GIB, format_size
from gpumod.estimate.landmines.trap import Found, Launch, Trap, trap
from gpumod.estimate.vllm.layout import cache_layout
from gpumod.estimate.vllm.predict import OUTSIDE, UNUSED
from gpumod.estimate.vllm.setting import usual_utilisation, vllm_setting

VLLM: Final = (EngineKind.VLLM,)
_DOUBT: Final = GIB
"""What is not cache is known to about half of that, where the utilisation decides: it may well start."""
_ALIGNED_BLOCK: Final = 2096
"""Tokens of an attention block of Qwen3.5-class hybrids in `align` mode: the largest seen."""
_HIGH: Final = 0.95
_TOWER: Final = re.compile(r"(?:^|\.)(?:visual|vision_\w+|audio_\w+|multi_modal_projector|embed_vision)\.")
"""Names of the modules of towers in published checkpoints."""


@trap(
    "vllm-align-batch",
    engines=VLLM,
    reason="With `mamba_cache_mode: align` a request advances by whole blocks, which hybrid models make as "
    "large as a recurrent state (up to 2096 tokens). A smaller batch stops vLLM at initialisation, or, in "
    "versions without that check, a long request never moves.",
    fix="set `vllm.max_num_batched_tokens: 8192`",
    source="vLLM 0.20.2 vllm/config/vllm.py ('In Mamba cache align mode, block_size'); vllm#34445",
    fatal=True,
    varies=True,
)
def align_batch(launch: Launch) -> Found | None:
    """A batch smaller than a block of the hybrid cache."""
    if launch.spec.vllm.mamba_cache_mode != "align":
        return None
    model, spec = launch.model, launch.spec
    if model is None:
        tokens = spec.vllm.max_num_batched_tokens
        if tokens is None or tokens >= _ALIGNED_BLOCK:
            return None
        return Found(f"batches of {tokens} tokens may be smaller than an aligned block, which has up to "
                     f"{_ALIGNED_BLOCK}", fatal=False)  # fmt: skip
    setting = vllm_setting(model, spec, launch.count, launch.card, launch.build)
    block = cache_layout(model, setting, launch.card).block
    # Without a prefix cache vLLM puts the mode aside.
    if setting.mamba_mode != "align" or setting.batched_tokens >= block:
        return None
    return Found(
        f"batches of {setting.batched_tokens} tokens are smaller than the {block} of an aligned block"
    )


@trap(
    "vllm-hybrid-drafting",
    engines=VLLM,
    reason="Drafting with MTP on models with gated delta nets was seen to write outside its memory under "
    "load (Xid 13 or 31, 'illegal memory access'), after minutes of good work.",
    fix="remove `draft`, or add `--no-async-scheduling` to `args` and watch for Xid events",
    source="vllm#50021, vllm#40756",
)
def hybrid_drafting(launch: Launch) -> Found | None:
    """MTP on a hybrid model."""
    draft, model = launch.spec.draft, launch.model
    if draft is None or draft.type != "mtp" or model is None or not model.states:
        return None
    if launch.given("--no-async-scheduling") is not None:
        return None
    return Found("MTP on this hybrid model was seen to crash with an illegal memory access under load")


@trap(
    "vllm-mtp-absent",
    engines=VLLM,
    reason="Quantised checkpoints often leave the module out that drafts (MTP): there is nothing to draft "
    "with.",
    fix="remove `draft`, or use a checkpoint that kept its MTP module",
    source="vLLM 0.33 vllm/config/speculative.py; published AWQ checkpoints",
    fatal=True,
)
def mtp_absent(launch: Launch) -> Found | None:
    """MTP asked of weights without it."""
    draft = launch.spec.draft
    if draft is None or draft.type != "mtp" or draft.model is not None:
        return None
    if launch.checkpoint is None or launch.checkpoint.has_drafter:
        return None
    return Found("draft: the checkpoint has no module for multi-token prediction")


@trap(
    "vllm-bundled-tower",
    engines=VLLM,
    reason="A multimodal checkpoint brings its tower for images or sound, which takes card memory, and more "
    "for profiling its largest picture, also where only text is served.",
    fix="add `--language-model-only` to `args` where text is enough, or take a text-only GGUF",
    source="vLLM 0.33 vllm/engine/arg_utils.py (--language-model-only), vllm/multimodal/profiling",
)
def bundled_tower(launch: Launch) -> Found | None:
    """A tower that comes along."""
    model = launch.model
    if model is None or not model.has_vision or launch.given("--language-model-only") is not None:
        return None
    limits = launch.given("--limit-mm-per-prompt")
    if limits is not None and not any(digit in limits for digit in "123456789"):
        return None
    tower = _tower(launch)
    size = f" of {format_size(tower)}" if tower else ""
    return Found(f"the checkpoint comes with a tower for images or sound{size}")


@trap(
    "vllm-tp-heads",
    engines=VLLM,
    reason="Tensor parallelism deals the attention heads out to the cards: their number has to be "
    "divisible by "
    "that of the cards, or vLLM refuses.",
    fix="set `cards` to a number that divides the heads",
    source="vLLM 0.33 vllm/config/model.py verify_with_parallel_config",
    fatal=True,
)
def tp_heads(launch: Launch) -> Found | None:
    """Heads that cannot be dealt out."""
    model = launch.model
    if model is None or launch.count < 2 or model.divides_heads(launch.count):
        return None
    fitting = [str(n) for n in range(1, 9) if model.divides_heads(n)]
    return Found(
        f"{model.heads} attention heads cannot be divided by {launch.count} cards",
        f"set `cards` to one of {', '.join(fitting)}",
    )


@trap(
    "vllm-tp-kv-heads",
    engines=VLLM,
    reason="Where there are fewer key and value heads than cards, or one compressed one (latent attention), "
    "cards hold the same cache: more cards do not make it larger.",
    fix="use fewer cards, or expect no more context from more of them",
    source="vLLM 0.33 vllm/model_executor/models/llama.py (total_num_kv_heads), "
    "vllm/v1/kv_cache_interface.py",
    varies=True,
)
def tp_kv_heads(launch: Launch) -> Found | None:
    """A cache that several cards hold."""
    model = launch.model
    if model is None or launch.count < 2 or not model.attention:
        return None
    if model.latent is not None:
        return Found(f"latent attention keeps one cache, which each of the {launch.count} cards holds whole")
    if model.kv_heads % launch.count == 0:
        return None
    if model.kv_heads < launch.count and launch.count % model.kv_heads == 0:
        return Found(f"{launch.count} cards share {model.kv_heads} KV heads: each is held more than once")
    return Found(
        f"{model.kv_heads} KV heads can neither be divided by nor dealt out to {launch.count} cards",
        "set `cards` to a number that divides the KV heads, or a multiple of them",
        fatal=True,
    )


@trap(
    "vllm-context-beyond-model",
    engines=VLLM,
    reason="vLLM refuses a context longer than config.json derives, for positions beyond it give nonsense.",
    fix="set `context` to what the model has",
    source="vLLM 0.33 vllm/config/model.py ('User-specified max_model_len ... is greater than the derived')",
    fatal=True,
)
def context_beyond(launch: Launch) -> Found | None:
    """More context than the model has."""
    context, model = launch.spec.context, launch.model
    if context is None or model is None or model.context is None or context <= model.context:
        return None
    if dict(launch.spec.env).get("VLLM_ALLOW_LONG_MAX_MODEL_LEN") == "1":
        return None
    if launch.given("--hf-overrides", "--rope-scaling") is not None:
        return None
    return Found(
        f"context: {context} is more than the model's {model.context}", f"set `context: {model.context}`"
    )


@trap(
    "vllm-default-utilisation",
    engines=VLLM,
    reason="vLLM takes a share of the whole card, 0.92 of it unless told otherwise (0.9 in older "
    "versions), and "
    "does not start with less free, also where `kv_cache_memory` gives its cache a size.",
    fix="set `vllm.gpu_memory_utilization` to the share that it needs",
    source="vLLM 0.33 vllm/config/cache.py, vllm/v1/worker/utils.py request_memory",
)
def default_utilisation(launch: Launch) -> Found | None:
    """No share given."""
    options = launch.spec.vllm
    if options.gpu_memory_utilization is not None:
        return None
    if options.kv_cache_memory is None:
        return Found(
            "vllm.gpu_memory_utilization is not set: vLLM takes 0.92 of every card (0.9 in older versions)"
        )
    total, need = launch.card.total, launch.prediction.cards if launch.prediction else ()
    fix = None
    if total and need and max(need) < total:
        fix = f"set `vllm.gpu_memory_utilization: {max(need) / total:.2f}`"
    return Found("vllm.kv_cache_memory is set, and still vLLM wants 0.92 of the card free to start", fix)


@trap(
    "vllm-high-utilisation",
    engines=VLLM,
    reason="What vLLM measures before it sizes its cache is not all that it will take: late CUDA graphs "
    "and the "
    "workspaces of hybrid models come on top, and it runs out of memory after it was ready.",
    fix="keep `vllm.gpu_memory_utilization` at 0.92 or less, and leave about 1 GiB of the card",
    source="published readings on 24 GB cards; vLLM 0.33 vllm/v1/worker/gpu_worker.py "
    "determine_available_memory",
)
def high_utilisation(launch: Launch) -> Found | None:
    """A share that leaves no room for what comes late."""
    share, total = launch.spec.vllm.gpu_memory_utilization, launch.card.total
    if share is None or share < _HIGH:
        return None
    left = f", which leaves {format_size(int(total * (1 - share)))}" if total else ""
    return Found(f"vllm.gpu_memory_utilization is {share:g}{left}")


@trap(
    "vllm-pool-too-small",
    engines=VLLM,
    reason="vLLM does not start where its KV cache cannot hold one request of the whole context ('To serve "
    "at "
    "least one request with the model's max seq len').",
    fix="set a smaller `context`, or a larger `vllm.gpu_memory_utilization`",
    source="vLLM 0.33 vllm/v1/core/kv_cache_utils.py check_enough_kv_cache_memory",
    varies=True,
)
def pool_too_small(launch: Launch) -> Found | None:
    """A cache that is shorter than the context."""
    pool = launch.prediction.pool if launch.prediction else None
    wanted = launch.spec.context or (launch.model.context if launch.model else None)
    if pool is None or wanted is None or pool.largest_context >= wanted:
        return None
    return Found(
        f"the KV cache would hold {pool.largest_context} tokens of one request, and the context is {wanted}",
        f"set `context: {pool.largest_context}`, or a larger `vllm.gpu_memory_utilization`"
        if pool.largest_context
        else "set a larger `vllm.gpu_memory_utilization`",
        fatal=launch.spec.vllm.kv_cache_memory is not None or _lacking(launch, pool) > _DOUBT,
    )


def _lacking(launch: Launch, pool: KvPool) -> float:
    """Bytes per card that one request of the whole context needs beyond the cache that there would be."""
    parts = launch.prediction.parts if launch.prediction else ()
    sizes = {part.name: max(part.cards) for part in parts}
    if pool.concurrency:
        return sizes.get("KV cache", 0) * (1 / pool.concurrency - 1)
    # There is no cache at all: what is known to be lacking is what the other parts are too large by.
    asked = int(
        (launch.card.total or 0)
        * (launch.spec.vllm.gpu_memory_utilization or usual_utilisation(launch.build))
    )
    return sum(size for name, size in sizes.items() if name not in {UNUSED, OUTSIDE}) - asked


@trap(
    "vllm-022-kernels",
    engines=VLLM,
    reason="The 0.22 wheels compile kernels for CUDA 13 when they start and fail with an older nvcc.",
    fix="use another version (0.20.2 was the steady one for Ampere), or install CUDA 13 and driver 580",
    source="published reports on 0.22.x; not reproduced here",
)
def kernels_022(launch: Launch) -> Found | None:
    """A version that compiles at its start."""
    if launch.build is None or not launch.build.version.startswith("0.22."):
        return None
    return Found(f"vLLM {launch.build.version} compiles kernels at its start and needs CUDA 13's nvcc")


def _tower(launch: Launch) -> int:
    """Bytes of the weights of a model's tower, 0 where there are no files to tell."""
    groups = launch.checkpoint.tensors if launch.checkpoint is not None else ()
    return sum(group.size for group in groups if _TOWER.search(group.name))


VLLM_TRAPS: Final[tuple[Trap, ...]] = (
    align_batch,
    hybrid_drafting,
    mtp_absent,
    bundled_tower,
    tp_heads,
    tp_kv_heads,
    context_beyond,
    default_utilisation,
    high_utilisation,
    pool_too_small,
    kernels_022,
)
