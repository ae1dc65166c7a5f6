"""How long the memory barrier takes, over the host's memory and over the stand-in of NVML."""

from __future__ import annotations

import importlib
from typing import Any

from gpumod.core.bounds import DEFAULT_BOUNDS
from gpumod.testing.bench.box import BenchBox, box, folder
from gpumod.testing.bench.numbers import Finding, Skipped, compared
from gpumod.testing.engine_server import Script


def host(rounds: int) -> list[Finding]:
    """The release step of `a -> blank` on the host card."""
    with folder() as root, box(root / "box", limit=2048) as bench:
        bench.scripted("a", Script(host_mib=256), vram=512)
        bench.start()
        return [_finding("memory barrier, host card", bench, rounds)]


def nvml(rounds: int) -> list[Finding | Skipped]:
    """The same through the real NVML binding, over a library that pretends to be NVML's."""
    name = "memory barrier, NVML stand-in"
    try:
        standin: Any = importlib.import_module("tests.nvml.standin")
    except ImportError:
        return [Skipped(name, "the stand-in is part of the tests: run from a checkout")]
    if not standin.can_build():
        return [Skipped(name, "no gcc to build the stand-in with")]
    with folder() as root:
        library = root / "library"
        library.mkdir()
        gpus = standin.Standin(root / "nvml", standin.build(library))
        with box(root / "box", cards="nvidia", environment=gpus.env) as bench:
            bench.scripted("a", Script(card_mib=8192), vram=9000, env=_engine_environment(gpus.env))
            bench.start()
            return [_finding(name, bench, rounds)]


def _engine_environment(variables: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name != "LD_LIBRARY_PATH"}


def _finding(name: str, bench: BenchBox, rounds: int) -> Finding:
    """The steps as the journal timed them, beside the pauses alone between that many readings."""
    taken = []
    for _ in range(rounds):
        bench.switch("a")
        _, record = bench.switch("blank")
        taken += [
            (step["ended"] - step["started"]) * 1000 for step in record["steps"] if step["kind"] == "release"
        ]
    pauses = (DEFAULT_BOUNDS.barrier_readings - 1) * DEFAULT_BOUNDS.barrier_interval * 1000
    return compared(name, "ms", taken, "its pauses alone", [pauses] * len(taken))
