"""Results in files: a report of a job, or what `bench results --json` and `job show --json` print."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from gpumod.core.errors import InvalidRequestError, NotFoundError
from gpumod.core.names import NAME_PATTERN

_NAME: Final = re.compile(NAME_PATTERN)
_PAGES: Final = (".html", ".md")
"""Reports for people: nothing can be compared with them."""
_LARGEST: Final = 64 * 1024 * 1024
_MEMBERS: Final = (
    "target", "suite_version", "suite_hash", "parameters", "provenance", "outcomes", "started", "ended",
    "integrity",
)  # fmt: skip


def is_file(name: str) -> bool:
    """Whether a name is a file's; a job's id has no dot before `json`, and no slash but one."""
    return name.endswith(".json")


def reference(name: str) -> str:
    """A result by its name, `JOB` or `JOB/TARGET`.

    Raises:
        NotFoundError: no result can be called so, or it is a file of another kind.
    """
    parts = name.split("/")
    if len(parts) > 2 or not all(_NAME.fullmatch(part) for part in parts) or name.endswith(_PAGES):
        raise NotFoundError(f"{name!r} is no JOB, no JOB/TARGET and no report or results in FILE.json")
    return name


def results_in(name: str) -> list[Mapping[str, object]]:
    """The results in a file.

    Raises:
        NotFoundError: there is no such file.
        InvalidRequestError: it cannot be read, or has no result.
    """
    path = Path(name)
    try:
        if path.stat().st_size > _LARGEST:
            raise InvalidRequestError(f"{name} is too large for a report")
        document = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {name}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidRequestError(f"{name} cannot be read: {error}") from error
    found = list(_results(document))
    if not found:
        raise InvalidRequestError(f"{name} has no result: a report of a job is needed, or results")
    return found


def _results(document: Any) -> Iterator[Mapping[str, object]]:
    if isinstance(document, list):
        for one in document:
            yield from _results(one)
    elif isinstance(document, dict) and "metrics" in document and "suite" in document:
        yield document
    elif isinstance(document, dict) and str(document.get("format", "")).startswith("gpumod.report/1"):
        yield from _of_report(document)
    elif isinstance(document, dict):
        yield from _results(document.get("results") or [])


def _of_report(report: Mapping[str, Any]) -> Iterator[Mapping[str, object]]:
    job = report.get("job") or {}
    for one in report.get("targets") or ():
        if not one.get("complete"):
            continue
        made = {name: one.get(name) for name in _MEMBERS}
        yield made | {
            "job": job.get("id"),
            "suite": job.get("suite"),
            "label": job.get("label") or "",
            "metrics": [_metric(metric) for metric in one.get("metrics") or ()],
        }


def _metric(metric: Mapping[str, Any]) -> Mapping[str, object]:
    setting = metric.get("setting")
    formula = metric.get("formula")
    made = {name: value for name, value in metric.items() if name not in {"setting", "definition"}}
    by_case = {case: value for case, value in (metric.get("by_case") or {}).items() if value is not None}
    return made | {"formula": f"{formula}@{setting}" if setting else formula, "by_case": by_case}
