"""Secrets that a user put into a command line or an address, left out of what is handed on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

HIDDEN: Final = "***"
_COMMANDS: Final = frozenset({"argv", "command", "args"})
_SECRET: Final = frozenset(
    {"key", "apikey", "token", "secret", "password", "passwd", "passphrase", "credential", "credentials"}
)
_SECRET_FLAGS: Final = frozenset({"-hft"})
"""llama.cpp's short form of --hf-token (common/arg.cpp)."""
_VARIABLE: Final = re.compile(r"[A-Z][A-Z0-9_]*")
_ENVIRONMENT: Final = frozenset({"-e", "--env"})
_IN_TEXT: Final = re.compile(
    r"(?<=://)[^/\s@]+(?=@)"  # user and password of an address
    r"|\b(?:hf_|sk-|ghp_|github_pat_|xox[abp]-)[A-Za-z0-9_-]{16,}"  # tokens by their well-known beginnings
    r"|(?<=Bearer )\S+"
)
_SIGNS: Final = ("://", "hf_", "sk-", "ghp_", "github_pat_", "xox", "Bearer ")
"""One of these is in every text that `_IN_TEXT` finds something in."""


def redacted(value: object) -> object:
    """JSON values without secrets: command lines by argument, other texts by what tokens look like."""
    if isinstance(value, Mapping):
        return {str(key): _member(str(key), one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(one) for one in value]
    return _text(value) if isinstance(value, str) else value


def argv(arguments: Iterable[object]) -> list[str]:
    """A command line without secrets.

    Hidden is what follows a flag or a variable whose last word is `key`, `token`, `password` and the like,
    or stands behind its `=`, and every value of an environment variable that is given with `-e` or `--env`.
    """
    found: list[str] = []
    before = ""
    for argument in map(str, arguments):
        found.append(_argument(argument, before))
        before = argument
    return found


def _member(key: str, value: object) -> object:
    if key == "env":
        return HIDDEN
    if key in _COMMANDS and isinstance(value, Sequence) and not isinstance(value, str):
        return argv(value)
    return redacted(value)


def _argument(argument: str, before: str) -> str:
    name, equals, value = argument.partition("=")
    if before in _ENVIRONMENT and equals:
        return f"{name}={HIDDEN}"
    if name == "--env" and equals:
        return f"{name}={value.partition('=')[0]}={HIDDEN}"
    if before.startswith("-") and _is_secret(before) and not argument.startswith("--"):
        return HIDDEN
    if equals and _is_secret(name):
        return f"{name}={HIDDEN}"
    return _text(argument)


def _is_secret(flag: str) -> bool:
    if flag in _SECRET_FLAGS:
        return True
    words = re.split(r"[-_]", flag.lower())
    named = flag.startswith("--") or _VARIABLE.fullmatch(flag) is not None
    return named and words[-1] in _SECRET


def _text(text: str) -> str:
    # Answers are long and there are many: most have none of these, which is found quickly.
    return _IN_TEXT.sub(HIDDEN, text) if any(one in text for one in _SIGNS) else text
