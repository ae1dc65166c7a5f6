"""Reads recipes: what is wrong with one is said with file, line and key, all of it at once."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from gpumod.bench.formulas import Formula
from gpumod.bench.suites.exec.options import option_value
from gpumod.bench.suites.exec.recipe_file import PLACES, MetricFile, RecipeFile, placeholders
from gpumod.config.documents import Document, DocumentError, Location, parse_document, read_text
from gpumod.config.problems import (
    Finding,
    close_to,
    config_error,
    findings_of,
    known_keys,
    located,
    problem_at,
)
from gpumod.core.errors import InvalidRequestError
from gpumod.core.spec import Problem

SHIPPED: Final = Path(__file__).resolve().parent / "recipes"
_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe and the hash of its file."""

    file: RecipeFile
    digest: str

    @property
    def name(self) -> str:
        """Its name with the hash: what a job's parameters say once they are filled in."""
        return f"{self.file.recipe}@{self.digest[:_DIGITS]}"

    def formula(self, metric: str) -> str:
        """The formula id of one of its metrics, which has the recipe's version."""
        return f"exec.{self.file.recipe}.{metric}.v{self.file.version}"

    def metrics(self) -> Iterator[tuple[Formula, MetricFile]]:
        """Its metrics, each with its formula."""
        for source in self.file.results:
            for name, metric in source.metrics.items():
                better = metric.larger_is_better
                yield Formula(self.formula(name), metric.unit, metric.definition, better), metric


def recipes_with(own: Path | None) -> dict[str, Recipe]:
    """The recipes by name: those of a folder, and the shipped ones whose names it does not use.

    Raises:
        ConfigError: a file is wrong; `facts["problems"]` has all that is wrong with any of them.
    """
    found = dict(shipped_recipes())
    if own is not None:
        found |= _as_seen(tuple(map(_identity, sorted(own.glob("*.yaml")))))
    return found


def chosen(asked: object, recipes: Mapping[str, Recipe]) -> Recipe:
    """The recipe of this name, with or without a hash.

    Raises:
        InvalidRequestError: there is none, or it has another hash.
    """
    if not isinstance(asked, str):
        raise InvalidRequestError(f"recipe must be a name, not {asked!r}: there are {', '.join(recipes)}")
    name, _, digest = asked.partition("@")
    if name not in recipes:
        hint = close_to(name, recipes)
        raise InvalidRequestError(
            f"there is no recipe {name!r}: there are {', '.join(recipes)}{f' ({hint})' if hint else ''}"
        )
    if digest and not recipes[name].digest.startswith(digest):
        raise InvalidRequestError(f"the recipe {name!r} has changed since the job was submitted")
    return recipes[name]


@functools.cache
def shipped_recipes() -> Mapping[str, Recipe]:
    """The recipes that come with gpumod.

    Raises:
        ConfigError: the installation is damaged.
    """
    return _load(sorted(SHIPPED.glob("*.yaml")))


def _identity(path: Path) -> tuple[Path, int, int, int]:
    try:
        seen = path.stat()
    except OSError:  # reading it says what is wrong
        return path, 0, 0, 0
    return path, seen.st_ino, seen.st_size, seen.st_mtime_ns


@functools.lru_cache(maxsize=4)
def _as_seen(seen: tuple[tuple[Path, int, int, int], ...]) -> Mapping[str, Recipe]:
    """The files as they were when these numbers were read: unchanged ones are not read again."""
    return _load([one[0] for one in seen])


def _load(paths: list[Path]) -> dict[str, Recipe]:
    found: dict[str, Recipe] = {}
    problems: list[Problem] = []
    for path in paths:
        recipe, wrong = read_recipe(path)
        problems += wrong
        if recipe is not None:
            found[recipe.file.recipe] = recipe
    if problems:
        raise config_error(problems)
    return found


def read_recipe(path: Path) -> tuple[Recipe | None, list[Problem]]:
    """The recipe of a file, and everything that is wrong with it. With problems there is no recipe."""
    try:
        text = read_text(path)
        document = parse_document(text, str(path))
    except DocumentError as unreadable:
        return None, [unreadable.problem]
    try:
        file = RecipeFile.model_validate(document.value)
    except ValidationError as error:
        found = findings_of(error, document.value, keys=known_keys(RecipeFile))
        return None, [located(document, _of_the_key(one)) for one in found]
    problems = list(_problems(document, file, path.stem))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return (None, problems) if problems else (Recipe(file, digest), [])


def _of_the_key(finding: Finding) -> Finding:
    """A finding about a key itself: pydantic's own word for that is no step of the document."""
    return (
        replace(finding, location=finding.location[:-1]) if finding.location[-1:] == ("[key]",) else finding
    )


def _problems(document: Document, file: RecipeFile, stem: str) -> Iterator[Problem]:
    """What no single value shows to be wrong."""
    if file.recipe != stem:
        yield problem_at(document, ("recipe",), f"must be the file's name, {stem!r}, not {file.recipe!r}")
    yield from _option_problems(document, file)
    known = PLACES | file.options.keys()
    for location, text in _texts(file):
        for name in placeholders(text):
            if name not in known:
                hint = close_to(name, known)
                yield problem_at(document, location, f"there is no option or value {{{name}}}", hint)
    if isinstance(file.argv[0], list) or placeholders(file.argv[0]):
        yield problem_at(document, ("argv", 0), "must be the program, as one word without a placeholder")
    for index, word in enumerate(file.version_argv):
        if placeholders(word):
            yield problem_at(document, ("version_argv", index), "has no placeholders")
    seen: set[str] = set()
    for place, source in enumerate(file.results):
        for name in source.metrics:
            if name in seen:
                at: Location = ("results", place, "metrics", name)
                yield problem_at(document, at, f"there is a metric {name!r} before this one")
            seen.add(name)


def _option_problems(document: Document, file: RecipeFile) -> Iterator[Problem]:
    for name, option in file.options.items():
        at: Location = ("options", name)
        if name in PLACES:
            yield problem_at(document, at, f"{name!r} is a value of the target, and cannot be an option")
        if option.default is not None:
            try:
                option_value(name, option, option.default)
            except InvalidRequestError as error:
                yield problem_at(document, (*at, "default"), error.detail)


def _texts(file: RecipeFile) -> Iterator[tuple[Location, str]]:
    """Every text that may have placeholders."""
    for index, word in enumerate(file.argv):
        if isinstance(word, list):
            yield from ((("argv", index, inner), one) for inner, one in enumerate(word))
        else:
            yield ("argv", index), word
    for name, value in file.env.items():
        yield ("env", name), value
