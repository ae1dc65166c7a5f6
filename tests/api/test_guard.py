import asyncio
import logging
from collections.abc import AsyncIterator

import httpx2
import pytest

from gpumod.access import AccessRules, Key, Scope, digest
from gpumod.access.rules import API
from gpumod.api import Limits
from gpumod.core.errors import StoreError
from gpumod.testing.switching import FakeBox
from gpumod.testing.switching_catalog import SECRET
from tests.api.conftest import Build

SWITCHES = f"{API}/switches"
JSON = {"Content-Type": "application/json"}
OPS = Key("ops", digest("s3cret"), frozenset({Scope.CONTROL}))


def assert_problem(answer: httpx2.Response, status: int, code: str) -> dict[str, object]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, object] = answer.json()
    assert problem["status"] == status
    assert problem["code"] == code
    assert {"type", "title", "detail"} <= problem.keys()
    return problem


async def test_a_key_is_needed_where_keys_are_configured(api: Build) -> None:
    _, client = api(access=AccessRules(keys=(OPS,)))
    answer = await client.get(f"{API}/status")
    assert_problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"
    with_key = {"Authorization": "Bearer s3cret"}
    assert (await client.get(f"{API}/status", headers=with_key)).status_code == 200
    done = await client.post(SWITCHES, json={"mode": "chat", "wait": True}, headers=with_key)
    assert done.json()["request"]["by"] == "ops"


async def test_keys_for_models_also_come_as_anthropics_clients_send_them(api: Build) -> None:
    guest = Key("guest", digest("t0ken"), frozenset({Scope.INFER}))
    _, client = api(access=AccessRules(keys=(guest,)))
    assert (await client.get("/v1/x", headers={"x-api-key": "t0ken"})).status_code == 404
    refused = await client.get("/v1/x", headers={"x-api-key": "wrong"})
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("authentication_error", "unauthenticated")
    assert "not known" in error["message"]
    assert (await client.get(f"{API}/status", headers={"x-api-key": "t0ken"})).status_code == 401


@pytest.mark.parametrize("key", [None, "wrong", "t0ken"])
@pytest.mark.parametrize("path", ["/api/tags", "/api/v1/models", "/props", "/version", "/models"])
async def test_where_other_products_have_theirs_nothing_is_whoever_asks(
    api: Build, path: str, key: str | None
) -> None:
    """Clients stop looking at 401 and 403, as if they had found something."""
    _, client = api(access=AccessRules(keys=(Key("agent", digest("t0ken"), frozenset({Scope.INFER})),)))
    headers = {"authorization": f"Bearer {key}"} if key else {}
    assert (await client.get(path, headers=headers)).status_code == 404
    assert (await client.post(path, headers=headers, json={})).status_code == 404
    assert (await client.get(f"{API}/none", headers=headers)).status_code in {401, 403}
    assert (await client.get("/metrics", headers=headers)).status_code in {401, 403}


async def test_no_key_is_ever_logged(api: Build, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    _, client = api(access=AccessRules(keys=(OPS,)))
    for key in ("s3cret", "almost-s3cret"):
        await client.get(f"{API}/status", headers={"Authorization": f"Bearer {key}"})
        await client.post(SWITCHES, json={"mode": 1}, headers={"Authorization": f"Bearer {key}"})
    assert "s3cret" not in caplog.text


async def test_probes_work_without_a_key_and_keep_what_is_wrong_to_themselves(api: Build) -> None:
    _, client = api(access=AccessRules(keys=(OPS,)), ready=lambda: "/var/lib/gpumod is full")
    assert (await client.get("/health")).status_code == 200
    assert (await client.get("/")).status_code == 200
    answer = await client.get("/ready")
    assert (answer.status_code, answer.json()["reason"]) == (503, "")
    told = await client.get("/ready", headers={"Authorization": "Bearer s3cret"})
    assert told.json()["reason"] == "/var/lib/gpumod is full"


async def test_a_foreign_page_and_a_foreign_name_get_nowhere(
    client: httpx2.AsyncClient, box: FakeBox
) -> None:
    body = {"mode": "chat"}
    foreign = await client.post(SWITCHES, json=body, headers={"Origin": "http://evil.example"})
    assert_problem(foreign, 403, "not_allowed")
    assert_problem(await client.get(f"{API}/status", headers={"Host": "evil.example"}), 421, "not_allowed")
    assert_problem(await client.post(SWITCHES, data=body), 415, "invalid_request")
    assert box.begun == 0


async def test_a_host_name_given_twice_is_none(client: httpx2.AsyncClient) -> None:
    headers = [("Host", "127.0.0.1"), ("Host", "evil.example")]
    assert_problem(await client.get(f"{API}/status", headers=headers), 421, "not_allowed")


async def test_no_other_site_is_told_that_it_may_read(client: httpx2.AsyncClient) -> None:
    answer = await client.get(f"{API}/status", headers={"Origin": "http://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    asked = await client.options(f"{API}/status", headers={"Origin": "http://evil.example"})
    assert asked.status_code == 405


async def test_a_large_body_is_refused_also_when_it_does_not_say_how_large_it_is(
    client: httpx2.AsyncClient,
) -> None:
    limit = AccessRules().body_limit
    assert_problem(
        await client.post(SWITCHES, content=b" " * (limit + 1), headers=JSON), 413, "invalid_request"
    )
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 4 * limit:
            sent += 1000
            yield b" " * 1000

    answer = await client.post(SWITCHES, content=endless(), headers=JSON)
    assert_problem(answer, 413, "invalid_request")
    assert sent < 2 * limit, "the rest was not even read"


async def test_a_body_that_never_comes_is_not_waited_for(api: Build) -> None:
    _, client = api(limits=Limits(body=0.01))

    async def stuck() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(3600)

    answer = await client.post(SWITCHES, content=stuck(), headers=JSON)
    assert_problem(answer, 408, "invalid_request")


async def test_every_mistake_in_a_body_is_told(client: httpx2.AsyncClient) -> None:
    body = {"mode": "../../etc/passwd", "force": "yes", "wait": -1, "deadline": 0, "argv": ["sh"]}
    problem = assert_problem(await client.post(SWITCHES, json=body), 422, "invalid_request")
    errors = problem["errors"]
    assert isinstance(errors, list)
    assert {"where": "body.argv", "detail": "is not known here"} in errors
    told = " ".join(error["where"] for error in errors)
    assert all(f"body.{member}" in told for member in body)
    (mode,) = (error["detail"] for error in errors if error["where"] == "body.mode")
    assert mode.startswith("has to be a name: letters, digits")
    assert mode.endswith("not '../../etc/passwd'")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"mode": NaN}', b'{"mode":"chat","deadline":1e999}']
)
async def test_what_is_not_the_right_json_is_told_so(client: httpx2.AsyncClient, body: bytes) -> None:
    assert_problem(await client.post(SWITCHES, content=body, headers=JSON), 422, "invalid_request")


async def test_a_lone_surrogate_is_bad_input_and_not_a_breakdown(client: httpx2.AsyncClient) -> None:
    body = b'{"mode": "\\ud800", "\\udfff": 1}'
    assert_problem(await client.post(SWITCHES, content=body, headers=JSON), 422, "invalid_request")


@pytest.mark.parametrize(
    "path", ["/gpumod/v1/switches?limt=3", "/gpumod/v1/switches?limit=0", "/gpumod/v1/modes/a%2Fb%20"]
)
async def test_parameters_are_checked(client: httpx2.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code in {404, 422}
    assert_problem(answer, answer.status_code, answer.json()["code"])


async def test_unknown_paths_and_methods_are_problems_too(client: httpx2.AsyncClient) -> None:
    assert_problem(await client.get("/gpumod/v2/status"), 404, "not_found")
    assert_problem(await client.get("/gpumod/v1/status/"), 404, "not_found")
    for method in ("PUT", "PATCH", "DELETE"):
        answer = await client.request(method, SWITCHES)
        assert_problem(answer, 405, "invalid_request")
        assert answer.headers["allow"] == "GET, POST"
    answer = await client.post(f"{API}/version")
    assert_problem(answer, 405, "invalid_request")
    assert answer.headers["allow"] == "GET"


async def test_a_defect_is_answered_without_its_details(
    client: httpx2.AsyncClient, box: FakeBox, caplog: pytest.LogCaptureFixture
) -> None:
    box.faults.errors["status"] = RuntimeError("inner workings")
    answer = await client.get(f"{API}/status")
    assert_problem(answer, 500, "internal")
    assert "inner workings" not in answer.text
    assert "inner workings" in caplog.text


async def test_a_broken_store_is_told_as_it_is(client: httpx2.AsyncClient, box: FakeBox) -> None:
    box.faults.errors["switches"] = StoreError("the disk of /var/lib/gpumod is full: make room")
    problem = assert_problem(await client.get(SWITCHES), 503, "store_unavailable")
    assert problem["detail"] == "the disk of /var/lib/gpumod is full: make room"


async def test_a_port_that_hangs_is_given_up_and_holds_nobody_up(api: Build, box: FakeBox) -> None:
    _, client = api(limits=Limits(answer=0.05, planning=0.05))
    box.faults.hang |= {"begin", "status", "plan"}
    stuck = [
        asyncio.create_task(client.post(SWITCHES, json={"mode": "chat"})),
        asyncio.create_task(client.post(SWITCHES, json={"mode": "chat", "dry_run": True})),
        asyncio.create_task(client.get(f"{API}/status")),
        asyncio.create_task(client.get("/metrics")),
    ]
    await asyncio.sleep(0)
    assert (await client.get(f"{API}/modes")).status_code == 200
    assert (await client.get(f"{API}/leases")).status_code == 200
    assert (await client.get("/health")).status_code == 200
    assert not any(task.done() for task in stuck)
    for answer in await asyncio.gather(*stuck):
        assert_problem(answer, 504, "timed_out")
    assert (await client.get("/ready")).status_code == 503


async def test_every_answer_forbids_guessing_and_keeping(client: httpx2.AsyncClient) -> None:
    for path in ("/", "/health", "/metrics", f"{API}/status", "/no/such"):
        headers = (await client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


async def test_values_of_environment_variables_are_nowhere(client: httpx2.AsyncClient, box: FakeBox) -> None:
    dry = await client.post(SWITCHES, json={"mode": "chat", "dry_run": True})
    fits = await client.post(f"{API}/preflight", json={"name": "chat"})
    await client.post(SWITCHES, json={"mode": "chat", "wait": True})
    reload = await client.post(f"{API}/config/reload", json={})
    box.events.publish("service", "x", "x", env={"HF_TOKEN": SECRET})  # type: ignore[arg-type]
    paths = ["status", "services", "services/embed", "modes", "modes/chat", "presets", "presets/embed"]
    paths += ["switches", "switches/S1", "events?once=true", "cards", "leases"]
    answers = [dry, fits, reload, *[await client.get(f"{API}/{path}") for path in paths]]
    answers += [await client.get("/metrics"), await client.get("/")]
    for answer in answers:
        assert answer.status_code == 200, answer.url
        assert SECRET not in answer.text, answer.url
    service = (await client.get(f"{API}/services/embed")).json()
    assert ["HF_TOKEN", "***"] in service["launch"]["env"]
    assert ["HF_TOKEN", "***"] in service["spec"]["env"]
