"""What differs between two command lines, flag by flag."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

NAMES: Final[Mapping[str, str]] = {
    "-m": "--model", "-hf": "--hf-repo", "-c": "--ctx-size", "-np": "--parallel",
    "-ctk": "--cache-type-k", "-ctv": "--cache-type-v", "-ngl": "--n-gpu-layers",
    "--gpu-layers": "--n-gpu-layers", "-fa": "--flash-attn", "-b": "--batch-size", "-ub": "--ubatch-size",
    "-t": "--threads", "-a": "--alias", "-mm": "--mmproj", "-md": "--model-draft",
    "-tp": "--tensor-parallel-size", "-ts": "--tensor-split", "-sm": "--split-mode", "-mg": "--main-gpu",
}  # fmt: skip
"""Short flags by their long names; llama.cpp's `common/arg.cpp` and vLLM's engine arguments."""
_NO_SETTING: Final = frozenset(
    {"--host", "--port", "--alias", "--served-model-name", "--api-key", "--log-file", "--slot-save-path"}
)
"""Where the server listens and what it calls itself: no reason for another number."""
_NUMBER: Final = re.compile(r"-?[0-9.]+")
POSITIONAL: Final = "argument"


def flags_of(argv: Sequence[str], files: Iterable[str] = ()) -> dict[str, str]:
    """The flags of a command line by their long names, without what is no setting.

    Paths become their last part; those of recorded files become `FILE`, since files are compared as such.
    """
    known = frozenset(files)
    found: dict[str, list[str]] = {}
    name = POSITIONAL
    for token in argv[1:]:
        if token.startswith("-") and not _NUMBER.fullmatch(token):
            flag, equals, value = token.partition("=")
            name = NAMES.get(flag, flag)
            found.setdefault(name, [])
            if equals:
                found[name].append(_plain(value, known))
        else:
            found.setdefault(name, []).append(_plain(token, known))
    return {name: " ".join(values) or "on" for name, values in found.items() if name not in _NO_SETTING}


def _plain(value: str, files: frozenset[str]) -> str:
    if not value.startswith("/"):
        return value
    if any(file == value or file.startswith(value.rstrip("/") + "/") for file in files):
        return "FILE"
    return PurePosixPath(value).name
