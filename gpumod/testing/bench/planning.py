"""How long a plan takes: the planner's own bench, which is part of the tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from gpumod.testing.bench.numbers import Figure, Finding, Goal, Skipped, Spread

_SCRIPT = Path("tests/bench/bench_planner.py")
_GOAL = Goal(Figure.OURS, 5.0)
"""For plans; a refusal after a long search may take longer."""


def plans() -> list[Finding | Skipped]:
    """1, 4 and 8 cards; 10 and 200 presets."""
    if not _SCRIPT.exists():
        return [Skipped("plan time", f"{_SCRIPT} is part of the tests: run from a checkout")]
    done = subprocess.run([sys.executable, str(_SCRIPT)], stdout=subprocess.PIPE, check=True)
    return [
        Finding(
            f"plan: {one['case']}",
            "ms",
            Spread(one["best_ms"], one["median_ms"], one["slowest_ms"], one.get("runs", 200)),
            goals=(_GOAL,) if one["decision"] == "plan" else (),
        )
        for one in json.loads(done.stdout)["plan_time"]
    ]
