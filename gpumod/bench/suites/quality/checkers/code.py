"""Checkers of single lines of code: a command line, a Python statement. Nothing is executed."""

from __future__ import annotations

import ast
import re
import warnings
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from gpumod.bench.suites.quality.answer import Answer, labelled, unfenced
from gpumod.bench.suites.quality.checkers.base import Rule, shortened
from gpumod.bench.suites.quality.checkers.commands import normal
from gpumod.bench.suites.quality.checkers.shell import ShellSyntaxError

_OPENERS: Final = re.compile(r"^(if|elif|while|for|with|def|else|try|except|finally|class)\b.*:$", re.DOTALL)


def _line(text: str) -> str:
    try:
        normal(text)
    except ShellSyntaxError as error:
        raise ValueError(f"is no command line: {error}") from error
    return text


class Command(Rule):
    """The answer is one command line that does the same as one of these.

    Options in another order, joined or apart, long or short, and quotes of another kind are the same.

    Args:
        accept: what is right.
    """

    accept: list[Annotated[str, AfterValidator(_line)]] = Field(min_length=1)

    def complaint(self, answer: Answer) -> str | None:
        text = unfenced(answer.text).replace("\\\n", " ").strip()
        if text.startswith("`") and text.endswith("`") and text.count("`") == 2:
            text = text.strip("`")
        lines = [line for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
        if len(lines) != 1:
            return f"{len(lines)} lines, not one command line"
        try:
            given = normal(lines[0])
        except ShellSyntaxError as error:
            return f"it is no command line: {error}"
        if given in [normal(one) for one in self.accept]:
            return None
        return f"it is {shortened(lines[0])}, which is not taken as the same as {self.accept[0]!r}"


def parsed(line: str) -> str | None:
    """A line of Python in a form in which equal ones are equal; None if it is none."""
    text = line.strip().strip("`").strip()
    if _OPENERS.match(text):
        text += " pass"
    if re.match(r"(elif|else|except|finally)\b", text):
        prefix = "try: pass\n" if text.startswith(("except", "finally")) else "if _: pass\n"
        text = prefix + text
    for before in ("", "def _():\n ", "async def _():\n "):
        try:
            with warnings.catch_warnings(action="ignore"):
                return ast.dump(ast.parse(before + text.replace("\n", "\n ") if before else text))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return None


def _python(text: str) -> str:
    if parsed(text) is None:
        raise ValueError("is no line of Python")
    return text


class Python(Rule):
    """A line of Python that means the same as one of these, by its syntax tree.

    Args:
        accept: what is right.
        label: what stands before it, as in `Text`.
    """

    accept: list[Annotated[str, AfterValidator(_python)]] = Field(min_length=1)
    label: str | None = None

    def complaint(self, answer: Answer) -> str | None:
        given = labelled(answer.text, self.label)
        if given is None:
            return f"there is no line {self.label}: ..."
        line = unfenced(given)
        tree = parsed(line)
        if tree is None:
            return f"{shortened(line)} is no line of Python"
        if tree in [parsed(one) for one in self.accept]:
            return None
        return f"{shortened(line)} does not mean {self.accept[0]!r}"
