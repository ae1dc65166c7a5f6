"""Prompts that no server has seen: nothing of them can come out of a cache of prefixes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

_TEXT: Final = """
river stone window garden copper lantern village morning engine paper silver harbour winter bridge
forest signal kitchen mountain letter orange station music island shadow market candle ocean teacher
basket thunder meadow clock pepper castle ribbon valley carpet mirror ladder button feather needle
pocket saddle anchor barrel cotton desert fabric hammer insect jacket kettle lemon magnet nickel
onion pencil quarter rabbit summer tunnel umbrella velvet walnut yellow zipper
"""
_WORDS: Final = tuple(_TEXT.split())
_TOPICS: Final = (
    "how a lighthouse is built and kept",
    "the journey of a letter two hundred years ago",
    "why bread rises and what can go wrong with it",
    "how a small town could plan its water supply",
    "the life of a forest over one hundred years",
)
SHORT: Final = 16
LONG: Final = 272
"""Words of the two prompts by which tokens per word are found."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """How a model counts: `base` tokens for what surrounds the words, and `each` for a word."""

    base: float = 60.0
    each: float = 1.4

    def words(self, depth: int) -> int:
        """How many words make a prompt of that depth in tokens."""
        return max(1, round((depth - self.base) / self.each))


def calibrated(short: int, long: int, words: int) -> Tokens:
    """From the tokens of prompts of `SHORT` and of `words` words; a guess where they make no sense."""
    each = (long - short) / (words - SHORT) if words > SHORT else 0.0
    if not 0.3 <= each <= 20:
        return Tokens()
    return Tokens(short - each * SHORT, each)


def prompt(nonce: str, words: int, number: int) -> str:
    """A text of so many words; another nonce makes another text from its first word on.

    The task at its end depends on `number` alone: what a draft model gets right depends on the task.
    """
    body: list[str] = []
    block = 0
    while len(body) < words:
        digest = hashlib.sha256(f"{nonce} {block}".encode()).digest()
        body += [_WORDS[byte % len(_WORDS)] for byte in digest]
        block += 1
    topic = _TOPICS[number % len(_TOPICS)]
    return f"{nonce}: {' '.join(body[:words])}.\n\nForget these words. Write a long essay about {topic}."
