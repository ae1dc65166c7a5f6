"""JSON of model folders, read within bounds: what is in it comes from strangers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn

from gpumod.estimate.errors import ModelFileError
from gpumod.estimate.regular import open_regular

LARGEST_CONFIG: Final = 4 * 1024**2
"""Bytes of a config.json; real ones have a few thousand, those that list every quantised layer a million."""

_LARGEST: Final = 2**53


class Values:
    """Numbers, words and lists of one JSON object, each checked as it is asked for.

    Args:
        source: the file, for the sentences of errors.
        data: the object.

    A value of a wrong type or out of its range raises `ModelFileError`; null is as if it were not there.
    """

    def __init__(self, source: str, data: Mapping[str, object]) -> None:
        self.source = source
        self.data = data

    def has(self, key: str) -> bool:
        """Whether the key has a value other than null."""
        return self.data.get(key) is not None

    def whole(self, *keys: str, least: int = 0, most: int = 2**31) -> int | None:
        """The first of the keys that has a value, as a whole number; None where none has."""
        for key in keys:
            value = self.data.get(key)
            if value is None:
                continue
            number = _number(value)
            if number is None or number != math.floor(number) or not least <= number <= most:
                raise self.wrong(key, value, f"a whole number from {least} to {most}")
            return int(number)
        return None

    def number(self, key: str, *, least: float = 0.0, most: float = 1e9) -> float | None:
        """A finite number; None where there is none."""
        value = self.data.get(key)
        if value is None:
            return None
        number = _number(value)
        if number is None or not least <= number <= most:
            raise self.wrong(key, value, f"a number from {least:g} to {most:g}")
        return float(number)

    def word(self, *keys: str) -> str | None:
        """The first of the keys that has a value, as text."""
        for key in keys:
            value = self.data.get(key)
            if value is None:
                continue
            if not isinstance(value, str):
                raise self.wrong(key, value, "text")
            return value
        return None

    def flag(self, key: str, *, default: bool = False) -> bool:
        """A value that is true or false."""
        value = self.data.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(key, value, "true or false")
        return value

    def listed(self, key: str, *, most: int = 4096) -> tuple[object, ...]:
        """The entries of a list; none where there is no list."""
        value = self.data.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or len(value) > most:
            raise self.wrong(key, value, f"a list of at most {most} entries")
        return tuple(value)

    def wholes(self, key: str, *, most: int = 2**31) -> tuple[int, ...]:
        """A list of whole numbers, or one of them as a list of one."""
        value = self.data.get(key)
        entries = self.listed(key) if isinstance(value, list) else (() if value is None else (value,))
        found = []
        for entry in entries:
            number = _number(entry)
            if number is None or number != math.floor(number) or not 0 <= number <= most:
                raise self.wrong(key, value, f"a list of whole numbers up to {most}")
            found.append(int(number))
        return tuple(found)

    def inner(self, *keys: str) -> Values | None:
        """The first of the keys that has an object."""
        for key in keys:
            value = self.data.get(key)
            if isinstance(value, dict):
                return Values(self.source, value)
        return None

    def wrong(self, key: str, value: object, expected: str) -> ModelFileError:
        """The error of a value that no formula here knows what to do with; its engine may."""
        text = repr(value) if not isinstance(value, (dict, list)) else f"a {type(value).__name__}"
        return ModelFileError(
            f"{self.source}: `{key}` is {text[:60]}, not {expected}: gpumod does not know such a model, and "
            "cannot tell its memory",
            broken=False,
        )


def parse(source: str, text: bytes) -> Values:
    """A JSON object of a file.

    Raises:
        ModelFileError: no JSON, no object, nested too deeply, or numbers of thousands of digits.
    """
    try:
        data = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(
            f"{source}: this is not JSON ({str(error)[:80]}): download the file again"
        ) from None
    if not isinstance(data, dict):
        raise ModelFileError(f"{source}: there is a {type(data).__name__} in place of an object")
    return Values(source, data)


def load(path: Path, largest: int = LARGEST_CONFIG) -> Values:
    """A JSON object from a file of at most `largest` bytes.

    Raises:
        ModelFileError: the file is missing, cannot be read, is too large or not what it should be.
    """
    try:
        with open_regular(path) as file:
            text = file.read(largest + 1)
    except OSError as error:
        raise ModelFileError(f"{path}: {error.strerror or error}: check the preset's `model`") from None
    if len(text) > largest:
        raise ModelFileError(f"{path}: it is larger than {largest} bytes, which no such file is")
    return parse(str(path), text)


def _number(value: object) -> int | float | None:
    """A finite number of a size that arithmetic can work with; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if abs(value) <= _LARGEST else None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")
