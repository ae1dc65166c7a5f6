"""One launch of llama.cpp: the values it will really use.

What gpumod composes is in `gpumod.engines.llama_flags`: always `-np` and `--no-kv-unified`, `--fit off`, and
`-c` as the context of all slots. What llama.cpp makes of it: `llama_context::llama_context`
(`src/llama-context.cpp`) and `common/arg.cpp`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gpumod.core.ports import EngineBuild
from gpumod.core.spec import Draft, ServiceSpec, Task
from gpumod.estimate.llama.model import LlamaModel
from gpumod.estimate.llama.sizes import padded

BATCH: Final = 2048
UBATCH: Final = 512
"""llama.cpp's defaults of `-b` and `-ub`."""
CELLS: Final = 256
"""Caches are padded to so many cells."""
DRAFTED: Final = 3
"""llama.cpp's default of `--spec-draft-n-max`."""
_ALL: Final = 1 << 30
_PLAIN_KV: Final = frozenset({"f32", "f16", "bf16"})

_SPELLINGS: Final = {
    "-nkvo": "--no-kv-offload", "-kvo": "--kv-offload", "-nr": "--no-repack", "-ot": "--override-tensor",
    "-ctkd": "--spec-draft-type-k", "--cache-type-k-draft": "--spec-draft-type-k",
    "-ctvd": "--spec-draft-type-v", "--cache-type-v-draft": "--spec-draft-type-v",
    "-otd": "--spec-draft-override-tensor", "--override-tensor-draft": "--spec-draft-override-tensor",
    "-ncmoed": "--spec-draft-n-cpu-moe", "--n-cpu-moe-draft": "--spec-draft-n-cpu-moe",
    "--spec-draft-ncmoe": "--spec-draft-n-cpu-moe", "-cmoed": "--spec-draft-cpu-moe",
    "--cpu-moe-draft": "--spec-draft-cpu-moe", "-lm": "--load-mode", "-ctxcp": "--ctx-checkpoints",
    "--swa-checkpoints": "--ctx-checkpoints",
}  # fmt: skip
"""Other spellings of the flags that are read here."""


@dataclass(frozen=True, slots=True)
class Override:
    """One `-ot`: tensors whose name the pattern finds go to a buffer (`CPU`, `CUDA0` ...)."""

    pattern: str
    buffer: str


@dataclass(frozen=True, slots=True)
class DraftSetting:
    """How a launch drafts.

    Args:
        type: as `--spec-type` has it, for example `draft-mtp`.
        most: tokens drafted at once.
        key_type: of the draft's own KV cache.
        value_type: the same.
        cpu_moe_layers: whose experts stay on the host.
        overrides: as `LlamaSetting.overrides`.
    """

    type: str
    most: int
    key_type: str = "f16"
    value_type: str = "f16"
    cpu_moe_layers: int = 0
    overrides: tuple[Override, ...] = ()


@dataclass(frozen=True, slots=True)
class LlamaSetting:
    """What a launch of one model uses.

    Args:
        cards: how many; the host's memory as a card is one.
        on_host: no GPU at all: everything is the host's memory.
        slots: sequences at once; each has a KV stream of its own.
        cells: of one stream's cache.
        batch: tokens per logical batch (`n_batch`).
        ubatch: tokens per physical one (`n_ubatch`).
        outputs: rows of logits that room is reserved for (`n_outputs_max`).
        embeddings: an embedding or reranking server.
        pooling: how a sequence's embeddings become one, as `--pooling` has it; empty: as the file says.
        key_type: of the KV cache, in ggml's names.
        value_type: the same.
        flash_attention: whether it is used, `auto` already decided.
        gpu_layers: how many of the last layers, the output counted as one.
        cpu_moe_layers: whose experts stay on the host, from the first layer on.
        overrides: where `-ot` sends tensors; the first that matches wins.
        split_mode: `none`, `layer`, `row` or `tensor`.
        ratio: shares of the cards as written; empty where they are ours to choose.
        kv_offload: the caches are on the cards with their layers.
        operation_offload: large batches of host layers are computed on the first card.
        full_window: sliding layers keep everything (`--swa-full`).
        repack: the CPU back end copies weights into a layout of its own.
        host_buffers: weights on the host beside a card are in pinned memory.
        mapped: weights on the host are the file's pages.
        projector_offload: the projector is on the first card.
        checkpoints: states per slot that hybrids and sliding models keep in host memory at most.
        prompt_cache: bytes of host memory.
        draft: None where nothing drafts.
        build: the engine's build; None where it is not known.
        notes: what a reader should know of how these values came to be; sentences.
    """

    cards: int
    on_host: bool
    slots: int
    cells: int
    batch: int
    ubatch: int
    outputs: int
    embeddings: bool = False
    pooling: str = ""
    key_type: str = "f16"
    value_type: str = "f16"
    flash_attention: bool = True
    gpu_layers: int = _ALL
    cpu_moe_layers: int = 0
    overrides: tuple[Override, ...] = ()
    split_mode: str = "layer"
    ratio: tuple[float, ...] = ()
    kv_offload: bool = True
    operation_offload: bool = True
    full_window: bool = False
    repack: bool = True
    host_buffers: bool = True
    mapped: bool = True
    projector_offload: bool = True
    checkpoints: int = 32
    prompt_cache: int = 0
    draft: DraftSetting | None = None
    build: EngineBuild | None = None
    notes: tuple[str, ...] = ()

    @property
    def context(self) -> int:
        """Cells of all streams together (`n_ctx` after padding)."""
        return self.cells * self.slots

    @property
    def quantised_kv(self) -> bool:
        """Whether keys or values are kept in blocks."""
        return bool({self.key_type, self.value_type} - _PLAIN_KV)

    def window_cells(self, model: LlamaModel) -> int:
        """Cells of one stream's sliding cache (`llama_kv_cache_iswa`); the ubatch is on top of the window."""
        if self.full_window:
            return self.cells
        return padded(min(self.cells, model.window + self.ubatch), CELLS)

    def state_rows(self, model: LlamaModel) -> int:
        """Rows of each recurrent state: one per slot, and one more per drafted token where it rolls back."""
        drafted = self.draft.most if self.draft is not None and self.draft.type in _ROLLS_BACK else 0
        rolls = model.recurrence is not None and model.recurrence.rollback
        return self.slots * (1 + (drafted if rolls else 0))


_ROLLS_BACK: Final = frozenset({"draft-mtp", "draft-eagle3", "draft-dflash", "draft-dspark"})
"""Drafts that need the state of each drafted token (`common_params_speculative::need_n_rs_seq`)."""


def llama_setting(
    spec: ServiceSpec, model: LlamaModel, count: int, *, on_host: bool, build: EngineBuild | None = None
) -> LlamaSetting:
    """The values that a launch of a service will use.

    Args:
        spec: the service.
        model: its model: an unset context is the trained one, encoders do not limit the batch.
        count: how many cards.
        on_host: it runs on the host's memory as a card.
        build: the engine's build.
    """
    given = _flags(spec.args)
    slots = spec.slots or 1
    asked = (spec.context or model.trained_context) * slots
    embeddings = spec.task in {Task.EMBEDDING, Task.RERANK}
    batch, ubatch = _batches(spec, model, asked, embeddings=embeddings)
    draft = _draft(spec.draft, given) if spec.draft is not None else None
    kv = spec.kv_cache
    types = (kv.k, kv.v) if kv is not None else ("f16", "f16")
    return LlamaSetting(
        cards=count,
        on_host=on_host,
        slots=slots,
        cells=padded(padded(asked, CELLS) // slots, CELLS),
        batch=batch,
        ubatch=ubatch,
        outputs=batch if embeddings else min(batch, slots * (1 + (draft.most if draft else 0))),
        embeddings=embeddings,
        pooling="rank" if spec.task is Task.RERANK else _last(given, "--pooling", ""),
        key_type=types[0],
        value_type=types[1],
        flash_attention=_flash(spec, model, types[1], on_host=on_host),
        gpu_layers=0 if on_host else _ALL if spec.llama.gpu_layers is None else spec.llama.gpu_layers,
        cpu_moe_layers=spec.llama.cpu_moe_layers or 0,
        overrides=_overrides(given.get("--override-tensor")),
        split_mode=spec.split.mode if spec.split is not None else "layer",
        ratio=spec.split.ratio if spec.split is not None else (),
        kv_offload="--no-kv-offload" not in given,
        operation_offload="--no-op-offload" not in given,
        full_window="--swa-full" in given,
        repack="--no-repack" not in given,
        host_buffers="--no-host" not in given,
        mapped=not on_host and _mapped(given),
        projector_offload="--no-mmproj-offload" not in given,
        checkpoints=_whole(given.get("--ctx-checkpoints"), 32),
        prompt_cache=spec.llama.prompt_cache_size(on_host_card=on_host),
        draft=draft,
        build=build,
    )


def _batches(spec: ServiceSpec, model: LlamaModel, asked: int, *, embeddings: bool) -> tuple[int, int]:
    """`n_batch` and `n_ubatch`: a causal model takes no more than its context at once."""
    ubatch = spec.llama.ubatch or UBATCH
    batch = spec.llama.batch or BATCH
    if embeddings:
        batch = min(batch, ubatch)
    if model.causal:
        batch = min(batch, asked)
    return batch, min(ubatch, batch)


def _flash(spec: ServiceSpec, model: LlamaModel, value_type: str, *, on_host: bool) -> bool:
    """What `-fa` comes to: `auto` is on unless a back end has no kernel for the heads' size."""
    if model.architecture == "grok":
        return False
    if spec.llama.flash_attention is not None:
        return spec.llama.flash_attention
    return on_host or value_type not in _PLAIN_KV or _kernel(model)


def _kernel(model: LlamaModel) -> bool:
    """Whether CUDA has flash attention for every layer's heads (ggml-cuda's `fattn.cu`)."""
    return all(_fits(layer.key, layer.value) for layer in model.trunk if layer.attends and layer.kv_heads)


def _fits(key: int, value: int) -> bool:
    if (key, value) in {(192, 128), (320, 256), (576, 512)}:
        return True
    return key == value and key in {40, 64, 72, 80, 96, 112, 128, 256, 512}


def _draft(draft: Draft, given: Mapping[str, tuple[str, ...]]) -> DraftSetting:
    kind = draft.type.removeprefix("draft-")
    everything = _ALL if "--spec-draft-cpu-moe" in given else 0
    return DraftSetting(
        type="draft-simple" if kind in {"", "model", "simple"} else f"draft-{kind}",
        most=DRAFTED if draft.n_max is None else draft.n_max,
        key_type=_last(given, "--spec-draft-type-k", "f16"),
        value_type=_last(given, "--spec-draft-type-v", "f16"),
        cpu_moe_layers=everything or _whole(given.get("--spec-draft-n-cpu-moe"), 0),
        overrides=_overrides(given.get("--spec-draft-override-tensor")),
    )


def _mapped(given: Mapping[str, tuple[str, ...]]) -> bool:
    if "--no-mmap" in given:
        return False
    return "mmap" in _last(given, "--load-mode", "auto") or _last(given, "--load-mode", "auto") == "auto"


def _overrides(values: tuple[str, ...] | None) -> tuple[Override, ...]:
    found = []
    for text in values or ():
        for one in text.split(","):
            pattern, equals, buffer = one.partition("=")
            if equals:
                found.append(Override(pattern, buffer))
    return tuple(found)


def _whole(values: tuple[str, ...] | None, default: int) -> int:
    text = values[-1] if values else ""
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else default


def _last(given: Mapping[str, tuple[str, ...]], name: str, default: str) -> str:
    return given[name][-1] if given.get(name) else default


def _flags(args: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
    """The user's flags by their long names, each with its values."""
    found: dict[str, tuple[str, ...]] = {}
    for name, value in _pairs(args):
        known = _SPELLINGS.get(name, name)
        found[known] = (*found.get(known, ()), *((value,) if value is not None else ()))
    return found


def _pairs(args: tuple[str, ...]) -> Iterator[tuple[str, str | None]]:
    for index, word in enumerate(args):
        if not word.startswith("-") or word[1:2].isdigit():
            continue
        following = args[index + 1] if index + 1 < len(args) else None
        bare = following is None or (following.startswith("-") and not following[1:2].isdigit())
        yield word.replace("_", "-") if word.startswith("--") else word, None if bare else following
