"""`${VAR}` in files: from `vars:` in config.yaml first, then from the environment."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from gpumod.config.documents import Document, Location
from gpumod.config.problems import problem_at
from gpumod.core.spec import Problem

_REFERENCE: Final = re.compile(r"\$(\$)?\{([^{}]{0,128})\}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST: Final = 64 * 1024
LATER: Final = frozenset({"PORT"})
"""Left as they are: known only when the service starts."""


@dataclass(frozen=True, slots=True)
class Variables:
    """Values for `${VAR}`; `own` comes before `environment`."""

    own: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    def get(self, name: str) -> str | None:
        """The value of a variable, None when it has none."""
        return self.own.get(name, self.environment.get(name))

    def with_own(self, name: str, value: str) -> Variables:
        """These and one more of one's own."""
        return Variables({**self.own, name: value}, self.environment)


def expand(document: Document, variables: Variables) -> tuple[Document, list[Problem]]:
    """The document with every `${VAR}` in its values replaced, and those that have no value.

    `$${VAR}` stands for a literal `${VAR}`. `${PORT}` stays: the service's port is not known yet.
    Keys are never expanded.
    """
    expansion = _Expansion(document, variables)
    value = expansion.value(document.value, ())
    return Document(document.file, value, document.lines), expansion.problems


def resolve_own(document: Document, environment: Mapping[str, str]) -> tuple[Variables, list[Problem]]:
    """The `vars:` of config.yaml, each of which may use the environment and those above it.

    Entries of another kind are left to the check of the file's structure.
    """
    value = document.value
    listed = value.get("vars") if isinstance(value, dict) else None
    variables = Variables({}, environment)
    problems: list[Problem] = []
    for name, text in listed.items() if isinstance(listed, dict) else ():
        if isinstance(text, int) and not isinstance(text, bool):
            variables = variables.with_own(name, str(text))
        elif isinstance(text, str):
            expansion = _Expansion(document, variables)
            variables = variables.with_own(name, expansion.text(text, ("vars", name)))
            problems += expansion.problems
    return variables, problems


class _Expansion:
    def __init__(self, document: Document, variables: Variables) -> None:
        self._document = document
        self._variables = variables
        self.problems: list[Problem] = []

    def value(self, value: object, location: Location) -> object:
        if isinstance(value, str):
            return self.text(value, location)
        if isinstance(value, list):
            return [self.value(one, (*location, index)) for index, one in enumerate(value)]
        if isinstance(value, dict):
            return {key: self.value(one, (*location, key)) for key, one in value.items()}
        return value

    def text(self, text: str, location: Location) -> str:
        def replacement(match: re.Match[str]) -> str:
            escaped, name = match.groups()
            if escaped:
                return match[0][1:]
            if name in LATER:
                return match[0]
            known = self._variables.get(name) if _NAME.fullmatch(name) else None
            if known is None:
                self._unresolved(name, location)
                return match[0]
            return known

        if "${" not in text:
            return text
        expanded = _REFERENCE.sub(replacement, text)
        if len(expanded) > _LONGEST:
            self.problems.append(
                problem_at(self._document, location, "is longer than 64 KiB after expansion")
            )
            return ""
        return expanded

    def _unresolved(self, name: str, location: Location) -> None:
        self.problems.append(
            problem_at(
                self._document,
                location,
                f"${{{name}}} has no value",
                _how_to_define(name, self._variables.own),
            )
        )


def _how_to_define(name: str, own: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(own), n=1)
    if close:
        return f"did you mean ${{{close[0]}}}?"
    if not _NAME.fullmatch(name):
        return "a variable's name has letters, digits and _ only; write $${...} for the characters themselves"
    return f"set {name} under `vars:` in config.yaml, or in the daemon's environment"
