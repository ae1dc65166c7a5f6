"""docs/report.schema.json: `python -m gpumod.bench.report.schema` prints it."""

from __future__ import annotations

import json
import sys
from functools import cache

from gpumod.bench.report.document import FORMAT, Report


@cache
def schema() -> dict[str, object]:
    """The JSON Schema of reports."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Report.model_json_schema(mode="serialization"),
        "title": f"A report of a benchmark job, {FORMAT}",
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(schema(), indent=2) + "\n")
