"""Reads packs from files: what is wrong with one is said with its line and key, all of it at once."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from gpumod.bench.suites.quality.answer import Call
from gpumod.bench.suites.quality.checkers.data import Data
from gpumod.bench.suites.quality.checkers.tools import Calls, State
from gpumod.bench.suites.quality.conversation import replay
from gpumod.bench.suites.quality.matching import mistakes
from gpumod.bench.suites.quality.pack_file import PackFile, ScenarioFile, ToolFile, WorldFile
from gpumod.bench.suites.quality.scenario import Pack, Scenario, Script, Turn
from gpumod.bench.suites.quality.world import TOOLS, ToolFault, World
from gpumod.config.documents import Document, DocumentError, Location, parse_document, read_text
from gpumod.config.problems import close_to, config_error, findings_of, known_keys, located, problem_at
from gpumod.core.spec import Problem

SHIPPED: Final = Path(__file__).resolve().parent / "packs"


@functools.cache
def shipped_packs() -> tuple[Pack, ...]:
    """The packs that come with gpumod, by name.

    Raises:
        ConfigError: the installation is damaged.
    """
    return load_packs(SHIPPED)


def packs_of(folder: Path) -> tuple[Pack, ...]:
    """As `load_packs`; files that have not changed are not read again.

    Raises:
        ConfigError: as there.
    """
    files = [(path.name, path.stat()) for path in sorted(folder.glob("*.yaml"))]
    seen = tuple((name, found.st_ino, found.st_size, found.st_mtime_ns) for name, found in files)
    return _packs_as_seen(folder, seen)


@functools.lru_cache(maxsize=4)
def _packs_as_seen(folder: Path, seen: tuple[tuple[str, int, int, int], ...]) -> tuple[Pack, ...]:
    del seen
    return load_packs(folder)


def load_packs(folder: Path) -> tuple[Pack, ...]:
    """Every pack of a folder (`*.yaml`), by name. A folder that is not there has none.

    Raises:
        ConfigError: something is wrong with a file; `facts["problems"]` has all of it.
    """
    packs: list[Pack] = []
    problems: list[Problem] = []
    for path in sorted(folder.glob("*.yaml")):
        pack, found = read_pack(path)
        problems += found
        if pack is not None:
            packs.append(pack)
    if problems:
        raise config_error(problems)
    return tuple(packs)


def read_pack(path: Path) -> tuple[Pack | None, list[Problem]]:
    """The pack of a file, and everything that is wrong with it. With problems there is no pack."""
    try:
        text = read_text(path)
        document = parse_document(text, str(path))
    except DocumentError as unreadable:
        return None, [unreadable.problem]
    try:
        file = PackFile.model_validate(document.value)
    except ValidationError as error:
        found = findings_of(error, document.value, keys=known_keys(PackFile))
        return None, [located(document, one) for one in found]
    problems = list(_structure(document, file, path.stem))
    if problems:
        return None, problems
    pack, problems = _built(document, file, hashlib.sha256(text.encode()).hexdigest())
    return (None, problems) if problems else (pack, [])


def _structure(document: Document, file: PackFile, stem: str) -> Iterator[Problem]:
    """What no single value shows to be wrong."""
    if file.pack != stem:
        yield problem_at(document, ("pack",), f"must be the file's name, {stem!r}, not {file.pack!r}")
    seen: set[str] = set()
    for index, one in enumerate(file.scenarios):
        at: Location = ("scenarios", index)
        if one.id in seen:
            yield problem_at(document, (*at, "id"), f"there is a scenario {one.id!r} before this one")
        seen.add(one.id)
        for place, name in enumerate(one.tools):
            if name not in file.tools:
                hint = close_to(name, file.tools)
                yield problem_at(document, (*at, "tools", place), f"the pack has no tool {name!r}", hint)
        if one.world is not None:
            yield from _world_problems(document, one.world, (*at, "world"))
        yield from _check_problems(document, one, at)


def _world_problems(document: Document, world: WorldFile, at: Location) -> Iterator[Problem]:
    made = World()
    for index, event in enumerate(world.events):
        try:
            made.add_event(event.title, event.date, event.start, event.end)
        except ToolFault as fault:
            yield problem_at(document, (*at, "events", index), str(fault))
    for name in world.faults:
        if name not in TOOLS:
            yield problem_at(
                document, (*at, "faults", name), f"there is no tool {name!r}", close_to(name, TOOLS)
            )


def _check_problems(document: Document, one: ScenarioFile, at: Location) -> Iterator[Problem]:
    for index, check in enumerate(one.checks):
        for name, rule in ((name, getattr(check, name)) for name in type(check).model_fields):
            place = (*at, "checks", index, name)
            if isinstance(rule, State) and one.world is None:
                yield problem_at(document, place, "'state' needs a world")
            expected: Mapping[str, object] = {}
            if isinstance(rule, Calls):
                expected = {"are": rule.are}
            elif isinstance(rule, Data):
                expected = {"equals": rule.equals, "values": rule.values}
            for inner, said in mistakes(expected):
                yield problem_at(document, (*place, *inner), said)


def _built(document: Document, file: PackFile, digest: str) -> tuple[Pack, list[Problem]]:
    """The pack, and where its own answers do not fit its checks: such a scenario would judge nobody."""
    problems: list[Problem] = []
    scenarios: list[Scenario] = []
    for index, one in enumerate(file.scenarios):
        at: Location = ("scenarios", index)
        place: Location = (*at, "right")
        try:
            right = script(one.right)
            wrong = []
            for number, given in enumerate(one.wrong):
                place = (*at, "wrong", number)
                wrong.append(script(given))
        except ValueError as error:
            problems.append(problem_at(document, place, str(error)))
            continue
        scenario = _scenario(file, one, right, tuple(wrong))
        scenarios.append(scenario)
        problems += _judged(document, scenario, at)
    return Pack(file.pack, file.title, tuple(scenarios), digest), problems


def _judged(document: Document, scenario: Scenario, at: Location) -> Iterator[Problem]:
    said = scenario.complaints(replay(scenario, scenario.right))
    if said:
        yield problem_at(document, (*at, "right"), f"this right answer does not pass: {said[0]}")
    for number, given in enumerate(scenario.wrong):
        if not scenario.complaints(replay(scenario, given)):
            yield problem_at(document, (*at, "wrong", number), "this wrong answer passes")


def _scenario(file: PackFile, one: ScenarioFile, right: Script, wrong: tuple[Script, ...]) -> Scenario:
    return Scenario(
        pack=file.pack,
        id=one.id,
        level=one.level,
        prompts=(one.prompt, *one.then),
        system=one.system if one.system is not None else file.system,
        tools=[_definition(name, file.tools[name]) for name in one.tools],
        world=_world(one.world) if one.world is not None else None,
        most_turns=one.most_turns,
        checks=tuple(rule for check in one.checks for rule in check.rules()),
        right=right,
        wrong=wrong,
    )


def _world(file: WorldFile) -> World:
    world = World(notes=dict(file.notes), pages=file.pages, contacts=file.contacts, faults=dict(file.faults))
    for event in file.events:
        world.add_event(event.title, event.date, event.start, event.end)
    return world


def _definition(name: str, tool: ToolFile) -> Mapping[str, object]:
    parameters = {
        "type": "object",
        "properties": tool.parameters,
        "required": [one for one in tool.parameters if one not in tool.optional],
    }
    function = {"name": name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


def script(value: object) -> Script:
    """The turns of an answer as a file has it.

    Raises:
        ValueError: it is none; the sentence says why.
    """
    return tuple(_turn(one) for one in (value if isinstance(value, list) else [value]))


def _turn(value: object) -> Turn:
    if isinstance(value, str):
        return Turn(value)
    calls = value if isinstance(value, list) else [value]
    return Turn(calls=tuple(_call(one) for one in calls))


def _call(value: Any) -> Call:
    if isinstance(value, dict) and len(value) == 1:
        ((name, arguments),) = value.items()
        if arguments is None or isinstance(arguments, dict):
            return Call(str(name), arguments or {})
    raise ValueError("must be a text or a tool call: its name with a mapping of arguments")
