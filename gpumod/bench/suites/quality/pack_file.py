"""What the file of a pack may say."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, model_validator

from gpumod.bench.suites.quality.checkers.base import Rule
from gpumod.bench.suites.quality.checkers.code import Command, Python
from gpumod.bench.suites.quality.checkers.data import Data
from gpumod.bench.suites.quality.checkers.form import Count, Form, Repeated
from gpumod.bench.suites.quality.checkers.text import Contains, Number, Regex, Text
from gpumod.bench.suites.quality.checkers.tools import Called, Calls, EventText, State
from gpumod.config.fields import Id, Strict

MOST_TURNS: Final = 14

Level = Literal["easy", "medium", "hard"]


class ToolFile(Strict):
    """A tool that the model is told of.

    Args:
        parameters: JSON Schemas by name.
        optional: names of parameters that may be left out.
    """

    description: str = Field(min_length=1)
    parameters: dict[str, dict[str, object]] = Field(default={})
    optional: list[str] = Field(default=[])

    @model_validator(mode="after")
    def _optional_are_parameters(self) -> ToolFile:
        if unknown := [one for one in self.optional if one not in self.parameters]:
            raise ValueError(f"{unknown[0]!r} is optional, but is no parameter")
        return self


class WorldFile(Strict):
    """The beginning of the world that an agent works in; `World` says what each is."""

    notes: dict[str, str] = Field(default={})
    events: list[EventText] = Field(default=[])
    pages: dict[str, str] = Field(default={})
    contacts: dict[str, str] = Field(default={})
    faults: dict[str, int] = Field(default={})


class CheckFile(Strict):
    """Checkers by name with their arguments; each has to be satisfied."""

    text: Text | None = None
    number: Number | None = None
    contains: Contains | None = None
    regex: Regex | None = None
    count: Count | None = None
    form: Form | None = None
    repeated: Repeated | None = None
    data: Data | None = None
    calls: Calls | None = None
    called: Called | None = None
    state: State | None = None
    command: Command | None = None
    python: Python | None = None

    @model_validator(mode="after")
    def _names_one(self) -> CheckFile:
        if not self.rules():
            raise ValueError("names no checker")
        return self

    def rules(self) -> tuple[Rule, ...]:
        """The checkers that are given."""
        given = (getattr(self, name) for name in type(self).model_fields)
        return tuple(rule for rule in given if isinstance(rule, Rule))


class ScenarioFile(Strict):
    """One scenario.

    Args:
        prompt: the user's first message.
        then: the user's further messages, each sent once the model has answered.
        system: the system message, in place of the pack's.
        tools: names of the pack's tools that are offered.
        world: what the tools of an agent work on; then all of its tools are offered.
        most_turns: how often the model is asked.
        right: an answer that is right: a text, or a list of turns, each a text, a tool call (its name with
            its arguments) or a list of calls.
        wrong: answers that are not, as one might well be given.
    """

    id: Id
    level: Level
    prompt: str = Field(min_length=1)
    then: list[str] = Field(default=[])
    system: str | None = None
    tools: list[str] = Field(default=[])
    world: WorldFile | None = None
    most_turns: int = Field(default=MOST_TURNS, ge=1, le=50)
    checks: list[CheckFile] = Field(min_length=1)
    right: object
    wrong: list[object] = Field(min_length=1)


class PackFile(Strict):
    """A pack of scenarios."""

    pack: Id
    title: str = Field(min_length=1)
    system: str | None = None
    tools: dict[str, ToolFile] = Field(default={})
    scenarios: list[ScenarioFile] = Field(min_length=1)
