"""Numbers out of a GGUF header, checked: what is missing or absurd is said in a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpumod.estimate.errors import ModelFileError
from gpumod.estimate.gguf.header import GgufHeader, SkippedArray

_LARGEST: Final = 1 << 40
"""No dimension of a model comes near; what is larger is not what the writer meant."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """The typed view of a header's metadata, under its architecture's name."""

    header: GgufHeader

    def number(self, key: str, default: int | None = None) -> int:
        """A whole number, or `default`.

        Raises:
            ModelFileError: it is missing and there is no default, or it is no sensible number.
        """
        value = self.header.value(key)
        if value is None:
            if default is None:
                raise self.broken(key, "is missing")
            return default
        return self._whole(key, value)

    def numbers(self, key: str, length: int, default: int | None = None) -> tuple[int, ...]:
        """One whole number per layer: the file has an array, or one number for all.

        Raises:
            ModelFileError: as `number`, or the array is shorter than the layers are many.
        """
        value = self.header.value(key)
        if not isinstance(value, tuple):
            return (self.number(key, default),) * length
        if len(value) < length:
            raise self.broken(key, f"has {len(value)} entries for {length} layers")
        return tuple(self._whole(key, one) for one in value[:length])

    def pattern(self, key: str, length: int) -> tuple[bool, ...] | None:
        """One flag per layer; None where the file has no array there."""
        value = self.header.value(key)
        if not isinstance(value, tuple):
            return None
        if len(value) < length:
            raise self.broken(key, f"has {len(value)} entries for {length} layers")
        return tuple(bool(one) for one in value[:length])

    def flag(self, key: str, *, default: bool) -> bool:
        """A yes or no."""
        value = self.header.value(key)
        return value if isinstance(value, bool) else default

    def broken(self, key: str, wrong: str) -> ModelFileError:
        """The error about a key of this file."""
        name = f"{self.header.architecture}.{key}"
        return ModelFileError(f"{self.header.path}: {name} {wrong}: the file is damaged, get it again")

    def _whole(self, key: str, value: object) -> int:
        if isinstance(value, SkippedArray | tuple):
            raise self.broken(key, "is a list where one number is expected")
        if not isinstance(value, int) or not 0 <= value <= _LARGEST:
            raise self.broken(key, f"is {value!r:.40}, which is no sensible number")
        return int(value)
