"""Metrics, and Prometheus' text format for them: https://prometheus.io/docs/instrumenting/exposition_formats/."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper ends in seconds: from a memory barrier to a large model from a slow disk."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One number. `suffix` is appended to the metric's name."""

    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric with all its samples."""

    name: str
    help: str
    kind: Literal["counter", "gauge", "histogram"]
    samples: tuple[Sample, ...]


class Histogram:
    """Durations in seconds, counted per combination of labels.

    Args:
        labels: the names of the labels.
        buckets: upper ends in seconds.
    """

    def __init__(self, *labels: str, buckets: tuple[float, ...] = BUCKETS) -> None:
        self._names = labels
        self._buckets = buckets
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}

    def observe(self, seconds: float, *labels: str) -> None:
        """Count one duration, under the labels' values."""
        counts = self._counts.setdefault(labels, [0] * (len(self._buckets) + 1))
        counts[bisect_left(self._buckets, seconds)] += 1
        self._sums[labels] = self._sums.get(labels, 0.0) + seconds

    def samples(self) -> tuple[Sample, ...]:
        """Cumulative buckets, sum and count per combination of labels."""
        made: list[Sample] = []
        for labels, counts in sorted(self._counts.items()):
            told = dict(zip(self._names, labels, strict=True))
            total = 0
            for end, count in zip((*self._buckets, float("inf")), counts, strict=True):
                total += count
                made.append(Sample(total, {**told, "le": _number(end)}, "_bucket"))
            made.append(Sample(self._sums[labels], told, "_sum"))
            made.append(Sample(total, told, "_count"))
        return tuple(made)


def exposition(metrics: Iterable[Metric]) -> str:
    """All metrics as Prometheus reads them."""
    lines: list[str] = []
    for metric in metrics:
        lines += [f"# HELP {metric.name} {_escape(metric.help)}", f"# TYPE {metric.name} {metric.kind}"]
        for sample in metric.samples:
            labels = ",".join(f'{name}="{_escape(text, quote=True)}"' for name, text in sample.labels.items())
            braces = f"{{{labels}}}" if labels else ""
            lines.append(f"{metric.name}{sample.suffix}{braces} {_number(sample.value)}")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(float(value))


def _escape(text: str, *, quote: bool = False) -> str:
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
    return escaped.replace('"', '\\"') if quote else escaped
