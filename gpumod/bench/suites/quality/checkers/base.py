"""What every checker is."""

from __future__ import annotations

import re
from typing import Annotated, Protocol

from pydantic import AfterValidator

from gpumod.bench.suites.quality.answer import Answer
from gpumod.config.fields import Strict


class Checker(Protocol):
    """A rule about an answer, with its arguments."""

    def complaint(self, answer: Answer) -> str | None:
        """What is wrong with the answer, in one sentence; None if nothing is."""
        ...


class Rule(Strict):
    """A checker that a scenario names, with its arguments as the fields."""

    def complaint(self, answer: Answer) -> str | None:
        """What is wrong with the answer, in one sentence; None if nothing is."""
        raise NotImplementedError


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is no pattern: {error}") from error
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]
"""A regular expression of Python's `re`."""


def shortened(text: str) -> str:
    """A text for a complaint."""
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= 80 else flat[:77] + "...")
