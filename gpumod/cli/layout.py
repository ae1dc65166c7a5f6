"""Tables and lines for people, laid out once for terminals and pipes alike.

A laid-out line is a list of (text, style) pieces. Styles are words (`good`, `warn`, `bad`, `dim`, `head`);
what they look like is decided where lines are written.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from gpumod.cli.outcome import printable

Piece = tuple[str, str]
Line = list[Piece]

_GAP: Final = "  "
_SHRUNK: Final = 12
"""A column that has to shrink keeps at least this many characters."""
_PIPED_BAR: Final = 20
_LONGEST_BAR: Final = 48


class Bar(NamedTuple):
    """Shares of a whole, drawn as wide as there is room: (share, character, ASCII character, style)."""

    parts: tuple[tuple[float, str, str, str], ...]

    def draw(self, width: int, *, unicode: bool) -> Line:
        """The bar, exactly `width` wide; a share that is not zero is always seen."""
        pieces: Line = []
        end = 0.0
        drawn = 0
        for share, character, plain, style in self.parts:
            end += max(share, 0.0)
            upto = min(width, max(round(end * width), drawn + 1 if share > 0 else drawn))
            pieces.append(((character if unicode else plain) * (upto - drawn), style))
            drawn = upto
        pieces.append((("·" if unicode else ".") * (width - drawn), "dim"))
        return pieces


class Cell(NamedTuple):
    """A cell's text and style."""

    text: str
    style: str = ""


class Column(NamedTuple):
    """A column's title; `right` aligns numbers, `shrinks` lets it be cut where room is short."""

    title: str
    right: bool = False
    shrinks: bool = False


class Row(NamedTuple):
    """A row, and lines below it that tell more."""

    cells: tuple[Cell | Bar, ...]
    notes: tuple[Cell, ...] = ()


class Table(NamedTuple):
    """Rows under titles."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


class Text(NamedTuple):
    """Pieces of text that begin after `lead` blanks, and go on after `indent` where they are wrapped."""

    pieces: tuple[Cell, ...]
    lead: int = 0
    indent: int = 0


Block = Table | Text


def line(text: str, style: str = "", *, lead: int = 0) -> Text:
    """One line of text."""
    return Text((Cell(text, style),), lead=lead, indent=lead + 2)


def lay_out(blocks: Iterable[Block], width: int | None, *, unicode: bool = True) -> list[Line]:
    """Lines of at most `width` characters; None is a pipe, where nothing is cut or wrapped."""
    lines: list[Line] = []
    for block in blocks:
        if isinstance(block, Table):
            lines += _table(block, width, unicode=unicode)
        else:
            lines += _wrap(block, width)
    return [_harmless(_stripped(line)) for line in lines]


def plain(lines: Iterable[Line]) -> str:
    """Lines without their styles."""
    return "".join("".join(text for text, _ in line) + "\n" for line in lines)


def _stripped(line: Line) -> Line:
    """The line without blanks at its end."""
    while line and not (last := line[-1])[0].rstrip():
        line = line[:-1]
    return [*line[:-1], (last[0].rstrip(), last[1])] if line else []


def _harmless(line: Line) -> Line:
    return [(printable(text), style) for text, style in line]


def _wrap(text: Text, width: int | None) -> list[Line]:
    lines: list[Line] = [[(" " * text.lead, "")]]
    if width is None or text.lead + sum(len(cell.text) for cell in text.pieces) <= width:
        lines[0] += [(cell.text, cell.style) for cell in text.pieces]
        return lines
    used, begun = text.lead, False
    for word, style in ((word, cell.style) for cell in text.pieces for word in _words(cell.text)):
        if begun and used + len(word.rstrip()) > width:
            lines.append([(" " * text.indent, "")])
            used = text.indent
        lines[-1].append((word, style))
        used, begun = used + len(word), True
    return lines


def _words(text: str) -> list[str]:
    """Words, each with the blanks that follow it."""
    return re.findall(r"\S+\s*|^\s+", text)


def _table(table: Table, width: int | None, *, unicode: bool) -> list[Line]:
    widths = _widths(table, width)
    lines: list[Line] = []
    if any(column.title for column in table.columns):
        titles = [Cell(column.title, "dim") for column in table.columns]
        lines.append(_row(table.columns, titles, widths, unicode=unicode))
    for row in table.rows:
        lines.append(_row(table.columns, row.cells, widths, unicode=unicode))
        for note in row.notes:
            lines += _wrap(Text((note,), lead=4, indent=4), width)
    return lines


def _row(
    columns: Sequence[Column], cells: Sequence[Cell | Bar], widths: Sequence[int], *, unicode: bool
) -> Line:
    line: Line = []
    for column, cell, width in zip(columns, cells, widths, strict=True):
        if line:
            line.append((_GAP, ""))
        if isinstance(cell, Bar):
            line += cell.draw(width, unicode=unicode)
            continue
        text = cell.text if len(cell.text) <= width else cell.text[: width - 1] + ("…" if unicode else "~")
        line.append((text.rjust(width) if column.right else text.ljust(width), cell.style))
    return line


def _widths(table: Table, width: int | None) -> list[int]:
    """Natural widths; then bars take what is left, or columns that may shrink give what is missing."""
    bars = {index for row in table.rows for index, cell in enumerate(row.cells) if isinstance(cell, Bar)}
    widths = [
        max(
            [len(column.title)]
            + [len(cell.text) for row in table.rows if isinstance(cell := row.cells[index], Cell)]
        )
        for index, column in enumerate(table.columns)
    ]
    for index in bars:
        widths[index] = max(widths[index], _PIPED_BAR if width is None else 8)
    if width is None:
        return widths
    spare = width - sum(widths) - len(_GAP) * (len(widths) - 1)
    for index in sorted(bars):
        grown = min(widths[index] + max(spare, 0), _LONGEST_BAR)
        spare -= grown - widths[index]
        widths[index] = grown
    for index, column in enumerate(table.columns):
        if spare < 0 and column.shrinks:
            shrunk = max(min(_SHRUNK, widths[index]), widths[index] + spare)
            spare += widths[index] - shrunk
            widths[index] = shrunk
    return widths
