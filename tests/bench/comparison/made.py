"""Results made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpumod.bench.statistics import mean_interval, wilson_interval
from gpumod.core.job import JobId, Metric, Result

ARGV = ("/opt/llama/llama-server", "--port", "18080", "-m", "/models/gemma-Q4_K_M.gguf", "-c", "8192")


def service(**more: Any) -> dict[str, object]:
    made: dict[str, object] = {
        "id": "gemma",
        "preset": "gemma",
        "engine": "llama.cpp",
        "build": "b9000",
        "argv": list(ARGV),
        "fingerprint": "0",
        "files": [{"path": "/models/gemma-Q4_K_M.gguf", "size": 100, "modified_ns": 1}],
        "cards": ["GPU-1"],
        "context": 8192,
        "slots": 1,
        "kv_cache": {"k": "f16", "v": "f16"},
        "sampler": {},
    }
    return made | more


def provenance(*services: Mapping[str, object], **more: object) -> dict[str, object]:
    made: dict[str, object] = {
        "gpumod": "1.0",
        "asked": "gemma",
        "services": list(services or (service(),)),
        "cards": [
            {"id": "GPU-1", "name": "RTX 4090", "total": 2**34, "power_watts": 21.5, "temperature": 40}
        ],
        "driver": "570.1",
        "host": {"system": "Linux", "memory": 2**36, "load": [0.5, 0.4, 0.3], "cpus": 16},
    }
    return made | more


def points(formula: str, values: Sequence[float]) -> Metric:
    by_case = {f"{number:03}": value for number, value in enumerate(values, 1)}
    found = mean_interval(list(values))
    return Metric(formula, found.value, "points", found.low, found.high, len(values), True, by_case)


def numbers(formula: str, unit: str, values: Sequence[float], *, larger: bool | None = True) -> Metric:
    by_case = {f"decode-512-{number}": value for number, value in enumerate(values)}
    return Metric(formula, sum(values) / len(values), unit, None, None, len(values), larger, by_case)


def attempts(formula: str, passed: int, tried: int, key: str = "queue/{:03}") -> Metric:
    by_case = {key.format(number): float(number <= passed) for number in range(1, tried + 1)}
    found = wilson_interval(passed, tried)
    return Metric(formula, found.value, "share", found.low, found.high, tried, True, by_case)


def result(target: str, *metrics: Metric, **more: Any) -> Result:
    made: dict[str, Any] = {
        "job": JobId("J1"),
        "target": target,
        "suite": "coding",
        "suite_version": "1",
        "suite_hash": "a" * 64,
        "parameters": {"iterations": 15, "max_tokens": 4096},
        "provenance": provenance(),
        "metrics": metrics,
        "outcomes": {"ok": 15},
        "started": 1_000_000.0,
        "ended": 1_001_000.0,
    }
    return Result(**(made | more))
