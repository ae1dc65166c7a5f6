"""Which files init wrote, and whether anybody changed them since. Pure.

The first line has a digest of the rest: a file that was edited, by hand or by `mode set`, is the user's own.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

_LINE: Final = re.compile(r"# Written by `gpumodctl init` \(([0-9a-f]{12})\)[^\n]*\n")
_DIGITS: Final = 12


def marked(body: str) -> str:
    """A text under the line that says who wrote it."""
    told = "`init --force` replaces it only while it is unchanged."
    return f"# Written by `gpumodctl init` ({_digest(body)}): {told}\n{body}"


def is_ours(text: str) -> bool:
    """Whether init wrote all of this and nothing has been changed."""
    match = _LINE.match(text)
    return match is not None and match[1] == _digest(text[match.end() :])


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:_DIGITS]
