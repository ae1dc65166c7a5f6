"""Texts that are made on the spot: the same for the same seed, and found nowhere else."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

_NOUNS: Final = """
lantern harbour ledger engine orchard bridge kettle archive saddle compass barrel turbine chapel lever meadow
violin quarry furnace ladder mirror pulley tunnel anchor beacon canal drawer easel filter granary hinge inlet
jigsaw
"""
_ADJECTIVES: Final = """
copper silent northern hollow crooked amber distant narrow painted rusty marble wooden frozen ancient polished
shallow
"""
_VERBS: Final = """
follows repairs measures carries borrows covers inspects replaces weighs paints lifts records trades guards
sorts turns
"""
NOUNS: Final = tuple(_NOUNS.split())
ADJECTIVES: Final = tuple(_ADJECTIVES.split())
VERBS: Final = tuple(_VERBS.split())
_WHEN: Final = (
    "before noon", "in late autumn", "after the second bell", "during the long strike", "on market days",
    "while the tide is out", "without any notice", "under a grey sky",
)  # fmt: skip


def source(seed: str) -> random.Random:
    """A source of choices that depends on nothing but the seed."""
    return random.Random(seed)  # noqa: S311 - texts are to be repeatable, not secret


def sentence(chance: random.Random) -> str:
    """One sentence that says nothing that matters."""
    first, second = chance.sample(NOUNS, 2)
    one, other = chance.sample(ADJECTIVES, 2)
    return f"The {one} {first} {chance.choice(VERBS)} the {other} {second} {chance.choice(_WHEN)}."


def sentences(seed: str, count: int) -> list[str]:
    """So many sentences; another seed makes other ones from the first on."""
    chance = source(seed)
    return [sentence(chance) for _ in range(count)]


def passage(seed: str, count: int) -> str:
    """So many sentences as one text."""
    return " ".join(sentences(seed, count))


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that only a text says: a thing, and its code of six digits."""

    thing: str
    code: str

    @property
    def statement(self) -> str:
        """As it stands in a text."""
        return f"The code of the {self.thing} is {self.code}."

    @property
    def question(self) -> str:
        """What asks for it."""
        return f"What is the code of the {self.thing}? Answer with the code alone."


def facts(seed: str, count: int) -> list[Fact]:
    """Facts about different things, with different codes."""
    chance = source(f"{seed} facts")
    things = chance.sample([f"{one} {other}" for one in ADJECTIVES for other in NOUNS], count)
    codes = chance.sample(range(100_000, 1_000_000), count)
    return [Fact(thing, str(code)) for thing, code in zip(things, codes, strict=True)]


@dataclass(frozen=True, slots=True)
class Size:
    """How a model counts: `base` tokens for what surrounds sentences, and `each` for a sentence."""

    base: float = 60.0
    each: float = 14.0

    def sentences(self, tokens: int) -> int:
        """How many sentences make a prompt of so many tokens."""
        return max(1, round((tokens - self.base) / self.each))


def sized(short: int, tokens_of_short: int, long: int, tokens_of_long: int) -> Size:
    """From the tokens of two prompts of so many sentences; a guess where they make no sense."""
    each = (tokens_of_long - tokens_of_short) / (long - short) if long > short else 0.0
    if not 4 <= each <= 100:
        return Size()
    return Size(tokens_of_short - each * short, each)
