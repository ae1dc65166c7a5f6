"""Reads one YAML 1.2 file into plain values and remembers on which line each of them stands.

Bounded against hostile input: size, nesting, and the number of values after aliases are expanded.
"""

from __future__ import annotations

import copy
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from gpumod.core.spec import Problem

LARGEST_FILE: Final = 1 << 20
DEEPEST: Final = 32
MOST_VALUES: Final = 20_000

Location = tuple[str | int, ...]
"""Where a value stands in a document: keys and list indexes from the top."""

# The core schema of YAML 1.2 (section 10.3.2): `on`, `yes`, dates and 1_000 are words.
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL: Final = {word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")}
_INT: Final = re.compile(r"[-+]?[0-9]{1,30}")
_OCTAL: Final = re.compile(r"0o[0-7]{1,30}")
_HEX: Final = re.compile(r"0x[0-9a-fA-F]{1,30}")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


class DocumentError(Exception):
    """A file that cannot be read as one YAML document.

    Attributes:
        problem: what is wrong, and where.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file as dicts, lists, strings, numbers, booleans and None."""

    file: str
    value: object
    lines: Mapping[Location, int] = field(default_factory=dict)

    def line(self, location: Location) -> int | None:
        """The 1-based line of a value, or of the nearest thing around it that has one."""
        for end in range(len(location), -1, -1):
            if (line := self.lines.get(location[:end])) is not None:
                return line
        return None


def read_document(path: Path) -> Document:
    """Read a file.

    Raises:
        DocumentError: not a readable regular file, too large, not UTF-8, or not YAML.
    """
    return parse_document(read_text(path), str(path))


def read_text(path: Path) -> str:
    """The text of a regular file of at most 1 MiB.

    Raises:
        DocumentError: it is not one, or it cannot be read.
    """
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _failure(str(path), "is not a regular file")
            with os.fdopen(descriptor, "rb", closefd=False) as stream:
                content = stream.read(LARGEST_FILE + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _failure(str(path), f"cannot be read: {error.strerror or error}") from error
    if len(content) > LARGEST_FILE:
        raise _failure(str(path), "is larger than 1 MiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _failure(str(path), "is not UTF-8 text", line) from error


def parse_document(text: str, file: str) -> Document:
    """Read a text. A text with nothing in it is an empty mapping.

    Raises:
        DocumentError: it is not YAML, or more than one document, or beyond the bounds.
    """
    if _bracket_depth(text) > 2 * DEEPEST:
        # Before parsing: the scanner needs quadratic time for open brackets.
        raise _failure(file, f"has brackets nested deeper than {2 * DEEPEST}")
    builder = _Builder(file)
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            builder.feed(event)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = " ".join(part for part in (error.context, error.problem) if part)
        raise _failure(file, f"is not valid YAML: {words}", mark.line + 1 if mark else None) from error
    except (YAMLError, ValueError) as error:
        raise _failure(file, f"is not valid YAML: {str(error).splitlines()[0]}") from error
    return Document(file, {} if builder.value is None else builder.value, builder.lines)


def _failure(file: str, detail: str, line: int | None = None) -> DocumentError:
    return DocumentError(Problem(file=file, detail=f"the file {detail}", line=line))


def _bracket_depth(text: str) -> int:
    depth = deepest = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        depth = depth + 1 if bracket in "[{" else max(0, depth - 1)
        deepest = max(deepest, depth)
    return deepest


@dataclass(slots=True)
class _Open:
    """A mapping or sequence that has begun."""

    value: dict[str, object] | list[object]
    location: Location
    anchor: str | None
    key: str | None = None
    """In a mapping: the key whose value comes next."""


@dataclass(slots=True)
class _Builder:
    """Builds values from the parser's events, without recursion."""

    file: str
    value: object = None
    lines: dict[Location, int] = field(default_factory=dict)
    _stack: list[_Open] = field(default_factory=list)
    _anchors: dict[str, tuple[object, int]] = field(default_factory=dict)
    """Finished anchors: the value, and how deep it is."""
    _count: int = 0
    _documents: int = 0

    def feed(self, event: Event) -> None:
        """Take the next event."""
        line = event.start_mark.line + 1
        match event:
            case DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise _failure(self.file, "has more than one YAML document", line)
            case MappingStartEvent() | SequenceStartEvent():
                self._begin(event, {} if isinstance(event, MappingStartEvent) else [], line)
            case MappingEndEvent() | SequenceEndEvent():
                self._end()
            case AliasEvent():
                self._alias(event.anchor, line)
            case ScalarEvent():
                self._scalar(event, line)

    def _begin(
        self,
        event: MappingStartEvent | SequenceStartEvent,
        value: dict[str, object] | list[object],
        line: int,
    ) -> None:
        self._refuse_tag(event, line)
        if len(self._stack) >= DEEPEST:
            raise _failure(self.file, f"is nested deeper than {DEEPEST}", line)
        self._refuse_key(line)
        self._stack.append(_Open(value, self._place(line), event.anchor))

    def _end(self) -> None:
        done = self._stack.pop()
        self._put(done.value)
        if done.anchor:
            self._anchors[done.anchor] = (done.value, _depth(done.value))

    def _scalar(self, event: ScalarEvent, line: int) -> None:
        self._refuse_tag(event, line)
        parent = self._stack[-1] if self._stack else None
        if parent is not None and isinstance(parent.value, dict) and parent.key is None:
            self._key(parent, event.value, line)
            return
        value = _resolve(event.value) if event.style in {None, ""} else event.value
        self._place(line)
        self._put(value)
        if event.anchor:
            self._anchors[event.anchor] = (value, 0)

    def _key(self, parent: _Open, key: str, line: int) -> None:
        if key in parent.value:
            raise _failure(self.file, f"has the key {key!r} twice in one mapping", line)
        parent.key = key
        self.lines[*parent.location, key] = line

    def _alias(self, anchor: str, line: int) -> None:
        if anchor not in self._anchors:
            raise _failure(self.file, f"has an alias *{anchor} to nothing that stands before it", line)
        self._refuse_key(line)
        value, depth = self._anchors[anchor]
        if len(self._stack) + depth > DEEPEST:
            raise _failure(self.file, f"is nested deeper than {DEEPEST}", line)
        self._count += _size(value, MOST_VALUES - self._count)
        self._place(line)
        self._put(copy.deepcopy(value))

    def _place(self, line: int) -> Location:
        """Where the value that begins now will stand."""
        self._count += 1
        if self._count > MOST_VALUES:
            raise _failure(self.file, f"has more than {MOST_VALUES} values", line)
        if not self._stack:
            location: Location = ()
        else:
            parent = self._stack[-1]
            step = len(parent.value) if isinstance(parent.value, list) else parent.key or ""
            location = (*parent.location, step)
        self.lines.setdefault(location, line)
        return location

    def _put(self, value: object) -> None:
        if not self._stack:
            self.value = value
            return
        parent = self._stack[-1]
        if isinstance(parent.value, list):
            parent.value.append(value)
        else:
            parent.value[parent.key or ""] = value
            parent.key = None

    def _refuse_key(self, line: int) -> None:
        parent = self._stack[-1] if self._stack else None
        if parent is not None and isinstance(parent.value, dict) and parent.key is None:
            raise _failure(self.file, "has a key that is not a word", line)

    def _refuse_tag(self, event: MappingStartEvent | SequenceStartEvent | ScalarEvent, line: int) -> None:
        if event.tag not in {None, "!"}:
            raise _failure(self.file, f"has a tag ({event.tag}); tags are not used here", line)


def _resolve(word: str) -> object:
    """The value of a plain scalar by YAML 1.2's core schema."""
    if word in _NULL:
        return None
    if word in _BOOL:
        return _BOOL[word]
    if _INT.fullmatch(word):
        return int(word)
    if _OCTAL.fullmatch(word) or _HEX.fullmatch(word):
        return int(word, 0)
    if _FLOAT.fullmatch(word) and word not in {"+", "-", "."}:
        return float(word)
    return word


def _depth(value: object) -> int:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return 1 + max((_depth(one) for one in inner), default=0)
    return 0


def _size(value: object, most: int) -> int:
    """How many values there are, counted no further than just beyond `most`."""
    waiting, count = [value], 0
    while waiting and count <= most:
        one = waiting.pop()
        count += 1
        if isinstance(one, dict | list):
            waiting.extend(one.values() if isinstance(one, dict) else one)
    return count
