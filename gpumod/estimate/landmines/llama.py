"""Landmines of llama.cpp."""

from __future__ import annotations

import re
from typing import Final

from gpumod.core.spec import EngineKind, Task
from gpumod.core.units import format_size
from gpumod.estimate.landmines import gguf_facts
from gpumod.estimate.landmines.trap import Found, Launch, Trap, trap

LLAMA: Final = (EngineKind.LLAMA_CPP,)
_DEFAULT_UBATCH: Final = 512
_ROPE: Final = ("--rope-scaling", "--rope-scale", "--rope-freq-scale", "--yarn-orig-ctx")
_SHARD: Final = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
_BUILD: Final = re.compile(r"\bbuild (\d+)|\bb(\d{4,})\b|^(\d{4,})\b")
_NO_ROW_SPLIT: Final = 11434
"""The oldest build that was seen without split buffers for CUDA."""


@trap(
    "llama-not-first-shard",
    engines=LLAMA,
    reason="A split model is loaded by its first part, from which llama.cpp finds the others; given another "
    "part it exits with 1.",
    fix="name the part -00001-of-",
    source="llama.cpp src/llama-model-loader.cpp ('model must be loaded with the first split')",
    fatal=True,
)
def not_first_shard(launch: Launch) -> Found | None:
    """`model:` names a later part of a split file."""
    match = _SHARD.search(launch.spec.model or "")
    if match is None or int(match[1]) == 1:
        return None
    first = f"-00001-of-{match[2]}.gguf"
    return Found(f"model: names part {int(match[1])} of {int(match[2])}", f"name the part {first}")


@trap(
    "llama-phantom-layers",
    engines=LLAMA,
    reason="The header counts layers that the file does not contain: mostly a head for multi-token "
    "prediction (MTP) that was dropped at quantisation while the counts stayed. llama.cpp stops with "
    "'missing tensor'.",
    fix="fetch a file that has the layers, or override both counts (`<arch>.block_count` and "
    "`<arch>.nextn_predict_layers`) with `--override-kv` in `args`",
    source="llama.cpp src/llama-model-loader.cpp create_tensor ('missing tensor'), src/models/qwen35.cpp",
    fatal=True,
)
def phantom_layers(launch: Launch) -> Found | None:
    """Layers counted, not contained."""
    header = launch.gguf
    if header is None or launch.given("--override-kv") is not None:
        return None
    missing = gguf_facts.layers_missing(header)
    if not missing:
        return None
    count, nextn = gguf_facts.number(header, "block_count") or 0, gguf_facts.nextn_layers(header)
    detail = f"the header counts {count} layers and the file has none of layer {_some(missing)}"
    if nextn and min(missing) >= count - nextn:
        arch = header.architecture
        counts = f"{arch}.block_count=int:{count - len(missing)}"
        counts += f",{arch}.nextn_predict_layers=int:{nextn - len(missing)}"
        return Found(
            f"{detail}: its head for multi-token prediction was left out",
            f"add `--override-kv {counts}` to `args` and draft otherwise, or fetch a file that has the head",
        )
    return Found(detail, "fetch the whole file")


@trap(
    "llama-mtp-absent",
    engines=LLAMA,
    reason="`draft: {type: mtp}` drafts with a prediction head inside the model. Without one llama-server "
    "exits with 1 ('failed to create MTP context').",
    fix="remove `draft`, name a draft model, or use a file that was converted with its MTP layers",
    source="llama.cpp src/llama-context.cpp llama_init_from_model, common/speculative.cpp; measured",
    fatal=True,
)
def mtp_absent(launch: Launch) -> Found | None:
    """MTP asked of a model that has no head for it."""
    draft, header = launch.spec.draft, launch.gguf
    if draft is None or draft.model is not None or draft.type.removeprefix("draft-") != "mtp":
        return None
    if header is None or (gguf_facts.nextn_layers(header) and gguf_facts.has_nextn(header)):
        return None
    return Found("draft: the model has no layer for multi-token prediction")


@trap(
    "llama-quantised-v-without-flash-attention",
    engines=LLAMA,
    reason="Without flash attention the value cache is kept transposed, which quantised types cannot be: "
    "the context is not created.",
    fix="set `llama.flash_attention: true`, or `kv_cache.v: f16`",
    source="llama.cpp src/llama-context.cpp llama_init_from_model ('quantized V cache requires flash_attn')",
    fatal=True,
)
def quantised_v(launch: Launch) -> Found | None:
    """A quantised value cache where flash attention is off."""
    kv, flash = launch.spec.kv_cache, launch.spec.llama.flash_attention
    if kv is None or not gguf_facts.is_quantised(kv.v) or flash:
        return None
    if flash is False:
        return Found(f"kv_cache.v is {kv.v} and llama.flash_attention is off")
    if launch.build is not None and launch.build.flags and "flash-value" not in launch.build.traits:
        return Found(f"kv_cache.v is {kv.v}, and this build has flash attention off unless told otherwise")
    return None


@trap(
    "llama-kv-type-does-not-divide-head",
    engines=LLAMA,
    reason="Quantised types of the KV cache come in blocks of 32 values; with flash attention a head's width "
    "has to be a multiple of that, or the context is not created.",
    fix="set `kv_cache: {k: f16, v: f16}`",
    source="llama.cpp src/llama-context.cpp llama_init_from_model ('does not divide n_embd_head_k')",
    fatal=True,
)
def kv_blocks(launch: Launch) -> Found | None:
    """A head's width that a block of the KV type does not divide."""
    kv, header = launch.spec.kv_cache, launch.gguf
    if kv is None or header is None or launch.spec.llama.flash_attention is False:
        return None
    for name, kv_type, key in (("k", kv.k, "key"), ("v", kv.v, "value")):
        width = gguf_facts.heads_that_do_not_divide(header, f"attention.{key}_length")
        if width and gguf_facts.is_quantised(kv_type):
            return Found(
                f"kv_cache.{name}: {kv_type} needs heads of a multiple of 32 values, these have {width}"
            )
    return None


@trap(
    "llama-mla-one-kv-type",
    engines=LLAMA,
    reason="Multi-head latent attention keeps keys and values as one latent: its two cache types have to be "
    "equal, or the context is not created.",
    fix="give `kv_cache.k` and `kv_cache.v` the same type",
    source="llama.cpp src/llama-context.cpp llama_init_from_model ('different K and V cache types')",
    fatal=True,
)
def mla_types(launch: Launch) -> Found | None:
    """Two types for one latent."""
    kv, header = launch.spec.kv_cache, launch.gguf
    if kv is None or header is None or kv.k == kv.v or not gguf_facts.is_mla(header):
        return None
    return Found(f"kv_cache: the model has latent attention, with one cache for {kv.k} and {kv.v}")


@trap(
    "llama-context-beyond-training",
    engines=LLAMA,
    reason="A slot never uses more context than the model was trained for: the rest of the KV cache is "
    "allocated and lies idle, unless RoPE scaling is asked for, and then answers get worse.",
    fix="set `context` to what the model was trained for",
    source="llama.cpp tools/server/server-context.cpp ('exceeds the training context of the model - "
    "capping')",
)
def context_beyond(launch: Launch) -> Found | None:
    """More context per slot than the model has."""
    context, header = launch.spec.context, launch.gguf
    trained = gguf_facts.trained_context(header) if header else None
    if context is None or trained is None or context <= trained or launch.given(*_ROPE) is not None:
        return None
    return Found(
        f"context: {context} is more than the {trained} tokens that the model was trained for",
        f"set `context: {trained}`",
    )


@trap(
    "llama-no-context",
    engines=LLAMA,
    reason="Without `-c` llama-server allocates the model's whole trained context, which is 128K to 1M "
    "tokens for recent models.",
    fix="set `context` to what you need; `gpumodctl preflight --fit-context` tells what fits",
    source="llama.cpp src/llama-context.cpp (n_ctx 0 takes n_ctx_train)",
)
def no_context(launch: Launch) -> Found | None:
    """No context given."""
    if launch.spec.context is not None:
        return None
    trained = gguf_facts.trained_context(launch.gguf) if launch.gguf else None
    tokens = f" ({trained} tokens)" if trained else ""
    return Found(f"context is not set: the model's whole trained context is allocated{tokens}")


@trap(
    "llama-row-split",
    engines=LLAMA,
    reason="Recent builds have no split buffers for CUDA any more: with `-sm row` the model is not loaded "
    "('does not support split buffers').",
    fix="set `split: {mode: layer}`, or `tensor` where the architecture has it",
    source="llama.cpp src/llama-model.cpp make_gpu_buft_list; ggml/src/ggml-cuda/ggml-cuda.cu (commit "
    "0c1e57098)",
    varies=True,
)
def row_split(launch: Launch) -> Found | None:
    """Splitting by rows on CUDA."""
    split = launch.spec.split
    if split is None or split.mode != "row" or launch.count < 2 or launch.on_host:
        return None
    known = _build_number(launch.build.version) if launch.build else None
    if known is not None and known >= _NO_ROW_SPLIT:
        return Found(f"split: build {known} cannot split by rows on CUDA cards", fatal=True)
    return Found("split: recent builds cannot split by rows on CUDA cards")


@trap(
    "llama-embedded-on-gpu",
    engines=LLAMA,
    reason="The llama.cpp in the `gpumod[embedded]` wheel is compiled for the CPU alone: it does not know "
    "the device CUDA0 and exits with 1.",
    fix="set `binary:` to a llama-server that was built with CUDA",
    source="measured (xllamacpp 2026.10.11549)",
    fatal=True,
)
def embedded_on_gpu(launch: Launch) -> Found | None:
    """The CPU's server for a GPU."""
    if launch.build is None or "embedded" not in launch.build.traits or launch.on_host:
        return None
    return Found(f"binary: the embedded llama.cpp has no CUDA and cannot run on {launch.card.name}")


@trap(
    "llama-swa-full",
    engines=LLAMA,
    reason="`--swa-full` gives sliding-window layers a cache for the whole context, of every slot: several "
    "times what they use, on the card and in the host's prompt cache.",
    fix="remove `--swa-full`, or keep to one slot and a short context",
    source="llama.cpp common/arg.cpp, src/llama-kv-cache-iswa.cpp",
)
def swa_full(launch: Launch) -> Found | None:
    """Whole caches for windows."""
    context, slots = launch.spec.context, launch.spec.slots or 1
    window = gguf_facts.sliding_window(launch.gguf) if launch.gguf else None
    if launch.given("--swa-full") is None or (launch.gguf is not None and window is None):
        return None
    if context is None or window is None:
        return Found("args: `--swa-full` keeps the whole context for sliding-window layers")
    if context <= window:
        return None
    return Found(
        f"args: `--swa-full` keeps {context} tokens for each of {slots} slots in layers that look back "
        f"{window}"
    )


@trap(
    "llama-pinned-host-memory",
    engines=LLAMA,
    reason="CUDA pins the host buffers that layers on the host use; pinned memory cannot be swapped or "
    "reclaimed, and allocating much of it has frozen hosts with little memory.",
    fix='set `env: {GGML_CUDA_NO_PINNED: "1"}` (measured elsewhere to cost 0.3 % of speed)',
    source="llama.cpp ggml/src/ggml-cuda/ggml-cuda.cu ggml_cuda_host_malloc (GGML_CUDA_NO_PINNED)",
)
def pinned(launch: Launch) -> Found | None:
    """More than half of the host's memory would be pinned."""
    kept = launch.prediction.resident if launch.prediction else 0
    memory = launch.host.memory
    if memory is None or launch.on_host or kept * 2 <= memory:
        return None
    if "GGML_CUDA_NO_PINNED" in dict(launch.spec.env):
        return None
    return Found(f"{format_size(kept)} stay on the host, which has {format_size(memory)} in all")


@trap(
    "llama-override-tensor-order",
    engines=LLAMA,
    reason="The first pattern that matches a tensor decides where it goes, and `llama.cpu_moe_layers` comes "
    "before `args`: a later `-ot` for the same experts does nothing.",
    fix="use one of them: `llama.cpu_moe_layers`, or `-ot` for everything",
    source="llama.cpp src/llama-model-loader.cpp (tensor_buft_overrides: first match)",
)
def override_order(launch: Launch) -> Found | None:
    """Two ways to place tensors."""
    if not launch.spec.llama.cpu_moe_layers or launch.given("-ot", "--override-tensor") is None:
        return None
    return Found("args: `-ot` comes after llama.cpu_moe_layers, and the first match wins")


@trap(
    "llama-embedding-ubatch",
    engines=LLAMA,
    reason="An embedding or reranking request has to fit into one physical batch (512 tokens by default); a "
    "longer one is refused however large the context is.",
    fix="set `llama.ubatch` to `context`",
    source="llama.cpp tools/server/server-context.cpp ('input is too large to process. increase the physical "
    "batch size')",
)
def embedding_ubatch(launch: Launch) -> Found | None:
    """Texts that do not fit into a physical batch."""
    spec = launch.spec
    batch = spec.llama.ubatch or _DEFAULT_UBATCH
    if spec.task not in {Task.EMBEDDING, Task.RERANK} or spec.context is None or spec.context <= batch:
        return None
    return Found(
        f"context is {spec.context} and the physical batch {batch}: longer texts than that may be refused",
        f"set `llama.ubatch: {spec.context}`, and `llama.batch` to no less",
    )


def _some(layers: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, layers[:3]))
    return shown if len(layers) <= 3 else f"{shown} and {len(layers) - 3} more"


def _build_number(version: str) -> int | None:
    match = _BUILD.search(version)
    return int(next(group for group in match.groups() if group)) if match else None


LLAMA_TRAPS: Final[tuple[Trap, ...]] = (
    not_first_shard,
    phantom_layers,
    mtp_absent,
    quantised_v,
    kv_blocks,
    mla_types,
    context_beyond,
    no_context,
    row_split,
    embedded_on_gpu,
    swa_full,
    pinned,
    override_order,
    embedding_ubatch,
)
