"""`bench matrix`: the full set of suites over several targets, and one report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer

from gpumod.cli import matrix as legs_of
from gpumod.cli.complete import preset_and_mode_names
from gpumod.cli.documents import Output, write
from gpumod.cli.job_arguments import Timeout
from gpumod.cli.job_progress import Watch
from gpumod.cli.layout import line
from gpumod.cli.matrix import Leg, Plan
from gpumod.cli.matrix_report import gather, markdown
from gpumod.cli.outcome import ExitCode, print_json, say
from gpumod.cli.session import Session
from gpumod.client.calls import encode
from gpumod.core.errors import TimedOutError

_Targets = Annotated[
    list[str] | None,
    typer.Argument(metavar="TARGET...", autocompletion=preset_and_mode_names, help="Presets or modes."),
]


def matrix(
    session: Session,
    targets: _Targets = None,
    suites: Annotated[str, typer.Option("--suites", metavar="SUITE,...", help="Which ones.")] = ",".join(
        legs_of.SUITES
    ),
    quick: Annotated[
        bool, typer.Option("--quick", help="A first look: too little of everything to show differences.")
    ] = False,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="SUITE.NAME=VALUE", help="A parameter of a suite."),
    ] = None,
    label: Annotated[str, typer.Option(help="A name for people, by which it is found again.")] = "",
    collect: Annotated[
        str | None,
        typer.Option("--collect", metavar="LABEL", help="Queue nothing: report on the matrix of that label."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Follow it to its report, or only queue it.")
    ] = True,
    timeout: Timeout = None,
    output: Output = None,
) -> ExitCode:
    """Run several suites on several targets, each leg a job of its own, and report on all of them at once.

    The legs go on whoever waits for them. Exits with 1 if one of them was not done.
    """
    if (collect is None) == (not targets):
        raise typer.BadParameter("give targets, or --collect LABEL")
    if collect is not None:
        legs, name, reproduce = legs_of.collect(session, collect), collect, ""
    else:
        names = legs_of.suites_of(suites)
        name = label or time.strftime("matrix %Y-%m-%d %H:%M:%S")
        plan = Plan(
            list(dict.fromkeys(targets or ())),
            names,
            quick,
            legs_of.given_parameters(param or (), names),
            name,
        )
        legs, reproduce = legs_of.submit(session, plan), legs_of.command_of(plan)
    if not wait:
        return _queued(session, name, legs)
    if not _followed(session, name, legs, timeout):
        return ExitCode.INTERRUPTED
    found = gather(session, name, reproduce, legs)
    if session.json and output is None:
        print_json(found.document())
    else:
        write(markdown(session, found), output)
        if session.json:
            print_json(found.document())
    return ExitCode.DONE if all(leg.done for leg in legs) else ExitCode.FAILED


def _queued(session: Session, name: str, legs: Sequence[Leg]) -> ExitCode:
    jobs = [leg.job for leg in legs]
    rows = [line(f"{leg.name}: {f'job {leg.job.id}' if leg.job else leg.refused}") for leg in legs]
    hint = line(f"`gpumodctl bench matrix --collect '{name}'` follows it to its report", "dim")
    return session.emit({"label": name, "jobs": encode(jobs)}, [*rows, hint])


def _followed(session: Session, name: str, legs: Sequence[Leg], timeout: float | None) -> bool:
    """Wait for every leg; False after Ctrl-C, which has been answered then.

    Raises:
        TimedOutError: the time to wait is over; the jobs go on.
        UnreachableError: the daemon went away and did not come back.
    """
    again = f"`gpumodctl bench matrix --collect '{name}'` waits for them again"
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        for leg in legs:
            if leg.job is None:
                say(f"{leg.name}: left out: {leg.refused}")
                continue
            left = None if deadline is None else max(0.001, deadline - time.monotonic())
            leg.job = Watch(session, leg.job).until_ended(left)
    except TimedOutError as error:
        raise TimedOutError(f"{error.detail}; the other legs go on too, and {again}") from error
    except KeyboardInterrupt:
        say(f"gpumodctl: no longer waiting; the jobs go on. {again}.")
        return False
    return True
