"""Keys and what they permit. Only hashes of keys are kept; a key itself is never stored or logged."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable


class Scope(StrEnum):
    """What a key is for."""

    INFER = "infer"
    """Send requests to models."""
    READ = "read"
    """See the box: status, logs, events, metrics."""
    CONTROL = "control"
    """Change the box; includes `read`."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is kept: its name, the SHA-256 of its text, and its scopes."""

    name: str
    digest: bytes
    scopes: frozenset[Scope]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who sends a request. The name stands in records of what was done."""

    name: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """Whether the principal has a scope."""
        return scope in self.scopes or (scope is Scope.READ and Scope.CONTROL in self.scopes)


_EVERYTHING: Final = frozenset(Scope)
SOCKET: Final = Principal("socket", _EVERYTHING)
"""Whoever the file mode of the Unix socket lets in."""
LOCAL: Final = Principal("local", _EVERYTHING)
"""Anybody on this machine, while no keys are configured."""
ANYBODY: Final = Principal("anybody", frozenset())
"""A caller without a key, of what needs none."""


def digest(text: str) -> bytes:
    """The SHA-256 of a key's text.

    Keys are long and random, so a fast hash is enough: there is nothing to guess.
    """
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def new_key() -> str:
    """A new key: 256 random bits."""
    return f"gm_{secrets.token_urlsafe(32)}"


def identify(presented: str, keys: Iterable[Key]) -> Key | None:
    """The key that was presented. Takes equally long wherever the match is."""
    wanted = digest(presented)
    found: Key | None = None
    for key in keys:
        if hmac.compare_digest(wanted, key.digest):
            found = key
    return found
