import asyncio

import httpx2
import pytest

from gpumod.access import AccessRules, Key, Scope, digest
from gpumod.access.rules import API
from gpumod.api import Limits
from gpumod.core.errors import StoreError
from gpumod.testing.switching import FakeBox
from tests.api.conftest import Build, until

SWITCHES = f"{API}/switches"
LEASES = f"{API}/leases"
LEASE = {"holder": "eval", "seconds": 60}


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


async def test_the_same_request_again_has_the_same_answer_and_one_effect(
    client: httpx2.AsyncClient, box: FakeBox
) -> None:
    first = await client.post(LEASES, json=LEASE, headers=keyed("a"))
    second = await client.post(LEASES, json=LEASE, headers=keyed("a"))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.content == second.content
    assert len(box.leases.holding()) == 1


async def test_headers_of_the_answer_are_kept_too(client: httpx2.AsyncClient) -> None:
    answers = [await client.post(SWITCHES, json={"mode": "chat"}, headers=keyed("a")) for _ in range(2)]
    assert answers[0].headers["location"] == answers[1].headers["location"]
    assert [answer.status_code for answer in answers] == [202, 202]


async def test_without_a_key_each_request_has_its_effect(client: httpx2.AsyncClient, box: FakeBox) -> None:
    for _ in range(2):
        await client.post(LEASES, json=LEASE)
    assert len(box.leases.holding()) == 2


@pytest.mark.parametrize(
    ("path", "body"), [(LEASES, {"holder": "other", "seconds": 60}), (SWITCHES, {"mode": "chat"})]
)
async def test_another_request_under_the_same_key_is_an_error(
    client: httpx2.AsyncClient, box: FakeBox, path: str, body: dict[str, object]
) -> None:
    await client.post(LEASES, json=LEASE, headers=keyed("a"))
    answer = await client.post(path, json=body, headers=keyed("a"))
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")
    assert len(box.leases.holding()) == 1
    assert box.begun == 0


async def test_requests_at_the_same_moment_have_one_effect(client: httpx2.AsyncClient, box: FakeBox) -> None:
    answers = await asyncio.gather(
        *(client.post(LEASES, json=LEASE, headers=keyed("a")) for _ in range(5)),
        client.post(LEASES, json={"holder": "other", "seconds": 1}, headers=keyed("a")),
    )
    assert [answer.status_code for answer in answers] == [201] * 5 + [422]
    assert len({answer.content for answer in answers[:5]}) == 1
    assert len(box.leases.holding()) == 1


async def test_the_effect_survives_the_caller_that_began_it(client: httpx2.AsyncClient, box: FakeBox) -> None:
    box.step_seconds = 0.01
    body = {"mode": "chat", "wait": True}
    caller = asyncio.create_task(client.post(SWITCHES, json=body, headers=keyed("a")))
    await until(lambda: bool(box.begun))
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    again = await client.post(SWITCHES, json=body, headers=keyed("a"))
    assert again.json()["state"] == "committed"
    assert box.begun == 1


async def test_a_refusal_is_an_answer_and_a_breakdown_is_not(
    client: httpx2.AsyncClient, box: FakeBox
) -> None:
    refused = await client.post(SWITCHES, json={"mode": "huge"}, headers=keyed("a"))
    again = await client.post(SWITCHES, json={"mode": "huge"}, headers=keyed("a"))
    assert refused.status_code == 409
    assert refused.content == again.content
    assert again.headers["content-type"] == "application/problem+json"
    box.faults.errors["take"] = StoreError("the disk is full")
    assert (await client.post(LEASES, json=LEASE, headers=keyed("b"))).status_code == 503
    del box.faults.errors["take"]
    assert (await client.post(LEASES, json=LEASE, headers=keyed("b"))).status_code == 201


async def test_a_body_that_was_not_understood_does_not_use_the_key_up(client: httpx2.AsyncClient) -> None:
    assert (await client.post(LEASES, json={}, headers=keyed("a"))).status_code == 422
    assert (await client.post(LEASES, json=LEASE, headers=keyed("a"))).status_code == 201


async def test_nothing_happens_when_it_cannot_be_told_whether_it_has_happened(
    api: Build, box: FakeBox
) -> None:
    _, client = api(limits=Limits(answer=0.01))
    box.faults.hang.add("idempotent")
    answer = await client.post(LEASES, json=LEASE, headers=keyed("a"))
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert not box.leases.holding()


@pytest.mark.parametrize("fault", ["hang", "error"])
async def test_what_was_done_is_told_even_if_it_cannot_be_kept(api: Build, box: FakeBox, fault: str) -> None:
    _, client = api(limits=Limits(answer=0.01))
    if fault == "hang":
        box.faults.hang.add("save_idempotent")
    else:
        box.faults.errors["save_idempotent"] = StoreError("the disk is full")
    assert (await client.post(LEASES, json=LEASE, headers=keyed("a"))).status_code == 201


async def test_one_callers_key_tells_another_nothing(api: Build, box: FakeBox) -> None:
    keys = tuple(Key(name, digest(name), frozenset({Scope.CONTROL})) for name in ("ann", "bob"))
    _, client = api(access=AccessRules(keys=keys))
    for name in ("ann", "bob"):
        headers = keyed("a") | {"Authorization": f"Bearer {name}"}
        assert (await client.post(LEASES, json=LEASE, headers=headers)).status_code == 201
    assert len(box.leases.holding()) == 2


@pytest.mark.parametrize("key", ["", "with space", "x" * 129, "é"])
async def test_a_key_is_short_and_printable(client: httpx2.AsyncClient, key: str) -> None:
    headers = {b"Idempotency-Key": key.encode()}
    assert (await client.post(LEASES, json=LEASE, headers=headers)).status_code == 422
