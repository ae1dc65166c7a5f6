"""The values of a recipe's options, and the words of the command that they become."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

from gpumod.bench.suites.exec.recipe_file import OptionFile, RecipeFile, filled, placeholders
from gpumod.config.problems import close_to
from gpumod.core.errors import GpumodError, InvalidRequestError

LONGEST: Final = 200
"""Characters of a text that a job gives."""


class UnknownFactError(GpumodError):
    """The command needs a fact that is not known of this target."""


def option_values(recipe: RecipeFile, given: object) -> dict[str, int | float | str]:
    """The options that have a value, given or by default.

    Raises:
        InvalidRequestError: an unknown or a wrong one.
    """
    if not isinstance(given, Mapping):
        raise InvalidRequestError(f"options must be a mapping of names to values, not {given!r}")
    for name in given:
        if name not in recipe.options:
            known = ", ".join(recipe.options) or "none"
            hint = close_to(str(name), recipe.options)
            raise InvalidRequestError(
                f"the recipe {recipe.recipe} has no option {name!r}: it has {known}"
                + (f" ({hint})" if hint else "")
            )
    found: dict[str, int | float | str] = {}
    for name, option in recipe.options.items():
        value = given.get(name)
        value = option.default if value is None else value
        if value is not None:
            found[name] = option_value(name, option, value)
    return found


def option_value(name: str, option: OptionFile, value: object) -> int | float | str:
    """A value that fits its option.

    Raises:
        InvalidRequestError: it does not; the sentence says what would.
    """
    if option.type in {"integer", "number"}:
        return _number(name, option, value)
    if not isinstance(value, str):
        raise InvalidRequestError(f"{name} must be text, not {value!r}")
    if option.type == "choice":
        if value not in option.choices:
            raise InvalidRequestError(
                f"{name} must be one of {', '.join(option.choices)}, not {value[:80]!r}"
            )
        return value
    if len(value) > LONGEST or value.startswith("-") or not value.isprintable():
        raise InvalidRequestError(
            f"{name} must be a printable text of at most {LONGEST} characters that does not begin with '-'"
        )
    if not re.fullmatch(option.pattern or "", value):
        raise InvalidRequestError(f"{name} must match {option.pattern}, and {value[:80]!r} does not")
    return value


def _number(name: str, option: OptionFile, value: object) -> int | float:
    whole = option.type == "integer"
    if isinstance(value, float) and whole and value.is_integer():
        value = int(value)  # JSON has no integers apart from numbers
    if (
        isinstance(value, bool)
        or not isinstance(value, int if whole else int | float)
        or not math.isfinite(value)
    ):
        raise InvalidRequestError(f"{name} must be a {'whole ' if whole else ''}number, not {value!r}")
    low = -math.inf if option.min is None else option.min
    high = math.inf if option.max is None else option.max
    if not low <= value <= high:
        raise InvalidRequestError(f"{name} must be {low:g} to {high:g}, not {value!r}")
    return value


def words(recipe: RecipeFile, values: dict[str, str]) -> list[str]:
    """The command: each word stays one word, whatever its values are.

    Raises:
        UnknownFactError: a word that cannot be left out needs a value that is not there.
    """
    command: list[str] = []
    for word in recipe.argv:
        if isinstance(word, str):
            command.append(_filled(word, values))
        elif all(name in values for one in word for name in placeholders(one)):
            command += [filled(one, values) for one in word]
    return command


def variables(recipe: RecipeFile, values: dict[str, str]) -> dict[str, str]:
    """The recipe's own environment variables.

    Raises:
        UnknownFactError: as `words`.
    """
    return {name: _filled(text, values) for name, text in recipe.env.items()}


def _filled(text: str, values: dict[str, str]) -> str:
    try:
        return filled(text, values)
    except KeyError as missing:
        raise UnknownFactError(
            f"the recipe needs {{{missing.args[0]}}}, which is not known of this target or not given"
        ) from None
