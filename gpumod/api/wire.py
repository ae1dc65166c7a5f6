"""Core values as JSON, with values of environment variables left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

HIDDEN: Final = "***"
"""Stands for the value of an environment variable: those may be secrets."""


def encode(value: object) -> Any:
    """A core value as JSON-compatible data, the values of `env` hidden."""
    return _hide(to_jsonable_python(value))


def dumps(value: object) -> bytes:
    """A core value as JSON. Numbers that JSON does not have become null.

    A process may have any bytes as its name, so what is not text is replaced rather than an error.
    """
    encoded = encode(value)
    try:
        return to_json(encoded, inf_nan_mode="null")
    except PydanticSerializationError:
        return to_json(_cleaned(encoded), inf_nan_mode="null")


def clean(text: str) -> str:
    """Text that can be written as UTF-8: a lone surrogate from a request's JSON cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _cleaned(value: Any) -> Any:
    if isinstance(value, dict):
        return {clean(str(key)): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    return clean(value) if isinstance(value, str) else value


def _hide(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _names(item) if key == "env" else _hide(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_hide(item) for item in value]
    return value


def _names(env: Any) -> Any:
    """Names without values, in the shape that was given: pairs or a mapping."""
    if isinstance(env, Mapping):
        return dict.fromkeys(env, HIDDEN)
    if isinstance(env, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in env):
        return [[name, HIDDEN] for name, _ in env]
    return HIDDEN
