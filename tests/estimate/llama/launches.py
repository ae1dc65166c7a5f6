"""Launches of the real llama.cpp on the CPU, and what the formulas say of them.

Run as a program it prints a table: `python -m tests.estimate.llama.launches [WORD ...]`, with the cases whose
name has all the words.
"""

import asyncio
import contextlib
import functools
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from gpumod.core.spec import Draft, EngineKind, KvCache, LlamaOptions, ServiceSpec, Task
from gpumod.engines import engines
from gpumod.estimate.gguf.reader import read_gguf
from gpumod.estimate.llama.cache import kv_cache
from gpumod.estimate.llama.compute import compute_buffers, output_buffer
from gpumod.estimate.llama.layout import place
from gpumod.estimate.llama.logged import LoggedBuffer, logged_buffers
from gpumod.estimate.llama.model import LlamaModel, llama_model
from gpumod.estimate.llama.recurrent import recurrent_state
from gpumod.estimate.llama.setting import LlamaSetting, llama_setting
from gpumod.estimate.llama.weights import weights
from gpumod.testing.shapes import shape
from tests.engines.processes import PATIENCE, Listeners, launch_of, spec_of
from tests.estimate.llama.more_shapes import MORE

EXACT = ("weights", "KV cache", "recurrent state")


@dataclass(frozen=True)
class Case:
    """One launch."""

    shape: str
    context: int = 1024
    slots: int = 1
    kv: str = "f16"
    ubatch: int = 512
    flash: bool | None = None
    draft: int = 0
    task: Task = Task.CHAT
    args: tuple[str, ...] = ()
    dimensions: tuple[tuple[str, object], ...] = ()

    @property
    def name(self) -> str:
        flash = {None: "auto", True: "on", False: "off"}[self.flash]
        parts = [
            self.shape,
            f"c{self.context}",
            f"np{self.slots}",
            self.kv,
            f"ub{self.ubatch}",
            f"fa-{flash}",
        ]
        parts += [f"mtp{self.draft}"] if self.draft else []
        parts += [self.task] if self.task is not Task.CHAT else []
        parts += [word.strip("-") for word in self.args]
        parts += [f"{key}-{value}" for key, value in self.dimensions]
        return " ".join(parts)

    def spec(self, model: Path) -> ServiceSpec:
        options = LlamaOptions(ubatch=self.ubatch, flash_attention=self.flash, threads=1)
        return spec_of(
            model=str(model),
            context=self.context,
            slots=self.slots,
            kv_cache=KvCache(*self.kv.split("/")) if "/" in self.kv else KvCache(self.kv, self.kv),
            llama=options,
            draft=Draft("mtp", n_max=self.draft) if self.draft else None,
            task=self.task,
            args=self.args,
        )


@functools.cache
def model_file(shape_name: str, dimensions: tuple[tuple[str, object], ...]) -> Path:
    """The written model; the folder goes with this process."""
    path = Path(_folder().name) / f"{abs(hash((shape_name, dimensions)))}.gguf"
    made = MORE[shape_name]() if shape_name in MORE else shape(shape_name, **dict(dimensions))
    return made.write(path)


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="gpumod-launches-")


def setting_of(case: Case) -> tuple[LlamaModel, LlamaSetting]:
    path = model_file(case.shape, case.dimensions)
    model = llama_model(read_gguf(path))
    return model, llama_setting(case.spec(path), model, 1, on_host=True)


def predicted(case: Case) -> dict[str, int]:
    """Bytes by the formulas, by part."""
    model, setting = setting_of(case)
    placement = place(model, setting)
    sizes = {
        "weights": weights(model, setting, placement),
        "KV cache": kv_cache(model, setting, placement),
        "recurrent state": recurrent_state(model, setting, placement),
        "compute buffer": compute_buffers(model, setting, placement),
        "output buffer": output_buffer(model, setting),
    }
    return {name: devices.cards[0] for name, devices in sizes.items()}


@dataclass(frozen=True)
class Logged:
    """What a launch logged of one part of its main context: bytes, and by how many they may be off."""

    size: int
    rounding: int


def logged(case: Case) -> dict[str, Logged]:
    """Bytes as llama.cpp itself says, by part; those of a draft's context begin with `draft`."""
    found: dict[str, Logged] = {}
    contexts = 0
    for buffer in launched(case):
        contexts += buffer.part == "output buffer"
        name = f"draft {buffer.part}" if contexts > 1 else buffer.part
        former = found.get(name, Logged(0, 0))
        found[name] = Logged(former.size + buffer.size, former.rounding + buffer.rounding)
    return found


def launched(case: Case) -> tuple[LoggedBuffer, ...]:
    """Launch it, wait until it has its buffers, and kill it."""
    engine = engines(Listeners(), llama_server="embedded")[EngineKind.LLAMA_CPP]
    spec = case.spec(model_file(case.shape, case.dimensions))
    launch = asyncio.run(launch_of(engine, spec))
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            launch.argv,
            env=dict(launch.env) or None,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            text = _until_ready(process, log)
        finally:
            process.kill()
            process.wait()
    return tuple(logged_buffers(text.splitlines()))


def _until_ready(process: subprocess.Popen[bytes], log) -> str:
    deadline = time.monotonic() + PATIENCE
    while True:
        over = process.poll() is not None or time.monotonic() > deadline
        text = os.pread(log.fileno(), 1 << 26, 0).decode(errors="replace")
        if "server is listening" in text or "model loaded" in text:
            return text
        assert not over, "\n".join(text.splitlines()[-15:])
        time.sleep(0.02)


def table(cases: Iterator[Case]) -> Iterator[str]:
    """Formula beside log, in KiB."""
    parts = (*EXACT, "compute buffer", "output buffer")
    yield f"{'':64}" + " | ".join(f"{part:^19}" for part in parts)
    for case in cases:
        said, formula = logged(case), predicted(case)
        pairs = ((formula[part] >> 10, said.get(part, Logged(0, 0)).size >> 10) for part in parts)
        yield f"{case.name:64}" + " | ".join(f"{mine:>9} {theirs:>9}" for mine, theirs in pairs)


ARCHITECTURES = (
    "llama", "qwen2", "qwen3", "gemma3", "qwen3moe", "gpt-oss", "deepseek2", "qwen3next", "qwen35",
    "qwen35moe", "mamba2", "phi3", "glm4", "olmo2", "cohere2", "granite", "glm4moe", "lfm2", "gemma4",
    "gemma4-shared", "gemma2", "granitehybrid", "kimi-linear",
)  # fmt: skip


def plain(architecture: str) -> Case:
    """The default launch of a tiny model."""
    return Case(f"tiny-{architecture}")


def matrix() -> Iterator[Case]:
    """All architectures x contexts x slots x KV types x ubatches, with and without flash attention."""
    for architecture in ARCHITECTURES:
        # Build 11549 fails an assertion for kimi-linear where the slots do not divide the batch.
        slot_counts = (1, 2) if architecture == "kimi-linear" else (1, 3)
        for context, slots, ubatch in itertools.product((1024, 5000), slot_counts, (128, 512)):
            for kv, flash in (("f16", None), ("f16", False), ("q8_0", True), ("q4_0", True)):
                case = replace(plain(architecture), context=context, slots=slots, ubatch=ubatch)
                yield replace(case, kv=kv, flash=flash)


def chosen() -> Iterator[Case]:
    """Two launches of each architecture, as unlike each other as can be."""
    for architecture in ARCHITECTURES:
        case = plain(architecture)
        yield replace(case, flash=False)
        slots = 2 if architecture == "kimi-linear" else 3
        yield replace(case, context=5000, slots=slots, ubatch=128, kv="q8_0", flash=True)


def odd() -> Iterator[Case]:
    """Launches that leave the beaten path."""
    gemma, hybrid, llama = plain("gemma3"), plain("qwen35"), plain("llama")
    yield replace(gemma, args=("--swa-full",), context=4096)
    yield replace(gemma, context=700, slots=5, ubatch=96)
    yield replace(gemma, kv="f32", flash=False, slots=2)
    yield replace(hybrid, draft=2)
    yield replace(hybrid, draft=4, slots=3, context=3000)
    yield replace(hybrid, args=("--no-kv-offload",))
    yield replace(plain("qwen3next"), slots=4)
    yield replace(llama, task=Task.EMBEDDING)
    yield replace(llama, task=Task.RERANK, slots=2)
    yield replace(plain("bert"), task=Task.EMBEDDING, context=512)
    yield replace(plain("bert"), task=Task.EMBEDDING, context=512, slots=2, ubatch=256, flash=False)
    yield replace(llama, context=200, slots=1)
    yield replace(llama, kv="iq4_nl", flash=True)
    yield replace(gemma, kv="q8_0/f16", flash=False, slots=2)
    yield replace(llama, dimensions=(("vocabulary", 32000), ("tied", True), ("head_dim", 96)))
    yield replace(plain("mamba2"), slots=4, context=4096)
    yield replace(plain("mamba2"), dimensions=(("groups", 2), ("state", 64)))


if __name__ == "__main__":
    wanted = (case for case in (*matrix(), *odd()) if all(word in case.name for word in sys.argv[1:]))
    with contextlib.suppress(KeyboardInterrupt):
        for line in table(wanted):
            print(line, flush=True)
