"""Scenarios and packs as the suite uses them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpumod.bench.suites.quality.answer import Answer, Call
from gpumod.bench.suites.quality.checkers.base import Checker
from gpumod.bench.suites.quality.pack_file import Level
from gpumod.bench.suites.quality.world import World, tool_definitions


@dataclass(frozen=True, slots=True)
class Turn:
    """What a model says once: a text, or tool calls."""

    text: str = ""
    calls: tuple[Call, ...] = ()


Script = tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One thing to ask.

    Args:
        prompts: the user's messages; all but the first are sent once the model has answered.
        tools: as an OpenAI server wants them.
        world: how the agent's world begins; None where tool calls are looked at and not carried out.
        right: an answer that satisfies every check.
        wrong: answers that do not.
    """

    pack: str
    id: str
    level: Level
    prompts: tuple[str, ...]
    system: str | None
    tools: Sequence[Mapping[str, object]]
    world: World | None
    most_turns: int
    checks: tuple[Checker, ...]
    right: Script
    wrong: tuple[Script, ...]

    @property
    def key(self) -> str:
        """Its name within the suite."""
        return f"{self.pack}/{self.id}"

    @property
    def offered(self) -> Sequence[Mapping[str, object]]:
        """The tools that the model is told of."""
        return self.tools if self.world is None else tool_definitions()

    def complaints(self, answer: Answer) -> tuple[str, ...]:
        """What is wrong with an answer; nothing, if it is right."""
        if not answer.ended:
            return (f"still at work after {answer.turns} turns",)
        return tuple(said for check in self.checks if (said := check.complaint(answer)) is not None)


@dataclass(frozen=True, slots=True)
class Pack:
    """Scenarios of one kind. `digest` is the SHA-256 of its file."""

    name: str
    title: str
    scenarios: tuple[Scenario, ...]
    digest: str
