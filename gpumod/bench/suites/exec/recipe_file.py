"""What the file of a recipe may say."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from gpumod.bench.suites.exec.paths import steps_of
from gpumod.config.fields import LongerThanZero, Strict, Text, VariableName

PLACES: Final = frozenset({"url", "model", "model_file", "context", "slots", "cards", "output"})
"""What stands in braces for a fact of the target or of the run."""
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,40}")
_PLACEHOLDER: Final = re.compile(r"\{([a-z][a-z0-9_-]*)\}")


def _path(text: str) -> str:
    steps_of(text)
    return text


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("is not a name: lower-case letters, digits, - and _, at most 41, a letter first")
    return text


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from error
    return text


def placeholders(text: str) -> tuple[str, ...]:
    """The names in braces of a text."""
    return tuple(_PLACEHOLDER.findall(text))


def filled(text: str, values: dict[str, str]) -> str:
    """The text with every placeholder replaced, once: what a value has in braces stays.

    Raises:
        KeyError: one has no value.
    """
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)


Name = Annotated[str, AfterValidator(_name)]
Path = Annotated[str, AfterValidator(_path)]
Regex = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_regex)]
Words = list[Text]


class OptionFile(Strict):
    """A value that a job may give.

    Args:
        pattern: a text has to match it as a whole. A text never begins with `-`.
        default: where the job gives none; without one, the words that need it are left out.
    """

    type: Literal["integer", "number", "text", "choice"]
    description: str = Field(min_length=1)
    choices: list[str] = Field(default=[])
    pattern: Regex | None = None
    min: float | None = None
    max: float | None = None
    default: int | float | str | None = None

    @model_validator(mode="after")
    def _fits_its_type(self) -> OptionFile:
        if (self.type == "choice") != bool(self.choices):
            raise ValueError("`choices` are for the type choice, which needs them")
        if (self.type == "text") != (self.pattern is not None):
            raise ValueError("`pattern` is for the type text, which needs it")
        if self.type in {"text", "choice"} and (self.min is not None or self.max is not None):
            raise ValueError("`min` and `max` are for numbers")
        return self


class MetricFile(Strict):
    """A number of the harness, or one for each item or case.

    Args:
        definition: what it is, exact enough to be compared.
        each: a path to the items; those of a list are taken one by one.
        where: only items that have these values.
        only: a regular expression: only items whose `$key` matches it as a whole.
        value: a path within an item; without it, the item itself.
        otherwise: the value of an item that has no number there; without it, such an item is left out.
        factor: the number is multiplied by it, for units such as milliseconds.
        at: paths within an item whose values tell this number from others of the same metric; `$key` is
            what `*` in `each` stood for, `$name` what `name` of the source found in the file's name.
        key: likewise, to name a case: then there is one value for each case, as paired tests need them.
        pooling: of the cases: their mean, or the share of those above 0.
    """

    definition: str = Field(min_length=1)
    unit: str = Field(min_length=1, max_length=40)
    larger_is_better: bool | None
    each: Path = ""
    where: dict[str, bool | int | float | str] = Field(default={})
    only: Regex | None = None
    value: Path = ""
    otherwise: float | None = None
    factor: float = Field(default=1.0, gt=0)
    at: list[Path] = Field(default=[], max_length=6)
    key: list[Path] = Field(default=[], max_length=6)
    pooling: Literal["mean", "share"] = "mean"

    @model_validator(mode="after")
    def _pooling_is_of_cases(self) -> MetricFile:
        if self.pooling == "share" and not self.key:
            raise ValueError("`pooling: share` is for cases, which `key` names")
        for path in self.where:
            steps_of(path)
        return self


class SourceFile(Strict):
    """Something that the harness prints or writes.

    Args:
        file: files below the working folder, as a glob; without it, the standard output.
        name: a regular expression with one group, for the file's name.
        pattern: of the format regex, with named groups; each match is an item.
        version: paths to the harness's own version, in the first item.
    """

    format: Literal["json", "jsonl", "csv", "regex"]
    file: str | None = Field(default=None, min_length=1)
    name: Regex | None = None
    pattern: Regex | None = None
    version: list[Path] = Field(default=[], max_length=4)
    metrics: dict[Name, MetricFile] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits_its_format(self) -> SourceFile:
        if (self.format == "regex") != (self.pattern is not None):
            raise ValueError("`pattern` is for the format regex, which needs it")
        if self.pattern is not None and not re.compile(self.pattern).groupindex:
            raise ValueError("`pattern` needs a named group: (?P<name>...)")
        if self.name is not None and (self.file is None or re.compile(self.name).groups != 1):
            raise ValueError("`name` has one group, and is for a file")
        if self.file is not None and (self.file.startswith("/") or ".." in self.file.split("/")):
            raise ValueError("`file` is a glob below the working folder")
        return self


class RecipeFile(Strict):
    """How one harness is run, and what its numbers are.

    Args:
        recipe: its name, which is the file's.
        version: grows with every change that changes what a number means.
        install: what to do where the program is not there.
        needs: further programs and paths that have to be there.
        argv: the words of the command. An inner list of words is left out as a whole where a placeholder in
            it has no value.
        version_argv: the command that prints the harness's own version.
        path: folders to find programs in, before PATH.
        env: variables with their values, which no result keeps.
        inherit: names of further variables to take from the daemon's environment.
        against: `endpoint` asks the target's server; `model` loads the target's file itself, with the
            target stopped.
        runs_model_code: the harness executes what the model wrote.
        trusted: the owner of this box lets it do so.
        timeout: of one run.
    """

    recipe: Name
    version: int = Field(ge=1)
    description: str = Field(min_length=1)
    install: str = Field(min_length=1)
    needs: list[str] = Field(default=[])
    argv: list[Text | Words] = Field(min_length=1)
    version_argv: Words = Field(default=[])
    path: list[str] = Field(default=[])
    env: dict[VariableName, Text] = Field(default={})
    inherit: list[VariableName] = Field(default=[])
    against: Literal["endpoint", "model"] = "endpoint"
    runs_model_code: bool = False
    trusted: bool = False
    timeout: LongerThanZero = 3600.0
    options: dict[Name, OptionFile] = Field(default={})
    results: list[SourceFile] = Field(min_length=1)
