"""Routes on reports: what a job found out, as documents for people and for programs."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from gpumod.api.bodies import NAME
from gpumod.api.context import Ctx, answer
from gpumod.api.document import reading
from gpumod.bench.report import ReportFormat, render
from gpumod.bench.report.document import Report
from gpumod.core.job import JobId

router = APIRouter(tags=["jobs"])
Id = Annotated[str, Path(pattern=NAME)]

_MOST_RESULTS: Final = 1000
"""More than a job can have targets."""
_TYPES: Final = {
    ReportFormat.JSON: "application/json",
    ReportFormat.MARKDOWN: "text/markdown",
    ReportFormat.HTML: "text/html",
}


class ReportQuery(BaseModel):
    """How it is written."""

    model_config = ConfigDict(extra="forbid")

    format: Annotated[
        ReportFormat,
        Field(description="A document for programs, a card ready to paste, or one self-contained file."),
    ] = ReportFormat.JSON


def _answers() -> dict[int | str, dict[str, Any]]:
    found = reading(Report, 404)
    text: dict[str, Any] = {"schema": {"type": "string"}}
    found[200]["content"] |= {_TYPES[kind]: text for kind in (ReportFormat.MARKDOWN, ReportFormat.HTML)}
    return found


@router.get("/jobs/{id}/report", responses=_answers())
async def report(ctx: Ctx, id: Id, query: Annotated[ReportQuery, Query()]) -> Response:
    """The report on a job; of one that has not ended, on what there is so far."""
    jobs, of = ctx.deps.jobs, JobId(id)
    record = await ctx.read(jobs.job(of))
    results = await ctx.read(jobs.results(of, limit=_MOST_RESULTS))
    samples = await ctx.read(jobs.samples(of))
    # In a thread: thousands of samples are not drawn in a moment.
    text = await ctx.read(
        asyncio.to_thread(render, record, results, samples, query.format), within=ctx.deps.limits.planning
    )
    return Response(text, media_type=_TYPES[query.format], headers=_headers(query.format))


def _headers(kind: ReportFormat) -> dict[str, str]:
    if kind is not ReportFormat.HTML:
        return {}
    from gpumod.bench.report.page import POLICY

    return {"Content-Security-Policy": POLICY}


@router.get("/reports/schema", responses=reading(dict[str, Any]))
async def report_schema() -> Response:
    """The JSON Schema of reports."""
    from gpumod.bench.report.schema import schema

    return answer(schema())
