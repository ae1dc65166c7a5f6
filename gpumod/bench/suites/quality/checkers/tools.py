"""Checkers of tool calls and of what they did to the world."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import Field

from gpumod.bench.suites.quality.answer import Answer
from gpumod.bench.suites.quality.checkers.base import Rule, shortened
from gpumod.bench.suites.quality.checkers.text import normalised
from gpumod.bench.suites.quality.matching import difference, unordered
from gpumod.bench.suites.quality.world import Event, World


class Calls(Rule):
    """All tool calls of the answer.

    Args:
        are: each a mapping of one tool's name to its arguments, as `matching` has them; empty: none is made.
        order: `any` where it means nothing.
    """

    are: list[dict[str, object]]
    order: Literal["given", "any"] = "any"

    def complaint(self, answer: Answer) -> str | None:
        for call in answer.calls:
            if call.arguments is None:
                return f"the arguments of {call.name} are not a JSON object"
        given = [{call.name: dict(call.arguments or {})} for call in answer.calls]
        if not self.are:
            return f"{answer.calls[0].name} is called" if given else None
        if not given:
            return "no tool is called"
        if self.order == "any" and len(self.are) > 1:
            return unordered(given, self.are, "the list of calls")
        return difference(given, self.are, "call")


class Called(Rule):
    """Which tools are used at all.

    Args:
        tools: each of them at least once.
        never: none of them.
        most: at most so many calls.
    """

    tools: list[str] = Field(default=[])
    never: list[str] = Field(default=[])
    most: int | None = Field(default=None, ge=0)

    def complaint(self, answer: Answer) -> str | None:
        names = [call.name for call in answer.calls]
        if missing := [one for one in self.tools if one not in names]:
            return f"{missing[0]} is not used"
        if found := [one for one in self.never if one in names]:
            return f"{found[0]} is used"
        if self.most is not None and len(names) > self.most:
            return f"{len(names)} calls, more than {self.most}"
        return None


_EVENT: Final = ("title", "date", "start", "end")


class EventText(Rule):
    """An expected event of the calendar; the title is compared without regard to capital letters."""

    title: str
    date: str
    start: str
    end: str


class MessageText(Rule):
    """An expected message: whom to, and what its text has to contain."""

    to: str
    contains: list[str] = Field(default=[])


class State(Rule):
    """What the world is in the end. What is not named here has to be as it was in the beginning.

    Args:
        notes: texts of notes by name, white space aside; None: the note is gone.
        has: parts that notes must have, by name, where their wording is free.
        events: all events of the calendar.
        messages: all messages sent, in any order.
    """

    notes: dict[str, str | list[str] | None] = Field(default={})
    has: dict[str, list[str]] = Field(default={})
    events: list[EventText] | None = None
    messages: list[MessageText] = Field(default=[])

    def complaint(self, answer: Answer) -> str | None:
        world, start = answer.world, answer.start
        if world is None or start is None:
            return "there is no world in this scenario"
        return self._notes(world, start) or self._events(world, start) or self._messages(world)

    def _notes(self, world: World, start: World) -> str | None:
        wanted: dict[str, str | list[str] | None] = {**start.notes, **self.notes}
        for name in [*wanted, *world.notes]:
            if name in self.has:
                continue
            text, right = world.notes.get(name), wanted.get(name)
            if text is None or right is None:
                if text is not None:
                    return f"the note {name!r} is there"
                if right is not None:
                    return f"the note {name!r} is missing"
                continue
            accepted = [right] if isinstance(right, str) else right
            if _lines(text) not in [_lines(one) for one in accepted]:
                return f"the note {name!r} says {shortened(text)}"
        for name, parts in self.has.items():
            text = world.notes.get(name)
            if text is None:
                return f"the note {name!r} is missing"
            if missing := [one for one in parts if normalised(one) not in normalised(text)]:
                return f"the note {name!r} lacks {missing[0]!r}"
        return None

    def _events(self, world: World, start: World) -> str | None:
        wanted = [_event(one) for one in (start.events.values() if self.events is None else self.events)]
        return unordered([_event(one) for one in world.events.values()], wanted, "the calendar")

    def _messages(self, world: World) -> str | None:
        waiting = list(world.outbox)
        for wanted in self.messages:
            fits = [one for one in waiting if one[0] == wanted.to and _all_in(wanted.contains, one[1])]
            if not fits:
                return f"no message to {wanted.to} has {', '.join(wanted.contains) or 'any text'}"
            waiting.remove(fits[0])
        return f"a message to {waiting[0][0]} is too many" if waiting else None


def _event(one: Event | EventText) -> Mapping[str, str]:
    return {name: normalised(getattr(one, name)) for name in _EVENT}


def _all_in(parts: list[str], text: str) -> bool:
    return all(normalised(part) in normalised(text) for part in parts)


def _lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]
