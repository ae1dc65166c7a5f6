"""Comparisons over REST."""

from typing import Any

import httpx2
import pytest

from gpumod.access import AccessRules, Key, Scope, digest
from gpumod.access.rules import API
from gpumod.testing.jobs import FakeJobs
from tests.api.conftest import Build

COMPARISONS = f"{API}/comparisons"


async def measured(client: httpx2.AsyncClient, jobs: FakeJobs, *targets: str) -> str:
    job = await client.post(f"{API}/jobs", json={"suite": "speed", "targets": list(targets)})
    await jobs.work()
    return str(job.json()["id"])


async def test_the_targets_of_a_job_are_compared_in_their_order(
    client: httpx2.AsyncClient, jobs: FakeJobs
) -> None:
    id_ = await measured(client, jobs, "gemma-chat", "chat")
    answer = await client.post(COMPARISONS, json={"results": [id_]})
    assert answer.status_code == 200
    found = answer.json()
    (one,) = found["comparisons"]
    assert [side["name"] for side in one["sides"]] == ["gemma-chat", "chat"]
    assert one["pairs"][0]["findings"][0]["formula"] == "fake.speed.1"
    assert found["markdown"].startswith("## speed: gemma-chat against chat")
    assert found["recommendations"][0]["commands"] == []


async def test_single_results_and_given_ones_are_compared(client: httpx2.AsyncClient, jobs: FakeJobs) -> None:
    first = await measured(client, jobs, "gemma-chat", "chat")
    second = await measured(client, jobs, "gemma-chat")
    both = {"results": [f"{first}/gemma-chat", second]}
    sides = (await client.post(COMPARISONS, json=both)).json()["comparisons"][0]["sides"]
    assert [side["name"] for side in sides] == [f"gemma-chat ({first})", f"gemma-chat ({second})"]
    given = (await client.get(f"{API}/results", params={"job": second})).json()
    mixed = {"results": [f"{first}/chat", *given]}
    sides = (await client.post(COMPARISONS, json=mixed)).json()["comparisons"][0]["sides"]
    assert [side["name"] for side in sides] == ["chat", "gemma-chat"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"results": ["gone"]}, 404),
        ({"results": ["a/b/c"]}, 422),
        ({"results": [1]}, 422),
        ({"results": ["J1", "J1"]}, 422),
        ({"results": ["J1/nothing"]}, 404),
        ({"results": ["J1", {"job": "x"}]}, 422),
        ({"results": ["J1"]}, 422),
        ({"results": ["J1"], "more": 1}, 422),
    ],
)
async def test_what_cannot_be_compared_is_told(
    client: httpx2.AsyncClient, jobs: FakeJobs, body: dict[str, Any], status: int
) -> None:
    await measured(client, jobs, "chat")
    answer = await client.post(COMPARISONS, json=body)
    assert answer.status_code == status, answer.text


async def test_what_is_no_name_of_a_result_is_one_mistake(client: httpx2.AsyncClient) -> None:
    told = (await client.post(COMPARISONS, json={"results": ["a/b/c"]})).json()
    detail = "'a/b/c' is no JOB, no JOB/TARGET and no result"
    assert told["errors"] == [{"where": "body.results.0", "detail": detail}]


async def test_an_instant_that_is_none_is_refused(client: httpx2.AsyncClient, jobs: FakeJobs) -> None:
    id_ = await measured(client, jobs, "chat")
    (given,) = (await client.get(f"{API}/results", params={"job": id_})).json()
    for wrong in (1e300, -1.0):
        body = {"results": [id_, given | {"job": "other", "started": wrong}]}
        answer = await client.post(COMPARISONS, json=body)
        assert answer.status_code == 422
        assert "Unix times" in answer.json()["detail"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"provenance": {"host": {"load": [10**400], "cpus": 1}}},
        {"provenance": {"host": {"load": [1], "cpus": 10**400}, "host_load_at_end": {"load_max": 1}}},
        {"provenance": {"cards": [{"total": 10**4000}], "services": [{"files": [{"size": 10**4000}] * 2}]}},
        {"parameters": {"packs": [{"a": "@"}], "repeats": {"x": []}}},
        {"metrics": [{"formula": "x", "value": 1e308, "unit": "s", "by_case": {"a": 1e308, "b": 1e308}}]},
        {"metrics": [{"formula": "x", "value": 5, "unit": "share", "count": 3, "larger_is_better": True}]},
        {"outcomes": {"ok": -5, "refused": 3}},
    ],
)
async def test_odd_results_of_others_are_no_defect(
    client: httpx2.AsyncClient, jobs: FakeJobs, wrong: dict[str, Any]
) -> None:
    id_ = await measured(client, jobs, "chat")
    (given,) = (await client.get(f"{API}/results", params={"job": id_})).json()
    others = [given | wrong | {"job": name} for name in ("x", "y")]
    answer = await client.post(COMPARISONS, json={"results": others})
    assert answer.status_code in {200, 422}, answer.text


async def test_who_may_read_may_compare(api: Build, jobs: FakeJobs) -> None:
    keys = (Key("reader", digest("r"), frozenset({Scope.READ})),)
    _, client = api(access=AccessRules(keys=keys))
    answer = await client.post(COMPARISONS, json={"results": ["gone"]}, headers={"Authorization": "Bearer r"})
    assert answer.status_code == 404
