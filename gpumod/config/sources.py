"""Finds and reads preset and mode files: the user's, and shipped ones by name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, cast

from gpumod import resources
from gpumod.config.documents import Document, DocumentError, parse_document, read_text
from gpumod.config.fields import ID_PATTERN
from gpumod.config.problems import problem_at
from gpumod.config.variables import Variables, expand
from gpumod.core.spec import Problem

MOST_FILES: Final = 2000

Kind = Literal["presets", "modes"]
"""The two folders of files."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file, read and expanded. `value` is empty where it could not be read."""

    id: str
    """The `id:` in it; where that is unusable, the file's name."""
    document: Document
    problems: tuple[Problem, ...] = ()

    @property
    def value(self) -> dict[str, Any]:
        """What the file says."""
        return cast("dict[str, Any]", self.document.value)

    @property
    def sound(self) -> bool:
        """Whether nothing was wrong so far."""
        return all(problem.warning for problem in self.problems)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads files. `texts` stands in for files on disk: a change that is not written yet."""

    variables: Variables
    texts: Mapping[Path, str] = field(default_factory=dict)

    def users(self, folder: Path) -> tuple[tuple[Source, ...], tuple[Problem, ...]]:
        """Every YAML file below a folder of the user's, and what is wrong with the folder itself."""
        problems: list[Problem] = []
        found = list(_yaml_files(folder, problems))
        found += [path for path in self.texts if path.is_relative_to(folder) and path not in found]
        if len(found) > MOST_FILES:
            problems.append(
                Problem(str(folder), f"has more than {MOST_FILES} files; the others are not read")
            )
        return tuple(self.source(path) for path in sorted(found)[:MOST_FILES]), tuple(problems)

    def source(self, path: Path) -> Source:
        """Read one file; what is wrong with it is in the answer."""
        try:
            text = self.texts[path] if path in self.texts else read_text(path)
            document = parse_document(text, str(path))
        except DocumentError as error:
            return Source(path.stem, Document(str(path), {}), (error.problem,))
        if not isinstance(document.value, dict):
            problem = problem_at(document, (), "must be a mapping")
            return Source(path.stem, Document(str(path), {}, document.lines), (problem,))
        expanded, problems = expand(document, self.variables)
        given = cast("dict[str, Any]", expanded.value).get("id")
        usable = isinstance(given, str) and re.fullmatch(ID_PATTERN, given)
        return Source(given if usable and given else path.stem, expanded, tuple(problems))


def shipped_files(kind: Kind) -> dict[str, Path]:
    """Files that come with gpumod, by id: each is named after the id in it."""
    problems: list[Problem] = []
    return {path.stem: path for path in _yaml_files(resources.shipped(kind), problems)}


def _yaml_files(folder: Path, problems: list[Problem]) -> Iterator[Path]:
    def failed(error: OSError) -> None:
        # A folder that is not there has no files.
        if not isinstance(error, FileNotFoundError):
            problems.append(Problem(error.filename or str(folder), f"cannot be read: {error.strerror}"))

    seen = set()
    for place, folders, files in os.walk(folder, onerror=failed, followlinks=True):
        identity = os.path.realpath(place)
        if identity in seen:
            # A link to a folder that was walked already, perhaps to one above.
            folders.clear()
            continue
        seen.add(identity)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.endswith((".yaml", ".yml")) and not name.startswith("."):
                yield Path(place, name)
