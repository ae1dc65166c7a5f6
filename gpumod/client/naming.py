"""Names as they are sent: what cannot be a name is not asked for."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from gpumod.core.errors import InvalidRequestError, NotFoundError
from gpumod.core.names import NAME_PATTERN

_NAME: Final = re.compile(NAME_PATTERN)


def name(text: str, kind: str) -> str:
    """The name itself.

    Args:
        text: what somebody gave as a name.
        kind: what it names, for the sentence: `mode`, `job`.

    Raises:
        NotFoundError: nothing can be called so.
        InvalidRequestError: it is no text in UTF-8, as arguments of a command line may be.
    """
    if not text.isascii():
        _check_text(text)
    if not _NAME.fullmatch(text):
        raise NotFoundError(f"no {kind} is called {text!r}", {"name": text})
    return text


def segment(text: str, kind: str) -> str:
    """A name as one segment of a path.

    Raises:
        NotFoundError: nothing can be called so.
        InvalidRequestError: it is no text in UTF-8.
    """
    return quote(name(text, kind), safe="")


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(f"{text!r} is no text in UTF-8") from error
