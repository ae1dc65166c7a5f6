"""The status page: one file, and the policy that lets only its own script and style run."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Final


def _sources(tag: str, page: str) -> str:
    inline = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in inline)
    return " ".join(f"'sha256-{one}'" for one in hashes)


PAGE: Final = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        f"script-src {_sources('script', PAGE)}",
        f"style-src {_sources('style', PAGE)}",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
