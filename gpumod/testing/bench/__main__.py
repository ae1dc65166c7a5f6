"""`make bench`: measures everything, prints a table, and writes JSON where it is told to."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from gpumod import __version__
from gpumod.testing.bench import (
    barrier,
    bytes_path,
    commands,
    daemon,
    journal,
    meter,
    planning,
    preflights,
    switches,
)
from gpumod.testing.bench.box import BenchError
from gpumod.testing.bench.numbers import Finding, Skipped
from gpumod.testing.bench.report import as_json, table, verdict

_ROUNDS = 11
_IDLE = 60.0
_MANY = 30
"""Rounds in every round of what takes milliseconds."""


def main(argv: Sequence[str] | None = None) -> int:
    """0 when everything was measured; goals that are missed are told, not failed: machines differ."""
    options = _options(argv)
    findings: list[Finding] = []
    skipped: list[Skipped] = []
    for name, measure in _parts(options.rounds, options.idle).items():
        if options.only and name not in options.only:
            continue
        print(f"measuring: {name} ...", file=sys.stderr, flush=True)
        try:
            for one in measure():
                (findings if isinstance(one, Finding) else skipped).append(one)  # type: ignore[arg-type]
        except (BenchError, OSError, subprocess.SubprocessError, ImportError) as error:
            skipped.append(Skipped(name, f"failed: {error}"))
    _tell(findings, skipped, options.json)
    return 1 if any(one.reason.startswith("failed") for one in skipped) else 0


def _parts(rounds: int, idle: float) -> dict[str, Callable[[], Sequence[Finding | Skipped]]]:
    many = rounds * _MANY
    return {
        "scripted": lambda: switches.scripted(rounds),
        "llama": lambda: switches.llama(rounds),
        "barrier": lambda: [*barrier.host(rounds), *barrier.nvml(rounds)],
        "plan": planning.plans,
        "preflight": lambda: preflights.preflights(rounds),
        "journal": lambda: journal.writes(many),
        "meter": lambda: meter.clients(rounds),
        "bytes": lambda: bytes_path.added(rounds),
        "status": lambda: commands.status(rounds * 2),
        "start": lambda: daemon.start(rounds),
        "idle": lambda: daemon.idle(idle),
    }


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description="Measure what gpumod costs.")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help=f"of each comparison ({_ROUNDS})")
    parser.add_argument("--idle", type=float, default=_IDLE, help=f"seconds of idling, twice ({_IDLE:g})")
    names = sorted(_parts(1, 1))
    parser.add_argument("--only", action="append", choices=names, help="measure this; may be repeated")
    options = parser.parse_args(argv)
    if options.rounds < 1 or options.idle <= 0:
        parser.error("--rounds and --idle have to be positive")
    return options


def _tell(findings: list[Finding], skipped: list[Skipped], path: Path | None) -> None:
    machine = _machine()
    print("; ".join(f"{name} {value}" for name, value in machine.items()))
    print("medians of the rounds (least to most)\n")
    print(table(findings))
    print(f"\n{verdict(findings)}")
    for one in skipped:
        print(f"Not measured: {one.name}: {one.reason}")
    if path is not None:
        path.write_text(json.dumps(as_json(findings, skipped, machine), indent=2) + "\n")


def _machine() -> dict[str, object]:
    return {
        "gpumod": __version__,
        "cores": os.cpu_count(),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "load": " ".join(f"{one:.2f}" for one in os.getloadavg()),
    }


if __name__ == "__main__":
    sys.exit(main())
