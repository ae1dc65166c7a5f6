"""Finds the code in an answer."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

_FENCE: Final = re.compile(r"^ {0,3}(?P<marks>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*)$")
_PYTHON: Final = frozenset({"", "python", "python3", "py", "py3"})
_THOUGHT: Final = re.compile(r"<(think|thinking|reasoning)>.*?(</\1>|\Z)", re.DOTALL)
_BEGINNING: Final = re.compile(r"^(from|import|class|def|@|async def)\b|^@", re.MULTILINE)


def extract_code(answer: str, names: Collection[str]) -> str | None:
    """The module in an answer; None where there is no code.

    Of several blocks it is the last that defines every wanted name; else the last that defines one; else the
    longest. An answer without any fence is code itself if it defines one of the names.

    Args:
        answer: what the model said; a thought in tags is no part of it.
        names: classes or functions that the module has to define.
    """
    text = _THOUGHT.sub("", answer)
    if "</think>" in text:  # some templates open the thought in the prompt
        text = text.rpartition("</think>")[2]
    blocks = [block for language, block in _blocks(text) if language in _PYTHON and block.strip()]
    if not blocks:
        whole = "```" not in text and _BEGINNING.search(text) and _defined(text, names)
        return text.strip() + "\n" if whole else None
    most = max(_defined(block, names) for block in blocks)
    if most == 0:
        return max(blocks, key=len)
    return [block for block in blocks if _defined(block, names) == most][-1]


def _defined(code: str, names: Collection[str]) -> int:
    return sum(
        re.search(rf"^(class|def|async def)\s+{name}\b|^{name}\s*=", code, re.MULTILINE) is not None
        for name in names
    )


def _blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of every fenced block (CommonMark 4.5); the text's end closes one too."""
    found = []
    lines = iter(text.splitlines())
    for line in lines:
        if opening := _FENCE.match(line):
            marks = opening["marks"]
            indent = len(line) - len(line.lstrip(" "))
            info = opening["info"].strip().lower().split()
            closing = re.compile(rf"^ {{0,3}}{marks[0]}{{{len(marks)},}}[ \t]*$")
            content = []
            for inner in lines:
                if closing.match(inner):
                    break
                content.append(inner[min(indent, len(inner) - len(inner.lstrip(" "))) :])
            language = re.split(r"[^a-z0-9+#]", info[0].strip("{."))[0] if info else ""
            found.append((language, "\n".join(content) + "\n"))
    return found
