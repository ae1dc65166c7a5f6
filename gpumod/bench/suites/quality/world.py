"""A small world of notes, a calendar, messages, pages to search and a calculator, for agents to work in.

It is deterministic: the same calls in the same order give the same answers.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gpumod.bench.suites.quality.calculator import calculate

_DATE: Final = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])")
_TIME: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
_WORD: Final = re.compile(r"[a-z0-9]+")
_HITS: Final = 3
_LONGEST: Final = 20_000
"""Characters of one note: a model that appends for ever must not fill the memory."""


class ToolFault(Exception):
    """A tool's refusal, as the model reads it."""


@dataclass(frozen=True, slots=True)
class Event:
    """An entry of the calendar. Times are `HH:MM` on one day."""

    title: str
    date: str
    start: str
    end: str


@dataclass(slots=True)
class World:
    """The state that the tools read and change.

    Args:
        notes: texts by name.
        events: by id, `e1` and so on.
        pages: texts by title, for the search.
        outbox: messages sent, each a recipient and a text.
        contacts: addresses by name.
        faults: how many of the next calls of a tool fail as if it were out of order for the moment.
    """

    notes: dict[str, str] = field(default_factory=dict)
    events: dict[str, Event] = field(default_factory=dict)
    pages: Mapping[str, str] = field(default_factory=dict)
    outbox: list[tuple[str, str]] = field(default_factory=list)
    contacts: Mapping[str, str] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    _next_event: int = 0

    def copy(self) -> World:
        """A world of its own."""
        return copy.deepcopy(self)

    def call(self, tool: str, arguments: Mapping[str, object] | None) -> Mapping[str, Any]:
        """Use a tool; the answer is a JSON value. A refusal is an answer with the key `error`."""
        try:
            if arguments is None:
                raise ToolFault("the arguments are not a JSON object")
            if tool not in TOOLS:
                raise ToolFault(f"there is no tool {tool!r}")
            if self.faults.get(tool, 0) > 0:
                self.faults[tool] -= 1
                raise ToolFault("temporarily unavailable, try again")
            return TOOLS[tool](self, **_checked(tool, arguments))
        except ToolFault as fault:
            return {"error": str(fault)}

    def add_event(self, title: str, date: str, start: str, end: str) -> str:
        """Enter an event that overlaps no other; its id."""
        event = Event(title, date, start, end)
        self._refuse_event(event, None)
        self._next_event = max(self._next_event, len(self.events)) + 1
        key = f"e{self._next_event}"
        self.events[key] = event
        return key

    def move_event(self, key: str, date: str, start: str, end: str) -> None:
        """Give an event another time."""
        if key not in self.events:
            raise ToolFault(f"there is no event {key!r}")
        event = Event(self.events[key].title, date, start, end)
        self._refuse_event(event, key)
        self.events[key] = event

    def _refuse_event(self, event: Event, own: str | None) -> None:
        if not _DATE.fullmatch(event.date):
            raise ToolFault("date must be YYYY-MM-DD")
        if not (_TIME.fullmatch(event.start) and _TIME.fullmatch(event.end)):
            raise ToolFault("start and end must be HH:MM")
        if event.start >= event.end:
            raise ToolFault("end must be after start")
        for key, other in self.events.items():
            if (
                key != own
                and other.date == event.date
                and other.start < event.end
                and event.start < other.end
            ):
                raise ToolFault(f"overlaps {key} ({other.title}, {other.start} to {other.end})")


def _checked(tool: str, arguments: Mapping[str, object]) -> dict[str, str]:
    wanted = PARAMETERS[tool]
    if missing := [name for name in wanted if name not in arguments]:
        raise ToolFault(f"missing argument: {', '.join(missing)}")
    if unknown := [name for name in arguments if name not in wanted]:
        raise ToolFault(f"unknown argument: {', '.join(unknown)}")
    if wrong := [name for name, value in arguments.items() if not isinstance(value, str)]:
        raise ToolFault(f"must be text: {', '.join(wrong)}")
    return {name: str(value) for name, value in arguments.items()}


def _list_notes(world: World) -> Mapping[str, Any]:
    return {"notes": sorted(world.notes)}


def _read_note(world: World, name: str) -> Mapping[str, Any]:
    if name not in world.notes:
        raise ToolFault(f"there is no note {name!r}")
    return {"name": name, "text": world.notes[name]}


def _write_note(world: World, name: str, text: str) -> Mapping[str, Any]:
    if len(text) > _LONGEST:
        raise ToolFault("the text is too long")
    world.notes[name] = text
    return {"written": name}


def _append_note(world: World, name: str, text: str) -> Mapping[str, Any]:
    if name not in world.notes:
        raise ToolFault(f"there is no note {name!r}")
    return _write_note(world, name, world.notes[name].rstrip("\n") + "\n" + text)


def _delete_note(world: World, name: str) -> Mapping[str, Any]:
    if name not in world.notes:
        raise ToolFault(f"there is no note {name!r}")
    del world.notes[name]
    return {"deleted": name}


def _list_events(world: World, date: str) -> Mapping[str, Any]:
    if not _DATE.fullmatch(date):
        raise ToolFault("date must be YYYY-MM-DD")
    found = [
        {"id": key, "title": event.title, "start": event.start, "end": event.end}
        for key, event in world.events.items()
        if event.date == date
    ]
    return {"date": date, "events": sorted(found, key=lambda one: one["start"])}


def _add_event(world: World, title: str, date: str, start: str, end: str) -> Mapping[str, Any]:
    return {"added": world.add_event(title, date, start, end)}


def _move_event(world: World, id: str, date: str, start: str, end: str) -> Mapping[str, Any]:
    world.move_event(id, date, start, end)
    return {"moved": id}


def _delete_event(world: World, id: str) -> Mapping[str, Any]:
    if id not in world.events:
        raise ToolFault(f"there is no event {id!r}")
    del world.events[id]
    return {"deleted": id}


def _search(world: World, query: str) -> Mapping[str, Any]:
    words = set(_WORD.findall(query.lower()))
    scored = []
    for title, text in world.pages.items():
        score = 2 * len(words & set(_WORD.findall(title.lower()))) + len(
            words & set(_WORD.findall(text.lower()))
        )
        if score:
            scored.append((-score, title))
    return {
        "results": [
            {"title": title, "begins": world.pages[title][:60]} for _, title in sorted(scored)[:_HITS]
        ]
    }


def _open_page(world: World, title: str) -> Mapping[str, Any]:
    if title not in world.pages:
        raise ToolFault(f"there is no page {title!r}")
    return {"title": title, "text": world.pages[title]}


def _calculate(_: World, expression: str) -> Mapping[str, Any]:
    try:
        return {"value": calculate(expression)}
    except ValueError as error:
        raise ToolFault(str(error)) from error


def _find_contact(world: World, name: str) -> Mapping[str, Any]:
    found = {one: address for one, address in world.contacts.items() if name.lower() in one.lower()}
    return {"contacts": [{"name": one, "address": address} for one, address in sorted(found.items())]}


def _send_message(world: World, to: str, text: str) -> Mapping[str, Any]:
    if to not in world.contacts.values():
        raise ToolFault(f"{to!r} is no address of a contact")
    world.outbox.append((to, text))
    return {"sent": to}


TOOLS: Final[Mapping[str, Callable[..., Mapping[str, Any]]]] = {
    "list_notes": _list_notes,
    "read_note": _read_note,
    "write_note": _write_note,
    "append_note": _append_note,
    "delete_note": _delete_note,
    "list_events": _list_events,
    "add_event": _add_event,
    "move_event": _move_event,
    "delete_event": _delete_event,
    "search": _search,
    "open_page": _open_page,
    "calculate": _calculate,
    "find_contact": _find_contact,
    "send_message": _send_message,
}

_EVENT: Final = {"date": "Day, YYYY-MM-DD", "start": "Begin, HH:MM", "end": "End, HH:MM"}
_NAMED: Final = {"name": "The note's name"}

PARAMETERS: Final[Mapping[str, Mapping[str, str]]] = {
    "list_notes": {},
    "read_note": _NAMED,
    "write_note": {**_NAMED, "text": "The whole new text"},
    "append_note": {**_NAMED, "text": "What to add as a new line at the end"},
    "delete_note": _NAMED,
    "list_events": {"date": "Day, YYYY-MM-DD"},
    "add_event": {"title": "What it is", **_EVENT},
    "move_event": {"id": "The event's id", **_EVENT},
    "delete_event": {"id": "The event's id"},
    "search": {"query": "Words to look for"},
    "open_page": {"title": "The page's exact title"},
    "calculate": {"expression": "Numbers with + - * / ** % and brackets"},
    "find_contact": {"name": "A name or a part of it"},
    "send_message": {"to": "The address of a contact", "text": "The message"},
}
"""The parameters of each tool, all of them required texts."""

_WHAT: Final[Mapping[str, str]] = {
    "list_notes": "Names of all notes",
    "read_note": "The text of a note",
    "write_note": "Create a note, or replace all of its text",
    "append_note": "Add a line to the end of an existing note",
    "delete_note": "Delete a note",
    "list_events": "The events of a day with their ids",
    "add_event": "Enter an event into the calendar; it may not overlap another",
    "move_event": "Give an event another time; it may not overlap another",
    "delete_event": "Delete an event",
    "search": "Titles of the pages that fit best, at most three",
    "open_page": "The text of a page",
    "calculate": "Evaluate an arithmetic expression",
    "find_contact": "Addresses of the contacts whose name has this in it",
    "send_message": "Send a message to a contact",
}


def tool_definitions() -> list[dict[str, Any]]:
    """The tools as an OpenAI server wants them."""
    return [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": _WHAT[name],
                "parameters": {
                    "type": "object",
                    "properties": {
                        key: {"type": "string", "description": what} for key, what in PARAMETERS[name].items()
                    },
                    "required": list(PARAMETERS[name]),
                    "additionalProperties": False,
                },
            },
        }
        for name in TOOLS
    ]
