"""Splits a shell command line into words and operators, without running anything.

POSIX Shell Command Language, 2.2 (quoting) and 2.3 (tokens), as far as one-line commands need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ACTIVE: Final = "\ue000"
"""Stands before a character that the shell would act upon: an unquoted `*`, a `$` outside single quotes."""

_OPERATORS: Final = ("2>&1", "2>>", "&>>", "&&", "||", ">>", "&>", "2>", ">", "<", "|", ";", "&")
_GLOBS: Final = "*?["
_IN_DOUBLE: Final = '"\\$`'


@dataclass(frozen=True, slots=True)
class Operator:
    """A word of the shell's own: a pipe, a redirection, a separator."""

    text: str


class ShellSyntaxError(ValueError):
    """The line is not one that a shell would take; the message says why."""


def tokens(line: str) -> list[str | Operator]:
    """Words without their quotes, and operators.

    Raises:
        ShellSyntaxError: a quote is not closed, or the line ends with a backslash.
    """
    found: list[str | Operator] = []
    at, word, begun = 0, "", False
    while at < len(line):
        char = line[at]
        if char in " \t\n":
            if begun:
                found.append(word)
            at, word, begun = at + 1, "", False
            continue
        operator = _operator(line, at, begun=begun)
        if operator:
            if begun:
                found.append(word)
            found.append(Operator(operator))
            at, word, begun = at + len(operator), "", False
            continue
        if char == "#" and not begun:
            break
        piece, at = _piece(line, at)
        word, begun = word + piece, True
    if begun:
        found.append(word)
    return found


def _operator(line: str, at: int, *, begun: bool) -> str:
    for operator in _OPERATORS:
        # A digit belongs to a redirection only where it begins a word: `file2>x` writes file2's output.
        if line.startswith(operator, at) and not (begun and operator[0] == "2"):
            return operator
    return ""


def _piece(line: str, at: int) -> tuple[str, int]:
    """What stands at a place within a word, and where the next piece begins."""
    char = line[at]
    if char == "'":
        end = line.find("'", at + 1)
        if end < 0:
            raise ShellSyntaxError("a single quote is not closed")
        return line[at + 1 : end], end + 1
    if char == '"':
        return _double(line, at + 1)
    if char == "\\":
        if at + 1 >= len(line):
            raise ShellSyntaxError("the line ends with a backslash")
        return "" if line[at + 1] == "\n" else line[at + 1], at + 2
    if char == "$" and at + 1 < len(line) and line[at + 1] == "(":
        return _substitution(line, at)
    if char in _GLOBS or char in "$`":
        return ACTIVE + char, at + 1
    return char, at + 1


def _double(line: str, at: int) -> tuple[str, int]:
    inside = ""
    while at < len(line):
        char = line[at]
        if char == '"':
            return inside, at + 1
        if char == "\\" and at + 1 < len(line) and line[at + 1] in _IN_DOUBLE:
            inside, at = inside + line[at + 1], at + 2
        elif char in "$`":
            inside, at = inside + ACTIVE + char, at + 1
        else:
            inside, at = inside + char, at + 1
    raise ShellSyntaxError("a double quote is not closed")


def _substitution(line: str, at: int) -> tuple[str, int]:
    """`$(...)` as one piece of a word, its blanks made single."""
    depth = 0
    for end in range(at + 1, len(line)):
        depth += {"(": 1, ")": -1}.get(line[end], 0)
        if depth == 0:
            return ACTIVE + "$(" + " ".join(line[at + 2 : end].split()) + ")", end + 1
    raise ShellSyntaxError("a $( is not closed")
