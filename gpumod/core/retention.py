"""How much of the past is kept; older entries are dropped as new ones are written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retention:
    """Counts of newest entries, and ages in seconds."""

    events: int = 20_000
    switches: int = 1_000
    """Each with its steps."""
    measurements: int = 50
    """Per fingerprint, card model, number of cards and stage."""
    jobs: int = 500
    """Ended ones, each with its samples."""
    results: int = 5_000
    """They outlive their jobs."""
    idempotency: float = 86_400.0
    """Seconds for which an answer is kept under its idempotency key."""


DEFAULT_RETENTION = Retention()
