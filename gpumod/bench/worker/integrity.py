"""Why a result should not be trusted: what else used the target's cards, and what happened to its engine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gpumod.core.cards import Card, CardHealth
from gpumod.core.plan import StepKind
from gpumod.core.switch import SwitchState
from gpumod.core.units import format_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpumod.bench.worker.targets import Aim
    from gpumod.core.names import CardId
    from gpumod.core.service import ServiceRecord
    from gpumod.core.switch import BoxStatus, SwitchRecord


class Integrity:
    """Collects what speaks against a result, each thing once.

    Attributes:
        looks: how often the box was looked at.
        idle: bytes that the target held at the first look, by card.
        peak: the most bytes that it was seen to hold, by card.
        load: the host's highest load over one minute that was seen.
        displays: programs that only draw on a card: named in the provenance, no reason for distrust.
    """

    def __init__(self, aim: Aim) -> None:
        self._aim = aim
        self._found: dict[str, str] = {}
        self._generations: dict[str, int] = {}
        self.looks = 0
        self.idle: dict[CardId, int] = {}
        self.peak: dict[CardId, int] = {}
        self.displays: set[str] = set()
        self.load = 0.0

    @property
    def sentences(self) -> tuple[str, ...]:
        """Everything that speaks against the result."""
        return tuple(self._found.values())

    def note(self, key: str, sentence: str) -> None:
        """Something speaks against the result; the first sentence of a key stays."""
        self._found.setdefault(key, sentence)

    def put(self, key: str, sentence: str) -> None:
        """Something speaks against the result; the last sentence of a key stays, for numbers that grow."""
        self._found[key] = sentence

    def look(self, status: BoxStatus) -> None:
        """Take in what the box is like now."""
        self.looks += 1
        self.load = max(self.load, os.getloadavg()[0])
        records = [record for record in status.services if record.id in self._aim.services]
        cards = {card for record in records for card in record.cards}
        for card in status.reading.cards:
            if card.id in cards:
                self._look_at(card)
        for record in records:
            self._restarted(record)
        for record in status.services:
            if record.id not in self._aim.services and record.state.may_hold_memory:
                self._beside(record, cards)
        held = memory_of(self._aim, status)
        for card_id, size in held.items():
            self.idle.setdefault(card_id, size)
            self.peak[card_id] = max(size, self.peak.get(card_id, 0))

    def visited(self, switches: Sequence[SwitchRecord]) -> None:
        """Take in the job's own switches: what they have launched anew was not restarted by anybody else.

        Where one of them was not committed, nobody can say how often it launched what: the count begins anew.
        """
        if any(one.state is not SwitchState.COMMITTED for one in switches):
            self._generations.clear()
        for step in (step for one in switches for step in one.steps):
            if step.kind is StepKind.START and step.service in self._generations:
                self._generations[step.service] += 1

    def _look_at(self, card: Card) -> None:
        if card.health is not CardHealth.OK:
            self.note(f"health {card.id}", f"{card.id} was {card.health}: {card.reason}")
        if not card.is_host and not card.pids_visible:
            self.note(
                f"pids {card.id}",
                f"processes on {card.id} cannot be seen here: use by others is not ruled out",
            )
        for process in card.processes:
            key = f"foreign {card.id} {process.pid}"
            if process.service is not None:
                # It was seen before it was known whose it is: it had just been started.
                self._found.pop(key, None)
                continue
            name = process.command or f"process {process.pid}"
            if process.graphics:
                self.displays.add(f"{name} on {card.id}")
                continue
            size = "memory" if process.used is None else format_size(process.used)
            user = f" of {process.user}" if process.user else ""
            sentence = f"{name} (pid {process.pid}){user} held {size} of {card.id} meanwhile"
            self.note(key, sentence)

    def _restarted(self, record: ServiceRecord) -> None:
        before = self._generations.setdefault(record.id, record.generation)
        if before != record.generation:
            self.note(f"restart {record.id}", f"{record.id} was restarted meanwhile")

    def _beside(self, record: ServiceRecord, cards: set[CardId]) -> None:
        shared = cards & set(record.cards)
        where = f" on {', '.join(sorted(shared))}" if shared else " on other cards"
        self.note(f"beside {record.id}", f"{record.id} ran beside{where} meanwhile")


def memory_of(aim: Aim, status: BoxStatus) -> dict[CardId, int]:
    """Bytes that a target holds, by card: as the driver lists them, else as they were last seen."""
    held: dict[CardId, int] = {}
    for record in status.services:
        if record.id in aim.services:
            for card in record.cards:
                listed = _listed(status, card, record)
                held[card] = held.get(card, 0) + (
                    record.last_observed(card) or 0 if listed is None else listed
                )
    return held


def _listed(status: BoxStatus, card_id: CardId, record: ServiceRecord) -> int | None:
    card = status.reading.card(card_id)
    sizes = [one.used for one in card.processes if one.service == record.id] if card else []
    known = [size for size in sizes if size is not None]
    return sum(known) if known and len(known) == len(sizes) else None
