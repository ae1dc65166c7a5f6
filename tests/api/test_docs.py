"""docs/rest.md against the application."""

import re
from pathlib import Path

from gpumod.api.context import Context
from gpumod.core.problem import HTTP_STATUS
from gpumod.testing.fake_daemon import build
from gpumod.testing.switching import FakeBox

PAGE = (Path(__file__).parents[2] / "docs/rest.md").read_text()
app = build(FakeBox())


def test_every_route_is_described_and_every_described_route_exists() -> None:
    described = re.findall(r"^\| `((?:GET|POST|PUT|PATCH|DELETE) /[^`]*)` \|", PAGE, re.MULTILINE)
    assert len(described) == len(set(described))
    assert set(described) == app.state.routes.operations


def test_the_document_has_the_same_routes() -> None:
    document = app.openapi()
    assert {
        f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods
    } == app.state.routes.operations


def test_every_code_of_the_page_exists_with_that_status() -> None:
    section = PAGE.partition("## Errors")[2].partition("## Streams")[0]
    rows = re.findall(r"^\| ([0-9, ]+) \| ([^|]*) \|", section, re.MULTILINE)
    told = {
        (status, code)
        for statuses, codes in rows
        for status in statuses.split(", ")
        for code in re.findall(r"\w+", codes)
    }
    known = {str(code): str(status) for code, status in HTTP_STATUS.items()}
    # What the framework or the access rules answer has a status of its own and a code of these.
    of_its_own = {"invalid_request": {"405", "408", "413", "415"}, "not_allowed": {"421"}}
    assert len(told) > 10
    for status, code in told:
        assert status in {known[code], *of_its_own.get(code, ())}


def test_every_operation_documents_its_problems() -> None:
    document = app.openapi()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for status in ("401", "403", "421", "500", "504"):
                content = operation["responses"][status]["content"]
                assert "application/problem+json" in content, (method, path, status)


def test_the_limits_of_the_page_are_those_of_the_application() -> None:
    context: Context = app.state.context
    limits = context.deps.limits
    assert f"every {limits.heartbeat:.0f} seconds" in PAGE
    assert f"nothing for {limits.stalled:.0f} seconds" in PAGE
    assert f"at most {limits.streams}\nstreams" in PAGE
