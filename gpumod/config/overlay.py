"""Lays one mapping over another."""

from __future__ import annotations

from collections.abc import Mapping


def laid_over(below: Mapping[str, object], above: Mapping[str, object]) -> dict[str, object]:
    """`below` with `above` on it, as a JSON merge patch (RFC 7396).

    Mappings are merged key by key, null takes a key away, anything else replaces what was there.
    """
    result = dict(below)
    for key, value in above.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            present = result.get(key)
            result[key] = laid_over(present if isinstance(present, dict) else {}, value)
        else:
            result[key] = value
    return result
