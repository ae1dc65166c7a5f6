"""Looks at memory while a case runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

from gpumod.bench.meter.engine_page import engine_page
from gpumod.bench.suites.speed import formulas as f
from gpumod.core.errors import GpumodError
from gpumod.core.job_ports import Bench
from gpumod.engines.metrics import total

PERIOD: Final = 0.5
_KV: Final = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "llamacpp:kv_cache_usage_ratio")
_DRAFTED: Final = ("vllm:spec_decode_num_draft_tokens_total",)
_ACCEPTED: Final = ("vllm:spec_decode_num_accepted_tokens_total",)


class Watch:
    """While entered, reads memory every half second, before and after; what cannot be read is left out."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._task: asyncio.Task[None] | None = None
        self._idle: Mapping[str, int] | None = None
        self._peak: dict[str, int] = {}
        self._peak_of_all = 0
        self._kv: float | None = None
        self._before: tuple[float, float] | None = None
        self._after: tuple[float, float] | None = None

    async def __aenter__(self) -> Self:
        """Read for the first time, and go on in the background."""
        self._idle = await self._look()
        self._before = await self._metrics()
        self._task = asyncio.create_task(self._go_on())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and read for the last time."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if kind is None:
            await self._look()
            self._after = await self._metrics()

    def numbers(self) -> dict[str, float]:
        """Memory idle and at its peak, the KV pool's peak, and vLLM's counters of drafts."""
        numbers: dict[str, float] = {}
        if self._idle is not None:
            numbers[f.MEMORY_IDLE.id] = sum(self._idle.values())
            numbers[f.MEMORY_PEAK.id] = self._peak_of_all
        if self._kv is not None:
            numbers[f.KV_PEAK.id] = self._kv
        if self._before and self._after and (drafted := self._after[0] - self._before[0]) > 0:
            numbers[f.DRAFTED.id] = drafted
            numbers[f.ACCEPTED.id] = self._after[1] - self._before[1]
        return numbers

    def details(self) -> dict[str, object]:
        """The same by card."""
        return {"memory_idle": dict(self._idle or {}), "memory_peak": dict(self._peak)}

    async def _go_on(self) -> None:
        while True:
            await self._bench.clock.sleep(PERIOD)
            await self._look()
            if self._kv is not None:  # else the engine has no such metric: leave it in peace
                await self._metrics()

    async def _look(self) -> Mapping[str, int] | None:
        try:
            memory = await self._bench.memory()
        except GpumodError:
            return None
        self._peak = {
            card: max(memory.get(card, 0), self._peak.get(card, 0)) for card in {**self._peak, **memory}
        }
        self._peak_of_all = max(self._peak_of_all, sum(memory.values()))
        return memory

    async def _metrics(self) -> tuple[float, float] | None:
        """Drafted and accepted tokens since the engine's start, where it counts them."""
        text = await engine_page(self._bench.endpoint, "/metrics")
        kv = total(text, _KV)
        if kv is not None:
            self._kv = max(kv, self._kv or 0.0)
        drafted, accepted = total(text, _DRAFTED), total(text, _ACCEPTED)
        return None if drafted is None or accepted is None else (drafted, accepted)
