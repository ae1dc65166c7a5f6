"""What `gpumodctl status` and its parts show, from the API's JSON: no types to build, no time lost."""

from collections.abc import Mapping
from typing import Any, Final

from gpumod.cli.layout import Bar, Block, Cell, Column, Row, Table, Text
from gpumod.cli.outcome import process_phrase, short_cards
from gpumod.core.units import format_duration, format_size

Json = Mapping[str, Any]

BOX_STYLES: Final = {
    "settled": "good",
    "switching": "warn",
    "modified": "warn",
    "degraded": "bad",
    "unknown": "bad",
}
STATE_STYLES: Final = {"ready": "good", "failed": "bad", "stopped": "dim", "sleeping": "dim", "parked": "dim"}
STEP_STYLES: Final = {"done": "good", "running": "warn", "failed": "bad", "skipped": "dim", "planned": "dim"}
_LABEL: Final = 10


def status_blocks(status: Json) -> list[Block]:
    """The whole status: box, cards, services, the running switch, leases and notes."""
    now = status["at"]
    return [
        *_box(status),
        *_section("cards", cards_blocks(status["reading"], status["budgets"], status["overcommitted"])),
        *_section("services", services_blocks(status["services"], status["reading"], now)),
        *_section("switch", switch_blocks(status["switch"], now) if status["switch"] else []),
        *_section("leases", leases_blocks(status["leases"], now) if status["leases"] else []),
        *_section("notes", [Text((Cell(note),), lead=2, indent=4) for note in status["notes"]]),
    ]


def _section(title: str, blocks: list[Block]) -> list[Block]:
    return [Text(()), Text((Cell(title.upper(), "head"),)), *blocks] if blocks else []


def labelled(label: str, *pieces: Cell) -> Text:
    """A line that begins with what it is about."""
    return Text((Cell(label.ljust(_LABEL), "dim"), *pieces), indent=_LABEL)


def _box(status: Json) -> list[Block]:
    state = status["state"]
    reason = f"  {status['reason']}" if status["reason"] else ""
    blocks: list[Block] = [
        labelled("box", Cell(state, BOX_STYLES.get(state, "")), Cell(reason)),
        labelled("mode", Cell(status["mode"], "head")),
    ]
    reading = status["reading"]
    version = f" {reading['driver_version']}" if reading["driver_version"] else ""
    if reading["driver"] not in {"ok", "absent"}:
        why = f": {reading['reason']}" if reading["reason"] else ""
        blocks.append(labelled("driver", Cell(reading["driver"].replace("_", " ") + why, "bad")))
    elif version:
        blocks.append(labelled("driver", Cell(version.strip())))
    host = reading["host"]
    limit = f", limited by {host['limited_by']}" if host["limited_by"] else ""
    free = f"{format_size(host['available'])} of {format_size(host['total'])} available{limit}"
    blocks.append(labelled("host", Cell(free)))
    return blocks


# --- cards ----------------------------------------------------------------------------------


def cards_blocks(reading: Json, budgets: list[Json], overcommitted: list[str]) -> list[Block]:
    """Each card's budget as numbers and as a bar, and who is not ours on it."""
    if not reading["cards"]:
        return [
            Text((Cell("none: " + (reading["reason"] or "no card was found"), "warn"),), lead=2, indent=4)
        ]
    by_card = {budget["card"]: budget for budget in budgets}
    columns = (
        Column("", right=True),
        Column("card", shrinks=True),
        Column(""),
        Column("total", right=True),
        Column("ours", right=True),
        Column("foreign", right=True),
        Column("headroom", right=True),
        Column("available", right=True),
    )
    rows = tuple(
        _card_row(card, by_card.get(card["id"]), card["id"] in overcommitted) for card in reading["cards"]
    )
    return [Table(columns, rows)]


def _card_row(card: Json, budget: Json | None, overcommitted: bool) -> Row:
    index = "" if card["id"] == "host" else str(card["index"])
    name = Cell(card_name(card["name"]) or card["id"])
    notes = _card_notes(card, overcommitted=overcommitted)
    total = Cell(format_size(card["total"]))
    if budget is None:
        blanks = (Cell(""),) * 3
        return Row(
            (Cell(index), name, Cell(""), total, *blanks, Cell(format_size(card["free"]), "dim")), notes
        )
    left = budget["available"]
    style = "bad" if left < 0 or overcommitted else "good" if left else ""
    return Row(
        (
            Cell(index),
            name,
            _bar(budget),
            total,
            Cell(format_size(budget["charged"])),
            Cell(format_size(budget["foreign"]), "warn" if budget["foreign"] else ""),
            Cell(format_size(budget["headroom"])),
            Cell(format_size(left), style),
        ),
        notes,
    )


def _bar(budget: Json) -> Bar:
    total = max(budget["total"], 1)
    parts = (
        ("charged", "█", "#", "ours"),
        ("foreign", "▒", "x", "foreign"),
        ("headroom", "░", "-", "headroom"),
    )
    return Bar(tuple((budget[name] / total, one, plain, style) for name, one, plain, style in parts))


def _card_notes(card: Json, *, overcommitted: bool) -> tuple[Cell, ...]:
    notes = []
    if card["health"] != "ok":
        why = f": {card['reason']}" if card["reason"] else ""
        age = f", seen {format_duration(card['age'])} ago" if card["age"] else ""
        notes.append(Cell(f"{card['health']}{why}{age}", "bad"))
    if overcommitted:
        notes.append(Cell("overcommitted: more is held than the budget has; nothing is killed for it", "bad"))
    foreign = [one for one in card["processes"] if not one["service"]]
    if foreign:
        foreign.sort(key=lambda one: -(one["used"] or 0))
        listed = ", ".join(_foreign(one) for one in foreign)
        notes.append(Cell(f"foreign: {listed}", "dim"))
    return tuple(notes)


def _foreign(process: Json) -> str:
    used = "" if process["used"] is None else f" {format_size(process['used'])}"
    return process_phrase(process) + used


# --- services -------------------------------------------------------------------------------


def services_blocks(services: list[Json], reading: Json | None, now: float) -> list[Block]:
    """Each service: state, cards, port, memory and since when; the reason where it is not simply ready."""
    columns = (
        Column("service", shrinks=True),
        Column("state"),
        Column("cards"),
        Column("port", right=True),
        Column("reserved", right=True),
        Column("observed", right=True),
        Column("since", right=True),
    )
    indexes = {card["id"]: str(card["index"]) for card in reading["cards"]} if reading else {}
    rows = tuple(_service_row(service, indexes, now) for service in services)
    return [Table(columns, rows)] if rows else []


def _service_row(service: Json, indexes: Mapping[str, str], now: float) -> Row:
    launch, state = service["launch"], service["state"]
    gone = state in {"stopped", "failed"}
    cards = launch["cards"] if launch and not gone else []
    names = ",".join("host" if card == "host" else indexes.get(card, card[:8]) for card in cards)
    reserved = sum(service["footprint"]["cards"]) if service["footprint"] and not gone else None
    observed = sum(size for _, size in service["observed"]) if service["observed"] and not gone else None
    notes = (
        () if state == "ready" or not service["reason"] else (Cell(service["reason"], _note_style(state)),)
    )
    return Row(
        (
            Cell(service["id"]),
            Cell(state, STATE_STYLES.get(state, "warn")),
            Cell(names or "-"),
            Cell(str(launch["port"]) if launch and not gone else "-"),
            Cell("-" if reserved is None else format_size(reserved)),
            Cell("-" if observed is None else format_size(observed)),
            Cell(format_duration(max(0.0, now - service["since"]))),
        ),
        notes,
    )


def _note_style(state: str) -> str:
    return "bad" if state == "failed" else "dim"


# --- switch and leases ----------------------------------------------------------------------


def switch_blocks(switch: Json, now: float) -> list[Block]:
    """A switch: where from and to, how it stands, and its steps with times."""
    ended = switch["ended"]
    took = format_duration(max(0.0, (now if ended is None else ended) - switch["started"]))
    state = switch["state"].replace("_", " ")
    head = f"{switch['id']}  {switch['source']} -> {switch['target']}  {state}, {took}"
    reason = f": {switch['reason']}" if switch["reason"] else ""
    elsewhere = switch["left"] and switch["state"] != "committed"
    left = [Text((Cell(f"left: {switch['left']}"),), lead=2, indent=4)] if elsewhere else []
    return [Text((Cell(head), Cell(reason)), lead=2, indent=4), *steps_blocks(switch["steps"], now), *left]


def steps_blocks(steps: list[Json], now: float) -> list[Block]:
    """Steps in their order, each with its state and how long it took or has taken."""
    rows = tuple(
        Row(
            (
                Cell(""),
                Cell(step["state"], STEP_STYLES.get(step["state"], "")),
                Cell(step_time(step, now)),
                Cell(step_phrase(step)),
            ),
            (Cell("  " + step["detail"], "bad" if step["state"] == "failed" else "dim"),)
            if step["detail"]
            else (),
        )
        for step in steps
    )
    columns = (Column(""), Column(""), Column("", right=True), Column("", shrinks=True))
    return [Table(columns, rows)] if rows else []


def step_phrase(step: Json) -> str:
    """A step in words; steps that undo say so."""
    prefix = {"undo": "undo: ", "blank": "to blank: "}.get(step["phase"], "")
    return short_cards(prefix + str(step["phrase"]))


def card_name(name: str) -> str:
    """A card's name without its maker's."""
    return name.removeprefix("NVIDIA ").removeprefix("GeForce ")


def step_time(step: Json, now: float) -> str:
    """How long a step took, or has taken; empty where it has not begun."""
    if step["started"] is None:
        return ""
    return format_duration(max(0.0, (step["ended"] or now) - step["started"]))


def leases_blocks(leases: list[Json], now: float) -> list[Block]:
    """Who claims which services for how much longer."""
    columns = (Column("lease"), Column("holder"), Column("ends in", right=True), Column("services"))
    rows = tuple(
        Row(
            (
                Cell(lease["id"]),
                Cell(lease["holder"]),
                Cell(format_duration(max(0.0, lease["until"] - now))),
                Cell(", ".join(lease["services"]) or "none"),
            ),
            (Cell(lease["purpose"], "dim"),) if lease["purpose"] else (),
        )
        for lease in leases
    )
    return [Table(columns, rows)]
