"""`events`: what happened, and what happens."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from typing import Annotated, Final

import typer

from gpumod.cli.command import command
from gpumod.cli.outcome import ExitCode, printable, say, short_cards
from gpumod.cli.session import Session
from gpumod.client.calls import encode
from gpumod.core.errors import TimedOutError, UnreachableError
from gpumod.core.events import Event

_PATIENCE: Final = 30.0
"""Seconds that a daemon may be away while its events are followed, as for a restart."""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    command(app, "events")(events)


def events(
    session: Session,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with the events to come.")] = False,
    after: Annotated[int | None, typer.Option(min=0, help="Only events with a larger number.")] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of the last ones.")] = 100,
) -> ExitCode:
    """Show what happened on the box. With --json and --follow, one JSON document a line."""
    if follow:
        return _follow(session, after)
    kept = _last(session, after or 0, lines)
    if session.json:
        return session.emit(kept, ())
    for event in kept:
        sys.stdout.write(printable(_line(event)) + "\n")
    return ExitCode.DONE


def _last(session: Session, after: int, count: int) -> tuple[Event, ...]:
    """The last events that are kept; the daemon gives them in pages, oldest first."""
    last: deque[Event] = deque(maxlen=count)
    while page := session.client.events(after):
        last.extend(page)
        after = page[-1].seq
    return tuple(last)


def _follow(session: Session, after: int | None) -> ExitCode:
    """Events without a gap over restarts of the daemon, until somebody ends this command."""
    away_since: float | None = None
    while True:
        try:
            for event in session.client.follow_events(after):
                after, away_since = event.seq, None
                _write(session, event)
        except (UnreachableError, TimedOutError):
            if after is None and away_since is None:
                raise
            away_since = away_since or time.monotonic()
            if time.monotonic() - away_since > _PATIENCE:
                raise
        else:
            away_since = away_since or time.monotonic()
        say("gpumodctl: the connection was lost, trying again")
        time.sleep(1.0)


def _write(session: Session, event: Event) -> None:
    text = json.dumps(encode(event), ensure_ascii=False) if session.json else printable(_line(event))
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _line(event: Event) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.at))
    told = not event.subject or event.message.startswith(event.subject)
    text = event.message if told else f"{event.subject}: {event.message}"
    return f"{event.seq:>6}  {at}  {event.kind:<8} {short_cards(text)}"
