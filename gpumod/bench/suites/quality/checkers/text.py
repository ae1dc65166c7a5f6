"""Checkers of what a text says: equality, parts of it, patterns, numbers."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from pydantic import Field

from gpumod.bench.suites.quality.answer import Answer, labelled
from gpumod.bench.suites.quality.checkers.base import Pattern, Rule, shortened

_MARKS: Final = "*_`\"'"
_NUMBER: Final = re.compile(r"(?<![\w.])[-+\u2212]?\$?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?")
_LONGEST: Final = 8_000
"""Characters that patterns are tried on: a pattern's time may grow with the square of them, or worse."""
_FRACTION: Final = re.compile(r"([-+\u2212]?\d+)\s*/\s*(\d+)")


def normalised(text: str) -> str:
    """Small letters, single blanks, plain quotes, without marks around it and a full stop behind it."""
    plain = unicodedata.normalize("NFKC", text).replace("\u2019", "'").replace("\u2212", "-")
    flat = " ".join(plain.split()).casefold()
    while (bare := flat.strip(_MARKS + " ").rstrip(".").strip()) != flat:
        flat = bare
    return flat


def number_in(text: str) -> float | None:
    """The only number of a text, or a fraction of two; None where there is none, or different ones."""
    if fraction := _FRACTION.fullmatch(text.strip(_MARKS + " .$")):
        over, under = fraction.groups()
        return float(over.replace("\u2212", "-")) / float(under) if float(under) else None
    found = {
        float(one.replace(",", "").replace("$", "").replace("\u2212", "-")) for one in _NUMBER.findall(text)
    }
    return found.pop() if len(found) == 1 else None


class Text(Rule):
    """The text, or what stands behind a label, equals one of these.

    Args:
        equals: what is right.
        label: what stands before the answer, as `Answer` in `Answer: 5`.
        exact: every character counts, except for white space at both ends.
    """

    equals: list[str] = Field(min_length=1)
    label: str | None = None
    exact: bool = False

    def complaint(self, answer: Answer) -> str | None:
        given = labelled(answer.text, self.label)
        if given is None:
            return f"there is no line {self.label}: ..."
        if self.exact:
            right = given.strip() in [one.strip() for one in self.equals]
        else:
            right = normalised(given) in [normalised(one) for one in self.equals]
        return None if right else f"it says {shortened(given)}, not {shortened(self.equals[0])}"


class Number(Rule):
    """The text, or what stands behind a label, has one number in it, and that is this one.

    Args:
        value: the number.
        tolerance: how far from it is right.
        label: as in `Text`.
    """

    value: float
    tolerance: float = Field(default=0.0, ge=0)
    label: str | None = None

    def complaint(self, answer: Answer) -> str | None:
        given = labelled(answer.text, self.label)
        if given is None:
            return f"there is no line {self.label}: ..."
        number = number_in(given)
        if number is None:
            return f"there is not exactly one number in {shortened(given)}"
        # A decimal that the prompt asks for is no binary fraction: 0.1 is not exactly 0.1.
        reach = self.tolerance + 1e-9 * max(1.0, abs(self.value))
        return None if abs(number - self.value) <= reach else f"it is {number:g}, not {self.value:g}"


class Contains(Rule):
    """Words or parts of words that have to be in the text, or may not.

    Args:
        all: each of them is there.
        any: at least one of them is there.
        none: none of them is there.
        case: whether capital letters count.
    """

    all: list[str] = Field(default=[])
    any: list[str] = Field(default=[])
    none: list[str] = Field(default=[])
    case: bool = False

    def complaint(self, answer: Answer) -> str | None:
        text = self._form(answer.text)
        if missing := [one for one in self.all if self._form(one) not in text]:
            return f"{shortened(missing[0])} is missing"
        if self.any and not any(self._form(one) in text for one in self.any):
            return f"none of {', '.join(map(repr, self.any))} is there"
        if found := [one for one in self.none if self._form(one) in text]:
            return f"{shortened(found[0])} is there"
        return None

    def _form(self, text: str) -> str:
        flat = " ".join(text.replace("\u2019", "'").split())
        return flat if self.case else flat.casefold()


class Regex(Rule):
    """Patterns that match somewhere in the text, or nowhere; `^` and `$` are a line's ends.

    Args:
        present: each of them matches.
        absent: none of them matches.
        full: matches all of the text.
        ignore_case: whether capital letters count for nothing.
    """

    present: list[Pattern] = Field(default=[])
    absent: list[Pattern] = Field(default=[])
    full: Pattern | None = None
    ignore_case: bool = False

    def complaint(self, answer: Answer) -> str | None:
        if len(answer.text) > _LONGEST:
            return f"it has {len(answer.text)} characters, more than the {_LONGEST} that are looked at"
        flags = re.MULTILINE | (re.IGNORECASE if self.ignore_case else re.NOFLAG)
        for pattern in self.present:
            if not re.search(pattern, answer.text, flags):
                return f"nothing matches {pattern}"
        for pattern in self.absent:
            if found := re.search(pattern, answer.text, flags):
                return f"{shortened(found.group())} matches {pattern}"
        if self.full is not None and not re.fullmatch(self.full, answer.text.strip(), flags):
            return f"the text as a whole does not match {self.full}"
        return None
