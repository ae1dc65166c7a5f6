"""What the numbers of the shipped recipes are."""

from __future__ import annotations

from typing import Final

from gpumod.bench.suites.exec.recipe import shipped_recipes

FORMULAS: Final = tuple(formula for recipe in shipped_recipes().values() for formula, _ in recipe.metrics())
