"""The list of models, as each client has it."""

from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from gpumod.core.switch import SwitchRequest
from gpumod.gateway.web import WebDeps, models_router
from gpumod.testing.switching import FakeBox


@pytest.fixture
def box():
    return FakeBox()


@pytest.fixture
def client(box):
    app = FastAPI()

    @app.middleware("http")
    async def caller(request, call_next):
        request.state.principal = SimpleNamespace(name=request.headers.get("x-caller", "local"))
        return await call_next(request)

    contexts = {"embed-2": 2048}
    deps = WebDeps(
        box,
        lambda spec: spec.context or contexts.get(spec.id),
        lambda name: {"default"} if name == "guest" else (),
        created=1_700_000_000,
    )
    app.include_router(models_router(deps))
    with TestClient(app) as client:
        yield client


async def test_everything_that_could_be_served_is_listed(client, box):
    answer = client.get("/v1/models").json()
    names = [one["id"] for one in answer["data"]]
    catalog = box.catalog()
    assert answer["object"] == "list"
    assert len(names) == len(set(names))
    for mode in catalog.modes:
        assert {str(spec.id) for spec in mode.services} <= set(names)
        assert {name for name, _ in mode.routes} <= set(names)
    assert not any(one["gpumod"]["loaded"] for one in answer["data"])
    assert all(one["gpumod"]["modes"] for one in answer["data"])


async def test_what_runs_is_loaded_and_comes_first(client, box):
    mode = next(mode for mode in box.catalog().modes if mode.routes)
    begun = await box.begin(SwitchRequest(mode=mode.id))
    await box.wait(begun.id)
    first = client.get("/v1/models").json()["data"][0]
    assert (first["id"], first["gpumod"]["loaded"], first["gpumod"]["state"]) == (
        mode.services[0].id,
        True,
        "ready",
    )
    assert first["gpumod"]["modes"][0] == mode.id
    assert first["context_length"] == first["max_model_len"] == mode.services[0].context
    await box.close()


def test_a_key_sees_what_it_may_use(client):
    data = client.get("/v1/models", headers={"x-caller": "guest"}).json()["data"]
    assert [one["id"] for one in data] == ["default"]


def test_one_model_by_its_name(client):
    name = client.get("/v1/models").json()["data"][0]["id"]
    assert client.get(f"/v1/models/{name}").json()["id"] == name
    missing = client.get("/v1/models/org/none")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


def test_whoever_only_asks_whether_it_is_there_is_told(client):
    name = client.get("/v1/models").json()["data"][0]["id"]
    assert client.head("/v1/models").status_code == 200
    assert client.head(f"/v1/models/{name}").status_code == 200
    assert client.head("/v1/models/none").status_code == 404


def test_anthropics_clients_get_their_own_shape(client):
    answer = client.get("/v1/models", headers={"anthropic-version": "2023-06-01"}).json()
    assert answer["data"][0]["type"] == "model"
    assert answer["data"][0]["created_at"] == "2023-11-14T22:13:20Z"
    assert (answer["first_id"], answer["has_more"]) == (answer["data"][0]["id"], False)
    same = client.get("/v1/models").json()["data"]
    assert [one.get("max_input_tokens") for one in answer["data"]] == [one["context_length"] for one in same]
    missing = client.get("/v1/models/none", headers={"anthropic-version": "2023-06-01"}).json()
    assert missing["error"]["type"] == "not_found_error"


@pytest.mark.parametrize("path", ["/v1/props", "/v1/api/tags", "/v1/"])
def test_other_products_fingerprints_are_not_there(client, path):
    assert client.get(path).status_code == 404
    assert "error" in client.get(path).json()
