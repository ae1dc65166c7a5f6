"""`bench run|compare|report|results|matrix`: measure, and read what was measured."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import typer

from gpumod.cli import job_options
from gpumod.cli.command import command, group
from gpumod.cli.commands import bench_matrix
from gpumod.cli.comparison_view import comparison_blocks
from gpumod.cli.complete import job_names, preset_and_mode_names
from gpumod.cli.documents import Output, write
from gpumod.cli.job_arguments import JobName, Param, Targets, Timeout
from gpumod.cli.job_progress import measured_code, wait_for
from gpumod.cli.job_view import job_phrase
from gpumod.cli.layout import Block, Cell, Column, Row, Table, line
from gpumod.cli.outcome import ExitCode, print_json
from gpumod.cli.result_files import is_file, reference, results_in
from gpumod.cli.session import Session
from gpumod.client.job_calls import Work
from gpumod.core.job import Result


class _Text(StrEnum):
    TEXT = "text"
    MARKDOWN = "markdown"


class _Format(StrEnum):
    MARKDOWN = "markdown"
    HTML = "html"
    JSON = "json"


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    bench = group("Benchmarks: measure targets, report, and put results side by side.")
    command(bench, "run")(run)
    command(bench, "compare")(compare)
    command(bench, "report")(report)
    command(bench, "results")(results)
    command(bench, "matrix")(bench_matrix.matrix)
    app.add_typer(bench, name="bench")


def run(
    session: Session,
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="What to measure, for example speed.")],
    targets: Targets,
    param: Param = None,
    label: Annotated[str, typer.Option(help="A name for people.")] = "",
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Follow it to its report, or only queue it.")
    ] = True,
    timeout: Timeout = None,
) -> ExitCode:
    """Measure presets or modes, follow it, and print the report. The box is put back afterwards.

    Exits with 1 where no case of a target was answered by its model.
    """
    work = Work(suite=suite, targets=targets, parameters=job_options.parameters(param or ()), label=label)
    job = session.client.submit_job(work)
    if not wait:
        return session.emit(job, [line(f"job {job.id} is {job.state}: {job_phrase(job)}")])
    ended = wait_for(session, job, timeout)
    if ended is None:
        return ExitCode.INTERRUPTED
    results = session.client.results(ended.id)
    if session.json:
        session.emit({"job": ended, "results": results}, ())
    else:
        write(session.client.report(ended.id, "markdown"), None)
    return measured_code(results)


def compare(
    session: Session,
    results: Annotated[
        list[str],
        typer.Argument(
            metavar="RESULT...",
            autocompletion=job_names,
            help="JOB (all of its targets), JOB/TARGET, or a report or results in FILE.json; the first one "
            "of each suite is what the others are compared with.",
        ),
    ],
    form: Annotated[_Text, typer.Option("--format", help="For a terminal, or ready to paste.")] = _Text.TEXT,
) -> ExitCode:
    """Put results side by side: what they differ in, what is shown, what that says for modes.

    Exits with 1 where they are not comparable.
    """
    named: list[str | Mapping[str, object]] = []
    for name in results:
        named += results_in(name) if is_file(name) else [reference(name)]
    found = session.client.compare(*named)
    if form is _Text.MARKDOWN and not session.json:
        write(found.markdown, None)
    else:
        session.emit(found, comparison_blocks(found))
    comparable = any(not one.not_comparable for one in found.comparisons)
    return ExitCode.DONE if comparable else ExitCode.FAILED


def report(
    session: Session,
    job: JobName,
    form: Annotated[_Format, typer.Option("--format", help="How it is written.")] = _Format.MARKDOWN,
    output: Output = None,
) -> ExitCode:
    """The report on a job; of one that has not ended, on what there is so far."""
    kind = _Format.JSON if session.json else form
    text = session.client.report(job, kind.value)
    if session.json and output is None:
        print_json(json.loads(text))
        return ExitCode.DONE
    return write(text, output)


def results(
    session: Session,
    job: Annotated[
        str | None, typer.Option("--job", autocompletion=job_names, help="Only this job's.")
    ] = None,
    suite: Annotated[str, typer.Option("--suite", help="Only this suite's.")] = "",
    target: Annotated[
        str, typer.Option("--target", autocompletion=preset_and_mode_names, help="Only this target's.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 20,
) -> ExitCode:
    """List results, newest first, by the names that `bench compare` takes."""
    found = session.client.results(job, suite=suite, target=target, limit=limit)
    return session.emit(found, _results_blocks(found))


def _results_blocks(found: tuple[Result, ...]) -> list[Block]:
    if not found:
        return [line("no result yet")]
    columns = (
        Column("result", shrinks=True),
        Column("suite"),
        Column("measured"),
        Column("numbers", right=True),
        Column("label", shrinks=True),
    )
    rows = tuple(
        Row(
            (
                Cell(f"{one.job}/{one.target}"),
                Cell(f"{one.suite} {one.suite_version}"),
                Cell(time.strftime("%Y-%m-%d %H:%M", time.localtime(one.started))),
                Cell(str(len(one.metrics))),
                Cell(one.label),
            ),
            tuple(Cell(text, "warn") for text in one.integrity),
        )
        for one in found
    )
    return [Table(columns, rows)]
