"""Which paths are the gateway's, and what they become at the engine."""
# ruff: noqa: E501 - tables of cases

import re
from pathlib import Path

import pytest

from gpumod.gateway.exchange import Dialect
from gpumod.gateway.routes import ROUTES, is_gateway, methods_of, route_of

POSTED = [
    "chat/completions", "completions", "responses", "embeddings", "rerank", "audio/transcriptions", "audio/speech",
    "audio/translations", "images/generations", "images/edits", "images/variations", "messages", "messages/count_tokens",
]  # fmt: skip


@pytest.mark.parametrize("tail", POSTED)
def test_every_route_is_there_for_post_alone(tail):
    path = f"/v1/{tail}".encode()
    route = route_of(b"POST", path)
    assert route is not None
    assert (route.path, is_gateway(path), methods_of(path)) == (path, True, (b"POST",))
    assert route_of(b"GET", path) is None
    assert (route.dialect is Dialect.ANTHROPIC) == tail.startswith("messages")


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/props", "/api/tags", "/api/v1/models", "/", "/v1/chat", "/v1x"]
)
def test_other_paths_are_the_control_planes(path):
    assert not is_gateway(path.encode())
    assert route_of(b"POST", path.encode()) is None


@pytest.mark.parametrize(
    ("method", "path", "engine"),
    [
        ("POST", "/upstream/qwen-3/completion", "/completion"),
        ("POST", "/upstream/qwen-3/infill", "/infill"),
        ("POST", "/upstream/qwen-3/tokenize", "/tokenize"),
        ("GET", "/upstream/qwen-3/props", "/props"),
        ("GET", "/upstream/qwen-3/slots", "/slots"),
        ("POST", "/upstream/qwen-3/v1/chat/completions", "/v1/chat/completions"),
        ("POST", "/upstream/qwen-3/v1/messages", "/v1/messages"),
    ],
)
def test_engines_own_routes_name_their_service(method, path, engine):
    route = route_of(method.encode(), path.encode())
    assert route is not None
    assert (route.service, route.path.decode(), route.names_model) == ("qwen-3", engine, False)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/upstream/x/sleep"), ("POST", "/upstream/x/wake_up"), ("POST", "/upstream/x/slots/0"),
        ("POST", "/upstream/x/props"), ("POST", "/upstream/x/lora-adapters"), ("GET", "/upstream/x/../y/props"),
        ("POST", "/upstream/x/v1/load_lora_adapter"), ("DELETE", "/upstream/x/props"), ("GET", "/upstream/x"),
        ("GET", "/upstream//props"), ("POST", "/upstream/x/%73leep"),
    ],
)  # fmt: skip
def test_what_changes_an_engine_is_not_passed_on(method, path):
    assert is_gateway(path.encode())
    assert route_of(method.encode(), path.encode()) is None


def test_the_page_has_every_route_and_no_other():
    page = (Path(__file__).parents[2] / "docs/gateway.md").read_text()
    described = re.findall(r"^\| `(GET|POST) (/v1/[^`]*)` \|", page, re.MULTILINE)
    models = {(b"GET", b"/v1/models"), (b"GET", b"/v1/models/{name}")}  # the control plane answers these
    assert len(described) == len(set(described))
    assert {(method.encode(), path.encode()) for method, path in described} == {*ROUTES, *models}
