"""What a suite is, as one number."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

_SHARED: Final = ("_common", "speed/numbers.py")
"""What the suites that use this folder are made of beside their own: these decide on their numbers too."""


@cache
def content_hash(folder: Path) -> str:
    """SHA-256 over the sources of a suite's folder and of what it shares with others."""
    suites = Path(__file__).resolve().parents[1]
    places = [folder, *(suites / one for one in _SHARED)]
    files = [one for place in places for one in (place.glob("*.py") if place.is_dir() else (place,))]
    digest = hashlib.sha256()
    for path in sorted(files):
        content = path.read_bytes()
        name = path.relative_to(suites).as_posix()
        digest.update(f"{name}\n{len(content)}\n".encode() + content)
    return digest.hexdigest()
