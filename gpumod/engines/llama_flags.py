"""llama.cpp's command line: keys to flags, in the spelling of the build at hand. Pure.

Facts about the flags:

* `-c` is the context of all slots together; with an explicit `-np` and no unified KV each slot gets its share
  (padded up to 256). Without `-np` recent builds make 4 slots over one unified KV.
* `--fit` is on by default and shrinks the context or spills layers to the CPU: sizes are explicit here.
* `--no-mmap` and `--mlock` are gone from recent builds, in favour of `--load-mode`.
* `-ngl` is accepted and ignored by a build without CUDA; `--device CUDA0` is not: devices are always named.
* `-md` alone does nothing in recent builds: `--spec-type` is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gpumod.core.names import HOST_CARD, CardId
from gpumod.core.ports import EngineBuild
from gpumod.core.spec import Draft, KvCache, ServiceSpec, Task
from gpumod.core.units import MIB
from gpumod.engines.args import flags, given_of, meant, owned

ALL_LAYERS: Final = 999
"""More layers than any model has: all of them."""

SAMPLER: Final = {
    "temperature": "--temp",
    "top_p": "--top-p",
    "top_k": "--top-k",
    "min_p": "--min-p",
    "presence_penalty": "--presence-penalty",
    "frequency_penalty": "--frequency-penalty",
    "repeat_penalty": "--repeat-penalty",
    "repeat_last_n": "--repeat-last-n",
    "seed": "--seed",
}
_SAMPLER_ALIASES: Final = {"--temperature": "--temp", "-s": "--seed"}

_VERBOSITY: Final = frozenset({"-lv", "--verbosity", "--log-verbosity", "-v", "--verbose", "--log-verbose"})
_LOAD_MODE: Final = frozenset({"-lm", "--load-mode", "--mmap", "--no-mmap", "--mlock"})

OWNED: Final = (
    owned("port", "--port"),
    owned("engines listen on loopback only: remove it", "--host", "--reuse-port"),
    owned("clients use gpumod's gateway, which has keys: remove it", "--api-key", "--api-key-file"),
    owned("gpumod asks its engines by plain HTTP at the root: remove it",
          "--api-prefix", "--ssl-key-file", "--ssl-cert-file"),
    owned("served_name", "-a", "--alias"),
    owned("model", "-m", "--model", "-mu", "--model-url", "-hf", "-hfr", "--hf-repo", "-hff", "--hf-file",
          "-dr", "--docker-repo"),
    owned("gpumod itself is the router between models: remove it",
          "--models-dir", "--models-preset", "--models-max", "--models-autoload"),
    owned("mmproj", "-mm", "--mmproj", "-mmu", "--mmproj-url"),
    owned("context", "-c", "--ctx-size"),
    owned("`context` is per slot, so slots do not share one KV: remove it",
          "-kvu", "--kv-unified", "--kv-unified-per-slot"),
    owned("slots", "-np", "--parallel"),
    owned("kv_cache", "-ctk", "--cache-type-k", "-ctv", "--cache-type-v"),
    owned("draft", "-md", "--model-draft", "--spec-draft-model", "-hfd", "-hfrd", "--hf-repo-draft",
          "--spec-draft-hf", "--spec-type", "--spec-default", "--spec-draft-n-max", "--draft", "--draft-n",
          "--draft-max", "-ngld", "--gpu-layers-draft", "--n-gpu-layers-draft", "--spec-draft-ngl"),
    owned("cards", "-dev", "--device", "-devd", "--device-draft", "--spec-draft-device", "-mg", "--main-gpu"),
    owned("split", "-sm", "--split-mode", "-ts", "--tensor-split"),
    owned("sizes are explicit, nothing is shrunk to fit: remove it",
          "-fit", "--fit", "-fitt", "--fit-target", "-fitc", "--fit-ctx"),
    owned("llama.gpu_layers", "-ngl", "--gpu-layers", "--n-gpu-layers"),
    owned("llama.cpu_moe_layers", "-ncmoe", "--n-cpu-moe", "-cmoe", "--cpu-moe"),
    owned("llama.batch", "-b", "--batch-size"),
    owned("llama.ubatch", "-ub", "--ubatch-size"),
    owned("llama.prompt_cache", "-cram", "--cache-ram"),
    owned("llama.flash_attention", "-fa", "--flash-attn"),
    owned("task", "--embedding", "--embeddings", "--rerank", "--reranking"),
)  # fmt: skip
"""Flags that users may not give, because a planner has to see them, or because gpumod lives by them."""

_MODEL_PRESET: Final = re.compile(r"--(?:embd|fim|gpt-oss|tts|vision)-[\w.-]+-(?:default|spec)")
"""Flags such as `--gpt-oss-20b-default`: each stands for a model of the hub and its parameters."""

_ADAPTERS: Final = ("--lora", "--control-vector")
_SCALED_ADAPTERS: Final = ("--lora-scaled", "--control-vector-scaled")
"""`FNAME:SCALE,...`; older builds took the scale as a word of its own."""

_KV_TYPES: Final = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
"""Types of the KV cache (`kv_cache_types`, common/arg.cpp), where the build's help lists none."""
_KV_LISTED: Final = r"--cache-type-k[ ,].{0,200}?allowed values:\s*(\w+(?:,\s*\w+)*)"
"""The list may go on in the help's next line."""

_THREADS: Final = owned("llama.threads", "-t", "--threads")


def given(args: tuple[str, ...]) -> frozenset[str]:
    """The names of all flags in the user's arguments."""
    return frozenset(flag.name for flag in flags(args))


def problems(spec: ServiceSpec, build: EngineBuild | None) -> Iterator[str]:
    """What contradicts itself in a spec, or cannot be had from this build; sentences."""
    names = given(spec.args)
    if spec.llama.threads is not None and names & _THREADS.names:
        yield f"args: `-t` sets what gpumod decides, {_THREADS.instead}"
    for name in sorted(filter(_MODEL_PRESET.fullmatch, names)):
        yield f"args: `{name}` brings a model of its own, which is the key `model`: set that"
    for key, _ in spec.sampler:
        flag = SAMPLER.get(key)
        if flag is None:
            yield f"sampler: llama.cpp has no `{key}`; it has {', '.join(SAMPLER)}"
        elif flag in {_SAMPLER_ALIASES.get(name, name) for name in names}:
            yield f"args: `{flag}` sets what the key `sampler.{key}` sets: keep one of them"
    if "," in spec.name:
        yield f"served_name: {spec.name!r} has a comma, at which llama.cpp splits names"
    for key, _ in spec.env:
        if key.startswith("LLAMA_ARG_") or key == "LLAMA_API_KEY":
            yield f"env: `{key}` sets a flag behind gpumod's back: use the key, or `args`"
    if spec.split is not None and spec.split.mode not in {"none", "layer", "row", "tensor"}:
        yield f"split.mode: {spec.split.mode!r} is none of none, layer, row, tensor"
    if spec.kv_cache is not None:
        yield from _kv_problems(spec.kv_cache, build)
    if build is not None and spec.draft is not None:
        yield from _draft_problems(spec.draft, build)


def _kv_problems(kv: KvCache, build: EngineBuild | None) -> Iterator[str]:
    listed = _listed("kv", build)
    known = listed or _KV_TYPES
    whose = f"build {build.version}" if build is not None and listed else "llama.cpp"
    for key, kind in (("k", kv.k), ("v", kv.v)):
        if kind not in known:
            there = ", ".join(known)
            yield f"kv_cache.{key}: {whose} has no type {kind!r}{meant(kind, known)}; it has {there}"


def _listed(subject: str, build: EngineBuild | None) -> tuple[str, ...]:
    """What a build's help lists of a subject, from its traits `subject:word`."""
    found = build.traits if build is not None else ()
    return tuple(sorted(one.partition(":")[2] for one in found if one.startswith(f"{subject}:")))


def _draft_problems(draft: Draft, build: EngineBuild) -> Iterator[str]:
    kind = speculative_type(draft)
    kinds = _listed("spec", build)
    if kinds and kind not in kinds:
        yield f"draft: build {build.version} has no speculative type {kind}; it has {', '.join(kinds)}"
    elif not kinds and draft.model is None:
        yield f"draft: build {build.version} has no `--spec-type`, which drafting without a model needs"


def speculative_type(draft: Draft) -> str:
    """The word that `--spec-type` takes: `{type: mtp}` is draft-mtp, a plain draft model draft-simple."""
    kind = draft.type.removeprefix("draft-")
    return "draft-simple" if kind in {"", "model", "simple"} else f"draft-{kind}"


def warnings(spec: ServiceSpec) -> Iterator[str]:
    """What a user should know but may want; sentences."""
    names = given(spec.args)
    if names & (_LOAD_MODE - {"--no-mmap"}):
        yield "args: on the host card the model is loaded without mmap all the same, to count its memory"
    if spec.vram is None:
        for name in given_of(spec.args, (*_ADAPTERS, *_SCALED_ADAPTERS)):
            yield f"args: `{name}` takes its files' size, which gpumod does not reckon: declare `vram`"


def adapters(args: tuple[str, ...]) -> Iterator[str]:
    """The files of LoRA adapters and control vectors in the user's arguments."""
    for flag in flags(args):
        for item in (flag.value or "").split(","):
            if item and flag.name in _ADAPTERS:
                yield item
            elif item and flag.name in _SCALED_ADAPTERS:
                yield item.rpartition(":")[0] or item


def traits(help_text: str) -> frozenset[str]:
    """What the help tells beyond the flags' names."""
    found = set()
    if match := re.search(r"--flash-attn\b.{0,300}", help_text, re.DOTALL):
        found |= {"flash-value"} if "auto" in match[0] else set()
    if re.search(r"\b4: trace", help_text):
        found.add("verbosity-trace")
    if match := re.search(r"--spec-type\s+([\w,-]+)", help_text):
        found |= {f"spec:{kind}" for kind in match[1].split(",")}
    if match := re.search(_KV_LISTED, help_text, re.DOTALL):
        found |= {f"kv:{kind}" for kind in re.split(r",\s*", match[1])}
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a launch goes. `shares` are the cards' shares of the model; empty means evenly.

    Integers that add up to the layers, the output counted as the last one, are taken at their word: layer i
    goes to the first card at which the sum of shares is more than i (llama-model.cpp, `get_layer_buft_list`).
    """

    cards: tuple[CardId, ...]
    port: int
    shares: tuple[int, ...] = ()

    @property
    def host(self) -> bool:
        """Whether it runs on the host's own memory."""
        return self.cards == (HOST_CARD,)


@dataclass(frozen=True, slots=True)
class Piece:
    """Words of the command line, and whether they change how much memory is taken."""

    words: tuple[str, ...]
    memory: bool = True


def pieces(spec: ServiceSpec, build: EngineBuild, placement: Placement) -> Iterator[Piece]:
    """The command line after the program's name. The user's `args` come last but for the load mode."""
    yield Piece(("--model", spec.model or ""), memory=False)  # the file's identity counts, not its name
    yield Piece(("--host", "127.0.0.1", "--port", str(placement.port), "--metrics"), memory=False)
    yield Piece(("--alias", spec.name), memory=False)
    yield from _sizes(spec, build)
    if "--cache-ram" in build.flags:
        cache = spec.llama.prompt_cache_size(on_host_card=placement.host)
        yield Piece(("--cache-ram", str(cache // MIB)))
    yield from _devices(spec, build, placement)
    if spec.mmproj is not None:
        yield Piece(("--mmproj", spec.mmproj))
    if spec.draft is not None:
        yield Piece(tuple(_draft(spec.draft, build, _layers(spec, placement))))
    if spec.task is Task.EMBEDDING:
        yield Piece(("--embeddings",))
    elif spec.task is Task.RERANK:
        yield Piece(("--reranking",))
    if spec.llama.threads is not None:
        yield Piece(("--threads", str(spec.llama.threads)))
    for key, value in spec.sampler:
        if key in SAMPLER:
            yield Piece((SAMPLER[key], str(int(value)) if value == int(value) else str(value)), memory=False)
    if "verbosity-trace" in build.traits and not given(spec.args) & _VERBOSITY:
        # The level that logs every buffer's size; it logs no prompts.
        yield Piece(("--verbosity", "4"), memory=False)
    yield Piece(spec.args)
    if placement.host:
        yield from _without_mmap(build)


def _sizes(spec: ServiceSpec, build: EngineBuild) -> Iterator[Piece]:
    slots = spec.slots or 1
    yield Piece(("--parallel", str(slots)))
    if spec.context is not None:
        yield Piece(("--ctx-size", str(spec.context * slots)))
    if "--no-kv-unified" in build.flags:
        yield Piece(("--no-kv-unified",))
    if "--fit" in build.flags:
        yield Piece(("--fit", "off"))
    if spec.kv_cache is not None:
        yield Piece(("--cache-type-k", spec.kv_cache.k, "--cache-type-v", spec.kv_cache.v))
    if spec.llama.flash_attention is not None:
        yield from _flash(build, on=spec.llama.flash_attention)
    if spec.llama.batch is not None:
        yield Piece(("--batch-size", str(spec.llama.batch)))
    if spec.llama.ubatch is not None:
        yield Piece(("--ubatch-size", str(spec.llama.ubatch)))


def _flash(build: EngineBuild, *, on: bool) -> Iterator[Piece]:
    if "flash-value" in build.traits:
        yield Piece(("--flash-attn", "on" if on else "off"))
    elif on:
        yield Piece(("--flash-attn",))


def _layers(spec: ServiceSpec, placement: Placement) -> int:
    if spec.llama.gpu_layers is not None:
        return spec.llama.gpu_layers
    return 0 if placement.host else ALL_LAYERS


def _devices(spec: ServiceSpec, build: EngineBuild, placement: Placement) -> Iterator[Piece]:
    count = len(placement.cards)
    yield Piece(("--n-gpu-layers", str(_layers(spec, placement))))
    if "--device" in build.flags:
        names = "none" if placement.host else ",".join(f"CUDA{index}" for index in range(count))
        yield Piece(("--device", names))
    if count > 1:
        mode = spec.split.mode if spec.split else "layer"
        # Shares that follow from footprints move a little with each measurement: that is no other footprint.
        yield Piece(("--split-mode", mode, "--main-gpu", "0"))
        ratio = spec.split.ratio if spec.split else ()
        shares = ratio or placement.shares or (1,) * count
        yield Piece(("--tensor-split", ",".join(map(_number, shares))), memory=bool(ratio))
    if spec.llama.cpu_moe_layers is not None:
        yield Piece(("--n-cpu-moe", str(spec.llama.cpu_moe_layers)))


def _number(share: float) -> str:
    return str(share) if isinstance(share, int) else f"{share:g}"


def _draft(draft: Draft, build: EngineBuild, layers: int) -> Iterator[str]:
    if draft.model is not None:
        yield from ("--model-draft", draft.model)
        if "--n-gpu-layers-draft" in build.flags:
            yield from ("--n-gpu-layers-draft", str(layers))
    if "--spec-type" in build.flags:
        yield from ("--spec-type", speculative_type(draft))
    if draft.n_max is not None:
        # Recent builds list `--draft-max` only to say that it is gone.
        yield "--spec-draft-n-max" if "--spec-draft-n-max" in build.flags else "--draft-max"
        yield str(draft.n_max)


def _without_mmap(build: EngineBuild) -> Iterator[Piece]:
    """On the host card weights are to be anonymous memory, which is what is charged there."""
    if "--load-mode" in build.flags:
        yield Piece(("--load-mode", "none"))
    elif "--no-mmap" in build.flags:
        yield Piece(("--no-mmap",))
