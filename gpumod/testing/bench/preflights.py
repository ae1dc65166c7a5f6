"""How long a preflight of four models takes, with the facts gathered, and with every header read anew."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from gpumod.core.names import PresetId, ServiceId
from gpumod.core.plan import Refused
from gpumod.core.spec import EngineKind, KvCache, ServiceSpec
from gpumod.core.units import GIB
from gpumod.estimate import ModelFootprints
from gpumod.testing.bench.box import BenchError
from gpumod.testing.bench.numbers import Figure, Finding, Goal, compared
from gpumod.testing.box import SimulatedBox, mode
from gpumod.testing.shapes import write_shape

_MODELS: Final = ("qwen3-8b", "gemma3-12b", "qwen35-27b", "qwen3-30b-a3b")
"""Dense, with sliding windows, hybrid, and a mixture of experts; vocabularies of 150,000 to 260,000."""
_CARDS: Final = 4
_CARD_SIZE: Final = 80 * GIB
_GOAL: Final = Goal(Figure.OURS, 30.0)


def preflights(rounds: int) -> list[Finding]:
    """A mode of four models on four cards: all that a preflight does, without a daemon around it."""
    with tempfile.TemporaryDirectory() as folder:
        services = tuple(_service(name, Path(folder)) for name in _MODELS)
        return asyncio.run(_measure(services, rounds))


def _service(name: str, folder: Path) -> ServiceSpec:
    path = write_shape(name, folder / f"{name}.gguf")
    return ServiceSpec(
        ServiceId(name),
        PresetId(name),
        EngineKind.LLAMA_CPP,
        model=str(path),
        context=32768,
        kv_cache=KvCache("q8_0", "q8_0"),
    )


async def _measure(services: tuple[ServiceSpec, ...], rounds: int) -> list[Finding]:
    warm = await _box(services)
    await _preflight(warm)
    ours, other = [], []
    try:
        for _ in range(rounds):
            ours.append(await _timed(lambda: _preflight(warm)))
            cold = await _box(services)
            other.append(await _timed(lambda box=cold: _preflight(box)))  # type: ignore[misc]
            await cold.supervisor.close()
    finally:
        await warm.supervisor.close()
    name = f"preflight of {len(services)} models"
    return [compared(name, "ms", ours, "every header read and reckoned anew", other, _GOAL)]


async def _box(services: tuple[ServiceSpec, ...]) -> SimulatedBox:
    box = SimulatedBox(mode("m", *services), cards=_CARDS, card_size=_CARD_SIZE, predicts=ModelFootprints)
    await box.start()
    return box


async def _preflight(box: SimulatedBox) -> None:
    answer = await box.supervisor.preflight("m")
    if isinstance(answer.outcome, Refused):
        raise BenchError(f"the preflight was refused: {answer.outcome.reasons[0].detail}")


async def _timed(work: Callable[[], Awaitable[None]]) -> float:
    before = time.perf_counter()
    await work()
    return (time.perf_counter() - before) * 1000
