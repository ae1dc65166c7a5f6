"""Landmines that lie in the way of every engine that gpumod composes the command line of, or none."""

from __future__ import annotations

from typing import Final

from gpumod.core.spec import EngineKind
from gpumod.core.units import GIB
from gpumod.estimate.landmines.trap import Found, Launch, Trap, trap

MODELS: Final = (EngineKind.LLAMA_CPP, EngineKind.VLLM)
PROGRAMS: Final = (EngineKind.CONTAINER, EngineKind.COMMAND)


@trap(
    "model-unreadable",
    engines=MODELS,
    reason="A file of the model is cut off, corrupt, lacks a part or is not what it claims to be. The engine "
    "would load for a while, or for minutes, and then give up. A kind of model that gpumod does not know "
    "is a warning: only its memory cannot be told.",
    fix="fetch the model again and compare sizes and checksums with the publisher's",
    source="llama.cpp ggml/src/gguf.cpp and src/llama-model-loader.cpp; the safetensors format; measured",
    varies=True,
)
def model_unreadable(launch: Launch) -> Found | None:
    """A model that cannot be read."""
    if launch.trouble is None:
        return None
    # The reader of the file knows best what to do about it.
    return Found(launch.trouble.detail, "", fatal=launch.trouble.broken)


@trap(
    "wsl-card-overhead",
    engines=(EngineKind.LLAMA_CPP, EngineKind.VLLM),
    reason="Under WSL2 each process takes about 1.3 GiB more of a card than on Linux, and the driver does "
    "not "
    "tell whose it is.",
    fix="leave 1.3 GiB of the card to each process, or declare `vram:` by what you see",
    source="published readings on 24 GB cards under WSL2; learn your own",
)
def wsl(launch: Launch) -> Found | None:
    """A card behind Windows."""
    if not launch.host.wsl or launch.on_host:
        return None
    share = ""
    if launch.spec.engine is EngineKind.VLLM and launch.card.total:
        most = (launch.card.total - 1.31 * GIB) / launch.card.total
        share = f": keep `vllm.gpu_memory_utilization` at {most:.2f} or less"
    return Found("under WSL2 a process takes about 1.3 GiB more of the card than the formulas say" + share)


@trap(
    "server-fit",
    engines=PROGRAMS,
    reason="llama-server shrinks the context and moves layers to the CPU until everything fits the memory "
    "that happens to be free (`--fit`, on by default): the same command is another service each time.",
    fix="add `--fit off`, and sizes that you know",
    source="llama.cpp common/arg.cpp (--fit, default on), common/fit.cpp",
)
def fit(launch: Launch) -> Found | None:
    """A llama-server of the user's own command line that fits itself."""
    words = _command(launch)
    if not any(word.rpartition("/")[2] == "llama-server" for word in words):
        return None
    for index, word in enumerate(words):
        if word in {"-fit", "--fit"} and words[index + 1 : index + 2] == ("off",):
            return None
    return Found("this llama-server adjusts its context and its layers to the memory that is free")


@trap(
    "server-repetition-penalty",
    engines=PROGRAMS,
    reason="llama.cpp's word is `repeat_penalty`; it does not know `repetition_penalty`, which is vLLM's: as "
    "an option it stops the server, in a request it is ignored without a word.",
    fix="write `--repeat-penalty`, and have clients send `repeat_penalty`",
    source="llama.cpp common/arg.cpp, tools/server/server-schema.cpp (no such field)",
    fatal=True,
)
def repetition_penalty(launch: Launch) -> Found | None:
    """The other engine's word on llama.cpp's command line."""
    words = _command(launch)
    if not any(word.rpartition("/")[2] == "llama-server" for word in words):
        return None
    if not any(word.partition("=")[0] in {"--repetition-penalty", "--repetition_penalty"} for word in words):
        return None
    return Found("llama-server has no option `--repetition-penalty`")


def _command(launch: Launch) -> tuple[str, ...]:
    spec = launch.spec
    if spec.command is not None:
        return (*spec.command.cmd, *spec.args)
    return (*spec.container.command, *spec.args) if spec.container is not None else ()


COMMON_TRAPS: Final[tuple[Trap, ...]] = (model_unreadable, wsl, fit, repetition_penalty)
