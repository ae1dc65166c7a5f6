"""Reads numbers out of Prometheus text."""

from __future__ import annotations

import re
from collections.abc import Collection


def total(text: str, names: Collection[str]) -> float | None:
    """The sum of all samples of these metrics, whatever their labels; None when there is none."""
    pattern = rf"^(?:{'|'.join(map(re.escape, names))})(?:\{{[^}}\n]*\}})?[ \t]+([0-9.eE+-]+)"
    samples = re.findall(pattern, text, re.MULTILINE)
    return sum(map(float, samples)) if samples else None
