"""`lease take|release|renew|list`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from gpumod.cli.command import command, group, seconds
from gpumod.cli.complete import service_names
from gpumod.cli.layout import line
from gpumod.cli.outcome import ExitCode
from gpumod.cli.session import Session
from gpumod.cli.status_view import leases_blocks
from gpumod.client.calls import encode
from gpumod.core.lease import Lease
from gpumod.core.units import format_duration

_For = Annotated[
    float, typer.Option("--for", parser=seconds, metavar="DURATION", help="How long it holds, e.g. 30m.")
]
_Id = Annotated[str, typer.Argument(metavar="LEASE", help="The lease's id.")]
_Services = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SERVICE]...",
        autocompletion=service_names,
        help="What to claim; the present mode's by default.",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    leases = group("Claims that services stay. A lease expires by itself.")
    command(leases, "take")(take)
    command(leases, "release")(release)
    command(leases, "renew")(renew)
    command(leases, "list")(list_leases)
    app.add_typer(leases, name="lease")


def take(
    session: Session,
    duration: _For,
    services: _Services = None,
    holder: Annotated[str | None, typer.Option(help="Who claims; you on this machine by default.")] = None,
    purpose: Annotated[str, typer.Option(help="What for, shown to others.")] = "",
) -> ExitCode:
    """Claim that services stay for a while."""
    lease = session.client.take_lease(holder or _self(), duration, services=services or None, purpose=purpose)
    return session.emit(lease, [line(f"lease {lease.id}: {_claim(lease)}")])


def _self() -> str:
    import getpass
    import socket

    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "somebody"
    return f"{user}@{socket.gethostname()}"


def _claim(lease: Lease) -> str:
    left = format_duration(max(0.0, lease.until - time.time()))
    return f"{', '.join(lease.services) or 'no service'} for {left}, held by {lease.holder}"


def release(session: Session, lease: _Id) -> ExitCode:
    """Give a lease back."""
    released = session.client.release_lease(lease)
    return session.emit(released, [line(f"lease {released.id} of {released.holder} is released")])


def renew(session: Session, lease: _Id, duration: _For) -> ExitCode:
    """Move a lease's end to so long from now."""
    renewed = session.client.renew_lease(lease, duration)
    return session.emit(renewed, [line(f"lease {renewed.id}: {_claim(renewed)}")])


def list_leases(session: Session) -> ExitCode:
    """List the leases that hold now."""
    leases = session.client.leases()
    blocks = leases_blocks(encode(leases), time.time()) if leases else [line("no lease holds")]
    return session.emit(leases, blocks)
