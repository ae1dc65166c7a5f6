"""Checker of structured answers: JSON, JSON lines, YAML, TOML, CSV and Markdown tables."""

from __future__ import annotations

import csv
import io
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Final, Literal

from pydantic import Field

from gpumod.bench.suites.quality.answer import Answer, unfenced
from gpumod.bench.suites.quality.checkers.base import Rule
from gpumod.bench.suites.quality.matching import difference
from gpumod.config.documents import DocumentError, parse_document

Format = Literal["json", "jsonl", "yaml", "toml", "csv", "table"]

_NOTHING: Final = object()


def _json(text: str) -> object:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        value = dict(pairs)
        if len(value) < len(pairs):
            raise ValueError("a key stands twice in one object")
        return value

    return json.loads(text, object_pairs_hook=unique, parse_constant=_no_constant)


def _no_constant(word: str) -> object:
    raise ValueError(f"{word} is not JSON")


def _jsonl(text: str) -> object:
    return [_json(line) for line in text.splitlines() if line.strip()]


def _yaml(text: str) -> object:
    try:
        return parse_document(text, "answer").value
    except DocumentError as error:
        raise ValueError(str(error)) from error


def _csv(text: str) -> object:
    rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), strict=True) if row]
    return _named(rows)


def _table(text: str) -> object:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    if len(rows) < 2 or not all(re.fullmatch(r":?-+:?", cell) for cell in rows[1]):
        raise ValueError("there is no table with a line of dashes under its head")
    return _named([rows[0], *rows[2:]])


def _named(rows: list[list[str]]) -> object:
    if not rows:
        raise ValueError("there are no rows")
    head = rows[0]
    if any(len(row) != len(head) for row in rows):
        raise ValueError("the rows are of different lengths")
    return [dict(zip(head, row, strict=True)) for row in rows[1:]]


_READERS: Final[Mapping[Format, Callable[[str], object]]] = {
    "json": _json,
    "jsonl": _jsonl,
    "yaml": _yaml,
    "toml": tomllib.loads,
    "csv": _csv,
    "table": _table,
}


class Data(Rule):
    """The answer is data in this format, with these values.

    CSV and tables are lists of rows, each a mapping of columns to texts.

    Args:
        format: how it is written.
        equals: what it is, as `matching` has it.
        values: what stands at single places, by path: `order.items[0].name`.
        columns: of CSV or a table, in this order.
        bare: nothing else may be there, no code block either.
    """

    format: Format = "json"
    equals: object = Field(default=_NOTHING)
    values: dict[str, object] = Field(default={})
    columns: list[str] = Field(default=[])
    bare: bool = False

    def complaint(self, answer: Answer) -> str | None:
        try:
            value = _READERS[self.format](answer.text.strip() if self.bare else unfenced(answer.text))
        except (ValueError, csv.Error, RecursionError) as error:
            return f"it is not {self.format}: {error}"
        if self.equals is not _NOTHING and (found := difference(value, self.equals)):
            return found
        for path, expected in self.values.items():
            given = at_path(value, path)
            if given is _NOTHING:
                return f"{path} is missing"
            if found := difference(given, expected, path):
                return found
        return self._columns(value)

    def _columns(self, value: object) -> str | None:
        if not self.columns:
            return None
        rows = value if isinstance(value, list) else []
        head = list(rows[0]) if rows else []
        return None if head == self.columns else f"the columns are {', '.join(head) or 'missing'}"


def at_path(value: object, path: str) -> object:
    """What stands at a path; a mark of its own where there is nothing."""
    for step in re.findall(r"[^.\[\]]+|\[\d+\]", path):
        if step.startswith("["):
            index = int(step[1:-1])
            if not isinstance(value, list) or index >= len(value):
                return _NOTHING
            value = value[index]
        elif isinstance(value, Mapping) and step in value:
            value = value[step]
        else:
            return _NOTHING
    return value
