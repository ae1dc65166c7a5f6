"""What somebody may have meant by a name that nothing has."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def hint(name: str, known: Iterable[str]) -> str:
    """The nearest of the known names as a question, or all of them where none is near."""
    there = sorted(set(known))
    close = get_close_matches(name, there, n=1)
    return f"did you mean {close[0]}?" if close else f"there are: {', '.join(there) or 'none'}"
