"""Reports of benchmark jobs: a versioned JSON document, a card in Markdown, and a page in one HTML file.

All pure: `build` makes the document of a job, and cards and pages are made from the document.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpumod.core.job import JobRecord, Result, Sample


class ReportFormat(StrEnum):
    """What a report can be written as."""

    JSON = "json"
    MARKDOWN = "markdown"
    HTML = "html"


def render(
    job: JobRecord,
    results: Iterable[Result],
    samples: Iterable[Sample],
    format: ReportFormat | str,  # noqa: A002 - REST and the CLI call it that
) -> str:
    """The report of a job.

    Args:
        job: the job, ended or not.
        results: the job's.
        samples: the job's, in the order of their ends.
        format: how it is written.

    Raises:
        ValueError: there is no such format.
    """
    from gpumod.bench.report.building import build

    kind, report = ReportFormat(format), build(job, results, samples)
    if kind is ReportFormat.MARKDOWN:
        from gpumod.bench.report.card import card

        return card(report)
    if kind is ReportFormat.HTML:
        from gpumod.bench.report.page import page

        return page(report)
    return report.model_dump_json(indent=2) + "\n"
