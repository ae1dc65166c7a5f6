"""Compares values with what a scenario expects of them.

An expected value is the value itself, or a mapping with one of these keys:

- `$any`: a list of values, each of them is right
- `$regex`: a pattern that the whole text has to match
- `$unordered`: a list whose order does not matter
- `$optional`: what is right if the key is there; it may be missing
- `$near`: a number and how far from it is right
- `$with`: a mapping that may have other keys too
- `$type`: any value of that JSON type
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

TYPES: Final[Mapping[str, Callable[[object], bool]]] = {
    "string": lambda one: isinstance(one, str),
    "integer": lambda one: isinstance(one, int) and not isinstance(one, bool),
    "number": lambda one: isinstance(one, int | float) and not isinstance(one, bool),
    "boolean": lambda one: isinstance(one, bool),
    "array": lambda one: isinstance(one, list),
    "object": lambda one: isinstance(one, Mapping),
    "null": lambda one: one is None,
}


def difference(given: object, expected: object, at: str = "") -> str | None:
    """What is wrong with a value, in words; None if it is as expected."""
    if isinstance(expected, Mapping):
        if len(expected) == 1 and (word := next(iter(expected))) in _SPECIAL:
            return _SPECIAL[word](given, expected[word], at)
        return _mapping(given, expected, at)
    if isinstance(expected, Sequence) and not isinstance(expected, str):
        return _sequence(given, expected, at)
    return None if equal(given, expected) else f"{_place(at)} is {_shown(given)}, not {_shown(expected)}"


def equal(given: object, expected: object) -> bool:
    """Whether two single values are equal: 3 and 3.0 are, 1 and true are not, nor are 3 and "3"."""
    if isinstance(given, bool) or isinstance(expected, bool):
        return given is expected
    if isinstance(given, str) and isinstance(expected, str):
        return given.strip() == expected.strip()
    return given == expected


def _mapping(given: object, expected: Mapping[str, object], at: str, *, others: bool = False) -> str | None:
    if not isinstance(given, Mapping):
        return f"{_place(at)} is {_shown(given)}, not an object"
    for key, wanted in expected.items():
        inner = f"{at}.{key}" if at else key
        optional = isinstance(wanted, Mapping) and set(wanted) == {"$optional"}
        if key not in given:
            if optional:
                continue
            return f"{inner} is missing"
        if found := difference(given[key], wanted, inner):
            return found
    if not others and (extra := [key for key in given if key not in expected]):
        return f"{_place(at)} has {', '.join(map(str, extra))} too"
    return None


def _sequence(given: object, expected: Sequence[object], at: str) -> str | None:
    if not isinstance(given, list | tuple):
        return f"{_place(at)} is {_shown(given)}, not a list"
    if len(given) != len(expected):
        return f"{_place(at)} has {len(given)} items, not {len(expected)}"
    for index, (one, wanted) in enumerate(zip(given, expected, strict=True)):
        if found := difference(one, wanted, f"{at}[{index}]"):
            return found
    return None


def unordered(given: Sequence[object], expected: Sequence[object], at: str = "") -> str | None:
    """As a list in any order: each expected value takes one of the given ones."""
    if len(given) != len(expected):
        return f"{_place(at)} has {len(given)} items, not {len(expected)}"
    takes: dict[int, int] = {}

    def place(wanted: int, seen: set[int]) -> bool:
        # Augmenting paths (Kuhn): a value that fits two expectations must not block the stricter one.
        for index, one in enumerate(given):
            if index in seen or difference(one, expected[wanted]) is not None:
                continue
            seen.add(index)
            if index not in takes or place(takes[index], seen):
                takes[index] = wanted
                return True
        return False

    for wanted in range(len(expected)):
        if not place(wanted, set()):
            return f"{_place(at)} lacks {_shown(expected[wanted])}"
    return None


def _unordered(given: object, expected: object, at: str) -> str | None:
    if not isinstance(given, list | tuple):
        return f"{_place(at)} is {_shown(given)}, not a list"
    return unordered(given, _listed(expected), at)


def _any(given: object, expected: object, at: str) -> str | None:
    if any(difference(given, one, at) is None for one in _listed(expected)):
        return None
    return f"{_place(at)} is {_shown(given)}, none of {_shown(expected)}"


def _regex(given: object, expected: object, at: str) -> str | None:
    if isinstance(given, str) and re.fullmatch(str(expected), given.strip()):
        return None
    return f"{_place(at)} is {_shown(given)}, which does not match {expected}"


def _near(given: object, expected: object, at: str) -> str | None:
    value, reach = _listed(expected)
    if isinstance(given, int | float) and not isinstance(given, bool) and abs(given - value) <= reach:
        return None
    return f"{_place(at)} is {_shown(given)}, not {value} give or take {reach}"


def _with(given: object, expected: object, at: str) -> str | None:
    return _mapping(given, expected if isinstance(expected, Mapping) else {}, at, others=True)


def _type(given: object, expected: object, at: str) -> str | None:
    return None if TYPES[str(expected)](given) else f"{_place(at)} is {_shown(given)}, no {expected}"


def _listed(value: object) -> list:  # type: ignore[type-arg]  # values of a YAML file, any kind
    return list(value) if isinstance(value, list | tuple) else [value]


def _place(at: str) -> str:
    return at or "the answer"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


_SPECIAL: Final[Mapping[str, Callable[[object, object, str], str | None]]] = {
    "$any": _any,
    "$regex": _regex,
    "$unordered": _unordered,
    "$optional": difference,
    "$near": _near,
    "$with": _with,
    "$type": _type,
}
SPECIAL: Final = frozenset(_SPECIAL)


def mistakes(expected: object, at: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], str]]:
    """What a scenario's author got wrong in an expected value: where, and in words."""
    found: list[tuple[tuple[str | int, ...], str]] = []
    if isinstance(expected, Mapping):
        for key, inner in expected.items():
            if isinstance(key, str) and key.startswith("$"):
                found += [((*at, key), said) for said in _misused(key, inner, len(expected))]
            found += mistakes(inner, (*at, key))
    elif isinstance(expected, list):
        for index, inner in enumerate(expected):
            found += mistakes(inner, (*at, index))
    return found


def _misused(word: str, inner: object, keys: int) -> list[str]:
    if word not in SPECIAL:
        return [f"{word!r} is none of {', '.join(sorted(SPECIAL))}"]
    if keys > 1:
        return [f"{word!r} stands alone in its mapping"]
    numbers = isinstance(inner, list) and all(TYPES["number"](one) for one in inner)
    if word == "$near" and not (numbers and isinstance(inner, list) and len(inner) == 2):
        return ["'$near' takes a number and a reach: [10, 0.5]"]
    if word in {"$any", "$unordered"} and not isinstance(inner, list):
        return [f"{word!r} takes a list"]
    if word == "$with" and not isinstance(inner, Mapping):
        return ["'$with' takes a mapping"]
    if word == "$type" and inner not in TYPES:
        return [f"'$type' takes one of {', '.join(TYPES)}"]
    if word == "$regex":
        try:
            re.compile(str(inner))
        except re.error as error:
            return [f"'$regex' is no pattern: {error}"]
    return []
