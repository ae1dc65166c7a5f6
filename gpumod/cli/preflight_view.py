"""A preflight for people: each service's memory part by part, what would go wrong, and what would fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gpumod.cli.layout import Block, Cell, Column, Row, Table, Text, line
from gpumod.cli.outcome import short_cards
from gpumod.core.units import format_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gpumod.core.footprint import Footprint, KvPool, Part
    from gpumod.core.preflight import FittedContext, OracleAnswer, OracleDevice, ServicePreflight

_BETWEEN: Final = " and "


def preflight_blocks(services: Sequence[ServicePreflight]) -> list[Block]:
    """All services, one under the other, with a blank line before each but the first."""
    blocks: list[Block] = []
    for service in services:
        blocks += [Text(())] if blocks else []
        blocks += _service(service)
    return blocks


def _service(service: ServicePreflight) -> Iterator[Block]:
    yield _headline(service)
    footprint = service.footprint
    if footprint is None:
        yield line("what it takes here is not known", "warn", lead=2)
    else:
        yield _parts(service, footprint)
        if footprint.note:
            yield line(footprint.note, "dim", lead=2)
        if footprint.pool is not None:
            yield line(_pool(footprint.pool), lead=2)
        for warning in footprint.warnings:
            yield line(f"warning: {warning}", "warn", lead=2)
    for landmine in service.landmines:
        label, style = ("fatal", "bad") if landmine.fatal else ("landmine", "warn")
        yield line(f"{label}: {landmine.sentence} [{landmine.id}]", style, lead=2)
    yield from _advice(service)
    if service.fitted is not None:
        yield line(_fitted(service.fitted), "good" if service.fitted.context else "bad", lead=2)
    if service.oracle is not None:
        yield from _oracle(service.oracle)


def _headline(service: ServicePreflight) -> Text:
    where = ", ".join(short_cards(card) for card in service.cards) or "no card"
    model = f" ({service.card_name})" if service.card_name else ""
    runs = ", runs already" if service.runs else ""
    pieces = [Cell(str(service.service), "head"), Cell(f" on {where}{model}{runs}")]
    footprint = service.footprint
    if footprint is not None and footprint.cards:
        need = " + ".join(map(format_size, footprint.cards))
        have = " + ".join(map(format_size, service.available))
        pairs = zip(footprint.cards, service.available, strict=False)
        fits = all(size <= there for size, there in pairs)
        pieces.append(Cell(f": needs {need} of {have}", "good" if fits else "bad"))
    return Text(tuple(pieces), indent=2)


def _parts(service: ServicePreflight, footprint: Footprint) -> Table:
    """Parts, their sum, what was learned, and what is charged."""
    count = len(footprint.cards)
    names = [short_cards(card) for card in service.cards] or [f"card {at}" for at in range(count)]
    columns = (
        Column("  part"),
        *(Column(name, right=True) for name in names[:count]),
        Column("host", right=True),
        Column("source"),
        Column("", shrinks=True),
    )
    rows = [_part(part, count) for part in footprint.parts]
    if footprint.formula is not None:
        host = sum(part.host for part in footprint.parts)
        rows.append(_sum("the formula", footprint.formula, host, "estimated"))
    if footprint.learned_peak is not None:
        rows.append(_sum("seen at most", footprint.learned_peak, 0, "learned"))
    rows.append(_sum("charged", footprint.cards, footprint.resident, footprint.source, "head"))
    if footprint.loading:
        rows.append(_sum("while loading", (0,) * count, footprint.loading, "estimated"))
    return Table(columns, tuple(rows))


def _part(part: Part, count: int) -> Row:
    sizes = (*part.cards, *(0,) * count)[:count]
    return Row(
        (
            Cell(f"  {part.name}"),
            *(Cell(_size(size)) for size in sizes),
            Cell(_size(part.host)),
            Cell(part.source),
            Cell(part.note, "dim"),
        )
    )


def _sum(name: str, cards: tuple[int, ...], host: int, source: str, style: str = "") -> Row:
    return Row(
        (
            Cell(f"  {name}", style),
            *(Cell(_size(size), style) for size in cards),
            Cell(_size(host), style),
            Cell(source, style),
            Cell(""),
        )
    )


def _size(size: int) -> str:
    return format_size(size) if size else "-"


def _pool(pool: KvPool) -> str:
    return (
        f"KV pool: {pool.tokens} tokens, {pool.concurrency:.2f} requests of the whole context at once; "
        f"the largest context that would start is {pool.largest_context}"
    )


def _advice(service: ServicePreflight) -> Iterator[Block]:
    if not service.advice:
        return
    yield line("it would fit with one of these, the least loss first:", lead=2)
    columns = (Column("    write"), Column("needs", right=True), Column("", shrinks=True))
    rows = tuple(
        Row(
            (
                Cell(f"    {short_cards(_BETWEEN.join(one.line.splitlines()))}", "good"),
                Cell(" + ".join(map(format_size, one.cards))),
                Cell(short_cards(one.detail)),
            )
        )
        for one in service.advice
    )
    yield Table(columns, rows)


def _fitted(fitted: FittedContext) -> str:
    if fitted.context is None:
        return f"no context fits now: {fitted.reason}"
    need = " + ".join(map(format_size, fitted.cards))
    return f"the largest context that fits now: `{fitted.line}` ({need}; {fitted.reason})"


def _oracle(answer: OracleAnswer) -> Iterator[Block]:
    if not answer.devices:
        yield line(f"no second opinion: {answer.trouble}", "warn", lead=2)
        return
    yield line(f"second opinion of {answer.program}:", lead=2)
    columns = tuple(
        Column(title, right=title != "    device")
        for title in ("    device", "weights", "context", "compute", "in all", "the formula", "difference")
    )
    yield Table(columns, tuple(_device(one) for one in answer.devices))
    for limit in answer.limits:
        yield line(limit, "dim", lead=4)


def _device(one: OracleDevice) -> Row:
    difference = ""
    if one.formula is not None:
        share = f" ({(one.formula - one.total) / one.total:+.1%})" if one.total else ""
        difference = f"{format_size(one.formula - one.total)}{share}"
    sizes = (one.model, one.context, one.compute, one.total)
    return Row(
        (
            Cell(f"    {one.device}"),
            *(Cell(_size(size)) for size in sizes),
            Cell("" if one.formula is None else format_size(one.formula)),
            Cell(difference),
        )
    )
