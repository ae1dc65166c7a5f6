"""The box as a whole: `status` and `cards`."""

from __future__ import annotations

import typer

from gpumod.cli.command import command
from gpumod.cli.layout import Block, Cell, Text
from gpumod.cli.outcome import ExitCode, process_phrase
from gpumod.cli.session import Session
from gpumod.cli.status_view import card_name, cards_blocks
from gpumod.client.calls import encode
from gpumod.core.cards import Card, CardsReading
from gpumod.core.units import format_size


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    command(app, "status")(status)
    command(app, "cards")(cards)


def status(session: Session) -> ExitCode:
    """Show what the box is like: its mode, cards, services, leases and a running switch."""
    from gpumod.cli import status as short

    return short.run(session.options)


def cards(session: Session) -> ExitCode:
    """Show the cards, their budgets, and every process on them."""
    found = session.client.cards()
    shown = encode(found)
    blocks = cards_blocks(shown, shown["budgets"], shown["overcommitted"])
    return session.emit(found, [*blocks, *_details(found)])


def _details(reading: CardsReading) -> list[Block]:
    return [block for card in reading.cards for block in _card(card)]


def _card(card: Card) -> list[Block]:
    facts = [str(card.id), f"{format_size(card.free)} free of {format_size(card.total)}"]
    facts += [f"{card.utilization} % busy"] if card.utilization is not None else []
    facts += [f"{card.temperature} °C"] if card.temperature is not None else []
    facts += [f"{card.power_watts:.0f} W"] if card.power_watts is not None else []
    head = Text((Cell(card_name(card.name) or str(card.id), "head"), Cell("  " + ", ".join(facts))), indent=4)
    return [Text(()), head, *_processes(card)]


def _processes(card: Card) -> list[Block]:
    held = sorted(card.processes, key=lambda one: -(one.used or 0))
    return [
        Text(
            (
                Cell(("?" if one.used is None else format_size(one.used)).rjust(10)),
                Cell(f"  {process_phrase(encode(one))}"),
                Cell(f"  {one.service}", "ours") if one.service else Cell("  foreign", "foreign"),
            ),
            indent=12,
        )
        for one in held
    ]
