"""Landmines: settings that are known to fail, or to give wrong answers, found before a launch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Landmine:
    """A known trap that a service would step on.

    Args:
        id: stable, for example `gguf-missing-shard`.
        detail: one sentence: what would happen, and why.
        fix: one sentence: what to do.
        fatal: the launch cannot work: it is refused. Otherwise it is a warning.
    """

    id: str
    detail: str
    fix: str
    fatal: bool = False

    @property
    def sentence(self) -> str:
        """Both, for showing."""
        return f"{self.detail}: {self.fix}" if self.fix else self.detail
