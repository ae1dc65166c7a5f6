"""What a harness printed or wrote, as numbers and as values by case. It is not trusted: all is bounded."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gpumod.bench.formulas import AT
from gpumod.bench.suites.exec.paths import Place, find, number_of, word_of
from gpumod.bench.suites.exec.recipe import Recipe
from gpumod.bench.suites.exec.recipe_file import MetricFile, SourceFile

MOST_FILES: Final = 5000
MOST_ITEMS: Final = 200_000
MOST_CASES: Final = 50_000
MOST_NUMBERS: Final = 500
LARGEST: Final = 64 * 1024 * 1024
LARGEST_IN_ALL: Final = 256 * 1024 * 1024
LONGEST_KEY: Final = 200


class OutputError(Exception):
    """What is there is not what the recipe says."""


@dataclass(slots=True)
class Found:
    """The numbers of one run.

    Args:
        numbers: by formula id, with the setting behind it.
        cases: values by case, by formula id.
        notes: what could not be read, or was too much.
        version: the harness's own, where its output has it.
        counted: how many values by case were taken.
    """

    numbers: dict[str, float] = field(default_factory=dict)
    cases: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    version: str = ""
    counted: int = 0

    def __bool__(self) -> bool:
        return bool(self.numbers or self.cases)

    def forget(self, formula: str) -> None:
        """Drop what there is under a formula, at any setting."""
        self.numbers = {key: one for key, one in self.numbers.items() if key.partition(AT)[0] != formula}
        self.cases = {key: one for key, one in self.cases.items() if key.partition(AT)[0] != formula}


def parse(recipe: Recipe, folder: Path, output: bytes) -> Found:
    """The numbers of a run whose files are in a folder. Blocking."""
    found = Found()
    for source in recipe.file.results:
        try:
            for name, document in _documents(source, folder, output):
                found.version = found.version or _version(source, document)
                for metric, file in source.metrics.items():
                    _take(found, recipe.formula(metric), file, document, name)
        except OutputError as error:
            # Half of a file would be another number under the same name.
            for metric in source.metrics:
                found.forget(recipe.formula(metric))
            found.notes.append(str(error))
    return found


def _version(source: SourceFile, document: object) -> str:
    """The harness's version as the first item has it."""
    first = next(_items(document, ""), Place(None))
    parts = [word_of(one.value) for path in source.version for one in find(first.value, path)]
    return " ".join(parts)[:LONGEST_KEY]


def _documents(source: SourceFile, folder: Path, output: bytes) -> Iterator[tuple[str, object]]:
    """Each text that the source has, as a document, with what `name` found."""
    if source.file is None:
        yield from _parts(source, output.decode(errors="replace"), "", "the standard output")
        return
    paths = sorted(_files(folder, source.file))
    if not paths:
        raise OutputError(f"there is no file {source.file}")
    left = LARGEST_IN_ALL
    for path in paths:
        content = _content(path, min(LARGEST, left))
        left -= len(content)
        shown = path.relative_to(folder).as_posix()
        match = re.search(source.name, shown) if source.name else None
        name = (match[1] or "") if match else ""
        yield from _parts(source, content.decode(errors="replace"), name, shown)


def _files(folder: Path, glob: str) -> list[Path]:
    found: list[Path] = []
    for path in folder.glob(glob):
        if len(found) >= MOST_FILES:
            raise OutputError(f"there are more than {MOST_FILES} files {glob}")
        # A link might lead anywhere.
        if path.resolve().is_relative_to(folder.resolve()):
            found.append(path)
    return found


def _content(path: Path, most: int) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OutputError(f"{path.name} is not a regular file")
            content = stream.read(most + 1)
    except OSError as error:
        raise OutputError(f"{path.name} cannot be read: {error.strerror}") from error
    if len(content) > most:
        raise OutputError(f"{path.name} is larger than {most} bytes, or all files together are too large")
    return content


def _parts(source: SourceFile, text: str, name: str, shown: str) -> Iterator[tuple[str, object]]:
    """A text as a document; lines of JSON are many, since all of them at once may be too much for memory."""
    if source.format != "jsonl":
        yield name, _document(source, text, shown)
        return
    for line in io.StringIO(text):
        if line.strip():
            yield name, _document(source, line, shown)


def _document(source: SourceFile, text: str, shown: str) -> object:
    try:
        if source.format in {"json", "jsonl"}:
            return json.loads(text)
        if source.format == "csv":
            return list(csv.DictReader(text.splitlines()))
    except (ValueError, RecursionError, csv.Error) as error:
        raise OutputError(f"{shown} is not {source.format}: {error}") from error
    matches = re.finditer(source.pattern or "", text)
    return [match.groupdict() for match, _ in zip(matches, range(MOST_ITEMS), strict=False)]


def _take(found: Found, formula: str, metric: MetricFile, document: object, name: str) -> None:
    """Add what one metric finds in one document."""
    for count, item in enumerate(_items(document, metric.each)):
        if count >= MOST_ITEMS:
            raise OutputError(f"there are more than {MOST_ITEMS} items for {formula}")
        if metric.only is not None and not re.fullmatch(metric.only, _words(["$key"], item, name)):
            continue
        if not all(_is(item.value, path, wanted) for path, wanted in metric.where.items()):
            continue
        value = next((number_of(one.value) for one in find(item.value, metric.value)), None)
        value = metric.otherwise if value is None else value
        if value is None:
            continue
        _add(found, formula, metric, item, name, value * metric.factor)


def _add(found: Found, formula: str, metric: MetricFile, item: Place, name: str, value: float) -> None:
    at = _words(metric.at, item, name)
    full = f"{formula}{AT}{at}" if at else formula
    if not metric.key:
        if len(found.numbers) >= MOST_NUMBERS and full not in found.numbers:
            raise OutputError(f"there are more than {MOST_NUMBERS} numbers")
        if full in found.numbers:
            raise OutputError(f"there are two numbers {full}: `at` has to tell them apart")
        found.numbers[full] = value
        return
    if full not in found.cases and len(found.cases) >= MOST_NUMBERS:
        raise OutputError(f"there are more than {MOST_NUMBERS} metrics with cases")
    cases = found.cases.setdefault(full, {})
    key = _words(metric.key, item, name)
    if key in cases:
        raise OutputError(f"there are two cases {key!r} of {full}: `key` has to tell them apart")
    if found.counted >= MOST_CASES:
        raise OutputError(f"there are more than {MOST_CASES} cases")
    found.counted += 1
    cases[key] = value


def _items(document: object, path: str) -> Iterator[Place]:
    for place in find(document, path):
        if isinstance(place.value, list):
            yield from (Place(one, place.keys) for one in place.value)
        else:
            yield place


def _is(item: object, path: str, wanted: object) -> bool:
    """Whether the item has this value; a text from csv or regex is compared as what it says."""
    for place in find(item, path):
        here = place.value
        if isinstance(here, str) and not isinstance(wanted, str):
            return number_of(here) is not None and number_of(here) == number_of(wanted)
        return here == wanted and isinstance(here, bool) == isinstance(wanted, bool)
    return False


def _words(paths: list[str], item: Place, name: str) -> str:
    """The values of paths as one word."""
    own: Mapping[str, str] = {"$key": "/".join(item.keys), "$name": name}
    parts = []
    for path in paths:
        if path in own:
            parts.append(own[path])
        else:
            parts.append(next((word_of(one.value) for one in find(item.value, path)), ""))
    return "/".join(parts)[:LONGEST_KEY]
