import time

import httpx2
import pytest

from gpumod.access import AccessRules, Key, Scope, digest
from gpumod.access.rules import API
from gpumod.core.job import JobId
from gpumod.testing.jobs import FakeJobs
from tests.api.conftest import Build

JOBS = f"{API}/jobs"
SPEED = {"suite": "speed", "targets": ["gemma-chat"]}


async def submit(client: httpx2.AsyncClient, **more: object) -> httpx2.Response:
    return await client.post(JOBS, json={**SPEED, **more})


async def test_a_job_is_queued_and_tells_where_to_look(client: httpx2.AsyncClient) -> None:
    answer = await submit(client, label="nightly", priority=3)
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"{JOBS}/{job['id']}"
    seen = (await client.get(answer.headers["location"])).json()
    assert seen == job
    assert (seen["state"], seen["seconds_left"]) == ("queued", None)
    assert seen["request"]["label"] == "nightly"
    assert seen["request"]["parameters"] == {"repeats": 2}  # the suite's default
    assert seen["request"]["by"]


async def test_every_condition_reaches_the_queue(client: httpx2.AsyncClient) -> None:
    first = (await submit(client)).json()["id"]
    asked = {
        "after": [first],
        "not_before": 2e9,
        "window": {"start": 1320, "end": 360, "timezone": "Europe/Berlin"},
        "dedupe": "one",
    }
    request = (await submit(client, **asked)).json()["request"]
    assert {name: request[name] for name in asked} == asked


async def test_a_job_is_done_and_what_it_found_can_be_read(
    client: httpx2.AsyncClient, jobs: FakeJobs
) -> None:
    id_ = (await submit(client, targets=["gemma-chat", "chat"])).json()["id"]
    await jobs.work()
    job = (await client.get(f"{JOBS}/{id_}")).json()
    assert (job["state"], job["progress"]["done"], job["seconds_left"]) == ("done", 4, None)
    samples = (await client.get(f"{JOBS}/{id_}/samples")).json()
    assert [one["target"] for one in samples] == ["gemma-chat"] * 2 + ["chat"] * 2
    results = (await client.get(f"{API}/results", params={"job": id_})).json()
    assert {one["target"] for one in results} == {"gemma-chat", "chat"}
    assert results[0]["metrics"][0]["unit"] == "tokens/s"
    assert len((await client.get(f"{API}/results", params={"limit": 1})).json()) == 1
    for wish, targets in (
        ({"suite": "speed", "target": "chat"}, ["chat"]),
        ({"suite": "soak"}, []),
        ({"target": "other"}, []),
    ):
        found = (await client.get(f"{API}/results", params=wish)).json()
        assert [one["target"] for one in found] == targets


async def test_a_running_job_tells_how_long_it_still_takes(
    client: httpx2.AsyncClient, jobs: FakeJobs
) -> None:
    from gpumod.core.job import Progress

    id_ = (await submit(client)).json()["id"]
    claimed = await jobs.store.claim("me", time.time(), stale=60.0)
    assert claimed is not None
    progress = Progress(done=3, total=9, seconds=30.0)
    await jobs.store.beat(JobId(id_), "me", claimed.attempt, time.time(), progress=progress)
    job = (await client.get(f"{JOBS}/{id_}")).json()
    assert (job["state"], job["progress"]["done"], job["seconds_left"]) == ("running", 3, 60.0)


async def test_the_list_is_filtered_by_state(client: httpx2.AsyncClient, jobs: FakeJobs) -> None:
    done = (await submit(client)).json()["id"]
    await jobs.work()
    cancelled = (await submit(client)).json()["id"]
    assert (await client.post(f"{JOBS}/{cancelled}/cancel", json={})).json()["state"] == "cancelled"
    queued = (await submit(client)).json()["id"]

    async def listed(*states: str) -> list[str]:
        answer = await client.get(JOBS, params={"state": list(states)})
        return [job["id"] for job in answer.json()]

    assert await listed() == [queued, cancelled, done]
    assert await listed("queued", "done") == [queued, done]
    assert [job["id"] for job in (await client.get(JOBS, params={"limit": 1})).json()] == [queued]
    assert (await client.get(JOBS, params={"state": "asleep"})).status_code == 422


async def test_a_job_that_failed_is_repeated_from_where_it_was_or_afresh(
    client: httpx2.AsyncClient, jobs: FakeJobs
) -> None:
    id_ = (await submit(client)).json()["id"]
    refused = await client.post(f"{JOBS}/{id_}/retry", json={})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    jobs.fails = "the engine died"
    await jobs.work()
    again = await client.post(f"{JOBS}/{id_}/retry", json={})
    assert (again.status_code, again.json()["state"]) == (202, "queued")
    jobs.fails = ""
    await jobs.work()
    done = (await client.get(f"{JOBS}/{id_}")).json()
    refused = await client.post(f"{JOBS}/{id_}/retry", json={})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert "--afresh" in refused.json()["detail"]
    assert (await client.get(f"{JOBS}/{id_}")).json() == done
    assert len((await client.get(f"{JOBS}/{id_}/samples")).json()) == 2
    await client.post(f"{JOBS}/{id_}/retry", json={"afresh": True})
    assert (await client.get(f"{JOBS}/{id_}/samples")).json() == []


async def test_the_same_key_queues_once(client: httpx2.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k1"}
    first = await client.post(JOBS, json=SPEED, headers=headers)
    again = await client.post(JOBS, json=SPEED, headers=headers)
    assert first.json() == again.json()
    assert again.headers["location"] == first.headers["location"]
    assert len((await client.get(JOBS)).json()) == 1
    other = await client.post(JOBS, json={**SPEED, "priority": 1}, headers=headers)
    assert other.json()["code"] == "idempotency_mismatch"


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"suite": "none"}, 404),
        ({"targets": ["nothing"]}, 404),
        ({"after": ["gone"]}, 404),
        ({"targets": []}, 422),
        ({"parameters": {"repeats": "many"}}, 422),
        ({"window": {"start": 60, "end": 60}}, 422),
        ({"window": {"start": 0, "end": 1441}}, 422),
        ({"window": {"start": 0, "end": 60, "timezone": "Mars/Olympus"}}, 422),
        ({"priority": 10**9}, 422),
        ({"unknown": 1}, 422),
    ],
)
async def test_what_makes_no_sense_is_not_queued(
    client: httpx2.AsyncClient, wrong: dict[str, object], status: int
) -> None:
    answer = await submit(client, **wrong)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await client.get(JOBS)).json() == []


@pytest.mark.parametrize("text", ["1e999", "NaN", '"\\ud800"', '{"\\udfff": 1}'])
async def test_parameters_that_cannot_be_kept_are_refused(client: httpx2.AsyncClient, text: str) -> None:
    body = '{"suite": "speed", "targets": ["chat"], "parameters": {"repeats": ' + text + "}}"
    answer = await client.post(JOBS, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("GET", "/samples"), ("POST", "/cancel"), ("POST", "/retry")]
)
async def test_a_job_that_is_not_there(client: httpx2.AsyncClient, method: str, path: str) -> None:
    answer = await client.request(method, f"{JOBS}/gone{path}", json={} if method == "POST" else None)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_reading_keys_may_look_and_not_change(api: Build) -> None:
    key = Key("reader", digest("secret"), frozenset({Scope.READ}))
    _, client = api(access=AccessRules(keys=(key,)))
    client.headers["Authorization"] = "Bearer secret"
    assert (await client.get(JOBS)).status_code == 200
    assert (await client.get(f"{API}/results")).status_code == 200
    assert (await submit(client)).status_code == 403
    plan = {"cron": "0 2 * * *", "job": SPEED}
    assert (await client.put(f"{API}/schedules/n", json=plan)).status_code == 403
    assert (await client.delete(f"{API}/schedules/n")).status_code == 403


async def test_a_schedule_is_kept_replaced_and_forgotten(client: httpx2.AsyncClient) -> None:
    path = f"{API}/schedules/nightly"
    plan = {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "job": SPEED}
    saved = (await client.put(path, json=plan)).json()
    assert saved["next"] > time.time()
    assert time.gmtime(saved["next"]).tm_min == 30
    assert saved == (await client.get(path)).json()
    silent = (await client.put(path, json={**plan, "enabled": False})).json()
    assert (silent["next"], silent["enabled"]) == (None, False)
    assert (await client.get(f"{API}/schedules")).json() == [silent]
    assert (await client.delete(path)).json()["id"] == "nightly"
    assert (await client.get(f"{API}/schedules")).json() == []
    assert (await client.delete(path)).status_code == 404
    assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"cron": "61 * * * *"}, 422),
        ({"timezone": "Mars/Olympus"}, 422),
        ({"job": {**SPEED, "suite": "none"}}, 404),
        ({"job": {**SPEED, "targets": ["nothing"]}}, 404),
    ],
)
async def test_a_schedule_that_could_never_work_is_not_kept(
    client: httpx2.AsyncClient, wrong: dict[str, object], status: int
) -> None:
    plan = {"cron": "30 2 * * *", "job": SPEED, **wrong}
    assert (await client.put(f"{API}/schedules/n", json=plan)).status_code == status
    assert (await client.get(f"{API}/schedules")).json() == []
