"""Turns what a check found into problems with file, line, key and a suggestion."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gpumod.config.documents import Document, Location
from gpumod.config.fields import PATTERN_WORDS
from gpumod.core.errors import ConfigError
from gpumod.core.spec import Problem

Keys = Mapping[Location, Collection[str]]
"""The keys that each mapping of a file knows. `*` stands for any key or list index."""

Model = TypeVar("Model")

_WANTED: Final = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
}


def problem_at(
    document: Document, location: Location, detail: str, suggestion: str = "", *, warning: bool = False
) -> Problem:
    """A problem with one value of a document."""
    return Problem(
        file=document.file,
        detail=detail,
        line=document.line(location),
        key=dotted(location),
        suggestion=suggestion,
        warning=warning,
    )


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Problems as one reads the files: file by file, from the top."""
    return tuple(sorted(problems, key=lambda one: (one.file, one.line or 0, one.key)))


def dotted(location: Location) -> str:
    """A location as people write it: `services.1.preset`."""
    return ".".join(str(step) for step in location)


def close_to(word: str, known: Collection[str]) -> str:
    """`did you mean ...?`, or nothing."""
    close = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with one value, before it is known where that value came from."""

    location: Location
    detail: str
    suggestion: str = ""
    warning: bool = False


def describe(problem: Problem) -> str:
    """A problem in one line: `file:line: key: what is wrong (what to do)`."""
    place = problem.file if problem.line is None else f"{problem.file}:{problem.line}"
    key = f"{problem.key}: " if problem.key else ""
    suggestion = f" ({problem.suggestion})" if problem.suggestion else ""
    mark = "warning: " if problem.warning else ""
    return f"{place}: {mark}{key}{problem.detail}{suggestion}"


def config_error(problems: Iterable[Problem]) -> ConfigError:
    """The error that has all problems, one a line, and as values under `facts["problems"]`."""
    listed = in_order(problems)
    lines = "\n".join(describe(problem) for problem in listed)
    return ConfigError(lines, {"problems": [asdict(problem) for problem in listed]})


def known_keys(model: type[BaseModel], at: Location = ()) -> dict[Location, Collection[str]]:
    """The keys of a model and of every model within it."""
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    keys: dict[Location, Collection[str]] = {at: tuple(fields)}
    for name, field in fields.items():
        for inner, location in _models(field.annotation, (*at, name)):
            keys |= known_keys(inner, location)
    return keys


def _models(annotation: Any, at: Location) -> Iterator[tuple[type[BaseModel], Location]]:
    """Models in an annotation, each with where its mapping stands."""
    origin = typing.get_origin(annotation)
    if isinstance(annotation, type) and origin is None and issubclass(annotation, BaseModel):
        yield annotation, at
    inside = (*at, "*") if origin in {list, dict} else at
    for argument in typing.get_args(annotation):
        yield from _models(argument, inside)


def located(document: Document, finding: Finding) -> Problem:
    """A finding as a problem with a document."""
    location = _within(document.value, finding.location)
    return problem_at(document, location, finding.detail, finding.suggestion, warning=finding.warning)


def findings_of(
    error: ValidationError, value: object, *, keys: Keys, elsewhere: Mapping[str, str] | None = None
) -> list[Finding]:
    """Everything that a model found wrong with a value.

    Args:
        error: what pydantic says.
        value: what was checked.
        keys: what could have been meant by an unknown key.
        elsewhere: keys that have no place at the top, each with a sentence where they have.
    """
    found: dict[tuple[Location, str], Finding] = {}
    for details in error.errors(include_url=False):
        location = _within(value, details["loc"])
        detail, suggestion = _words(details, location, keys, elsewhere or {})
        found.setdefault((location, detail), Finding(location, detail, suggestion))
    return list(found.values())


def validate_or_prune(
    check: Callable[..., Model], *sources: dict[str, Any]
) -> tuple[Model | None, ValidationError | None, frozenset[str]]:
    """Check mappings; if they are wrong, also what is left of them without the keys that are wrong.

    So that one answer has the mistakes of structure and those that only show in sound values.

    Returns:
        the value (None where not even the rest is sound), the error, the keys that were left out.
    """
    try:
        return check(*sources), None, frozenset()
    except ValidationError as error:
        wrong = frozenset(str(one["loc"][0]) for one in error.errors(include_url=False) if one["loc"])
        try:
            rest = [{key: one for key, one in source.items() if key not in wrong} for source in sources]
            return check(*rest), error, wrong
        except ValidationError:
            return None, error, wrong


def _within(value: object, loc: tuple[int | str, ...]) -> Location:
    """A location without the steps that are not in the document.

    Those are pydantic's tags of unions, and the index of a single value where a list may stand.
    The last step is kept even if it is not there: it is then the name of a missing key.
    """
    steps: list[str | int] = []
    for index, step in enumerate(loc):
        in_list = isinstance(value, list) and isinstance(step, int) and step < len(value)
        if in_list or (isinstance(value, dict) and step in value):
            value = value[step]  # type: ignore[index]
        elif not (isinstance(value, dict) and index == len(loc) - 1):
            continue
        steps.append(step)
    return tuple(steps)


def _words(
    details: ErrorDetails,
    location: Location,
    keys: Keys,
    elsewhere: Mapping[str, str],
) -> tuple[str, str]:
    kind, last = details["type"], str(location[-1]) if location else ""
    context = details.get("ctx", {})
    if kind == "extra_forbidden":
        if len(location) == 1 and last in elsewhere:
            return f"{last!r} {elsewhere[last]}", ""
        return f"unknown key {last!r}", close_to(last, _known(keys, location[:-1]))
    if kind == "missing":
        return f"{last!r} is required", ""
    if kind in {"literal_error", "enum", "union_tag_invalid"}:
        return _choice(details, context)
    if kind == "value_error":
        return str(context["error"]), ""
    if kind == "string_pattern_mismatch":
        given = "this" if "keys" in location else repr(details["input"][:80])
        return f"{given} {PATTERN_WORDS[context['pattern']]}", ""
    said = _WANTED.get(kind)
    if said is None:
        said = details["msg"][:1].lower() + details["msg"][1:]
    if "keys" in location:
        # What stands there may be a secret, in its place or not.
        return said, ""
    return f"{said}{_shown(details['input'])}", _quotes(kind, details["input"])


def _known(keys: Keys, location: Location) -> Collection[str]:
    for pattern, known in keys.items():
        if len(pattern) == len(location) and all(
            wanted in {"*", step} for wanted, step in zip(pattern, location, strict=True)
        ):
            return known
    return ()


def _choice(details: ErrorDetails, context: Mapping[str, Any]) -> tuple[str, str]:
    expected = str(context.get("expected", context.get("expected_tags", "")))
    given = details["input"]
    if isinstance(given, dict):
        given = given.get(str(context.get("discriminator", "")).strip("'"), "")
    words = [word.strip().strip("'") for word in expected.replace(" or ", ", ").split(",")]
    suggestion = close_to(given, words) if isinstance(given, str) else ""
    return f"must be one of {', '.join(words)}{_shown(given)}", suggestion


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return ""
    text = "nothing" if value is None else repr(value)
    return f", not {text if len(text) <= 80 else text[:77] + '...'}"


def _quotes(kind: str, value: object) -> str:
    if kind == "string_type" and isinstance(value, bool | int | float):
        written = str(value).lower() if isinstance(value, bool) else value
        return f'write it in quotes: "{written}"'
    return ""
