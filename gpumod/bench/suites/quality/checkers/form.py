"""Checkers of a text's form: how long it is, how it is written, in which language."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

from pydantic import Field

from gpumod.bench.suites.quality.answer import Answer
from gpumod.bench.suites.quality.checkers.base import Pattern, Rule, shortened

Unit = Literal["words", "lines", "bullets", "numbered", "sentences", "paragraphs", "characters"]
Language = Literal["en", "de", "fr", "es", "it"]

_WORD: Final = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_BULLET: Final = re.compile(r"^[ \t]*[-*\u2022+][ \t]+\S", re.MULTILINE)
_END: Final = re.compile(r"[.!?]+[\"')\u201d*_]*(?=\s|$)")
_NUMBERED: Final = re.compile(r"^[ \t]*\d+[.)][ \t]+\S", re.MULTILINE)

_FREQUENT: Final[Mapping[Language, str]] = {
    "en": "the and of to is in that it for with are was on as this be by from or an not which",
    "de": "der die das und ist nicht ein eine zu den mit von im auf dem des sich es für wird sind er",
    "fr": "le la les et est un une des du que qui dans pour pas sur il elle avec au ce se sont ne",
    "es": "el la los las y es un una de que en por para con no del se su al lo como son más",
    "it": "il la le e è un una di che in per con non del della si gli al sono come più lo dei",
}
"""Words that are frequent in any text of a language."""
_COMMON: Final = {name: frozenset(words.split()) for name, words in _FREQUENT.items()}


def counted(text: str, unit: Unit) -> int:
    """How many words, lines ... a text has. Blank lines count for nothing."""
    match unit:
        case "words":
            return len(_WORD.findall(text))
        case "lines":
            return sum(1 for line in text.splitlines() if line.strip())
        case "bullets":
            return len(_BULLET.findall(text))
        case "numbered":
            return len(_NUMBERED.findall(text))
        case "sentences":
            return sum(1 for part in _END.split(text) if _WORD.search(part))
        case "paragraphs":
            return len([part for part in re.split(r"\n\s*\n", text) if part.strip()])
        case "characters":
            return len(text.strip())


class Count(Rule):
    """How many of something the text has.

    Args:
        unit: of what.
        exactly: so many.
        least: at least so many.
        most: at most so many.
        each_line: of every line that is not blank, instead of the text.
    """

    unit: Unit
    exactly: int | None = None
    least: int | None = None
    most: int | None = None
    each_line: bool = False

    def complaint(self, answer: Answer) -> str | None:
        lines = [line for line in answer.text.splitlines() if line.strip()]
        if self.each_line and not lines:
            return "there is no line"
        for part in lines if self.each_line else [answer.text]:
            found = counted(part, self.unit)
            if self.exactly is not None and found != self.exactly:
                return f"{found} {self.unit}, not {self.exactly}"
            if self.least is not None and found < self.least:
                return f"{found} {self.unit}, fewer than {self.least}"
            if self.most is not None and found > self.most:
                return f"{found} {self.unit}, more than {self.most}"
        return None


class Form(Rule):
    """How the text is written.

    Args:
        case: all letters are of this kind.
        letters_absent: letters that do not occur, neither small nor capital.
        begins: the text begins with this.
        ends: the text ends with this.
        every_line: a pattern that every line that is not blank matches from end to end.
        every_word: the same for every word.
        sorted_lines: the lines that are not blank stand in the order of the alphabet.
        language: the text is in this language, by its frequent words.
    """

    case: Literal["lower", "upper"] | None = None
    letters_absent: str = ""
    begins: str = ""
    ends: str = ""
    every_line: Pattern | None = None
    every_word: Pattern | None = None
    sorted_lines: bool = False
    language: Language | None = None

    def complaint(self, answer: Answer) -> str | None:
        text = answer.text.strip()
        return self._letters(text) or self._ends(text) or self._lines(text) or self._language(text)

    def _letters(self, text: str) -> str | None:
        if not text:
            return "there is no text"
        if self.case == "lower" and text != text.lower():
            return "there are capital letters"
        if self.case == "upper" and text != text.upper():
            return "there are small letters"
        if found := sorted(set(self.letters_absent.lower()) & set(text.lower())):
            return f"the letter {found[0]} occurs"
        return None

    def _ends(self, text: str) -> str | None:
        if not text.startswith(self.begins):
            return f"it begins with {shortened(text[: len(self.begins)])}, not {self.begins!r}"
        if not text.endswith(self.ends):
            return f"it does not end with {self.ends!r}"
        return None

    def _lines(self, text: str) -> str | None:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if self.every_line is not None:
            for line in lines:
                if not re.fullmatch(self.every_line, line):
                    return f"the line {shortened(line)} does not match {self.every_line}"
        if self.every_word is not None:
            for word in _WORD.findall(text):
                if not re.fullmatch(self.every_word, word):
                    return f"the word {shortened(word)} does not match {self.every_word}"
        if self.sorted_lines and [one.casefold() for one in lines] != sorted(one.casefold() for one in lines):
            return "the lines are not in the order of the alphabet"
        return None

    def _language(self, text: str) -> str | None:
        if self.language is None:
            return None
        words = [word.lower() for word in _WORD.findall(text)]
        shares = {name: sum(word in common for word in words) for name, common in _COMMON.items()}
        best = max(shares.values())
        if best and shares[self.language] == best:
            return None
        return f"it is not in the language {self.language}"


class Repeated(Rule):
    """How often a word or a part of the text occurs.

    Args:
        text: what to look for; capital letters count.
        exactly: so often.
    """

    text: str = Field(min_length=1)
    exactly: int

    def complaint(self, answer: Answer) -> str | None:
        found = answer.text.count(self.text)
        return None if found == self.exactly else f"{self.text!r} occurs {found} times, not {self.exactly}"
