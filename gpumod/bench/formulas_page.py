"""docs/benchmark-formulas.md: `python -m gpumod.bench.formulas_page` prints it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Final

from gpumod.bench.formulas import AT, Formula, table

SUITES: Final = ("speed", "coding", "smoke", "quality", "switch", "stress", "soak", "exec")
"""Those with formulas of their own, in `suites/NAME/formulas.py`."""

_HEAD: Final = f"""\
# Formulas of benchmarks

Every number of a benchmark has a formula id, and numbers are compared only under the same one. A change of
what a formula means makes a new id. What follows a `{AT}` is the setting that the number was measured at: the
nominal depth of the prompt in tokens, how many requests were sent at once, the pack of scenarios, the check,
the card, or the way of a switch (there or back).
"""


def formulas() -> Mapping[str, Iterable[Formula]]:
    """All formulas by suite."""
    return {name: import_module(f"gpumod.bench.suites.{name}.formulas").FORMULAS for name in SUITES}


def page() -> str:
    """The page."""
    return "\n".join([_HEAD, *(f"## {name}\n\n{table(those)}" for name, those in formulas().items())])


if __name__ == "__main__":
    sys.stdout.write(page())
