import asyncio

import httpx2

from gpumod.access.rules import API
from gpumod.core.names import ModeId
from gpumod.core.switch import SwitchRequest, SwitchState
from gpumod.testing.switching import FakeBox
from tests.api.conftest import until

SWITCHES = f"{API}/switches"


async def switch(client: httpx2.AsyncClient, mode: str, **more: object) -> httpx2.Response:
    return await client.post(SWITCHES, json={"mode": mode, **more})


async def test_a_switch_that_is_waited_for_has_ended(client: httpx2.AsyncClient, box: FakeBox) -> None:
    answer = await switch(client, "chat", wait=True)
    assert answer.status_code == 200
    assert answer.json()["state"] == "committed"
    assert {step["state"] for step in answer.json()["steps"]} == {"done"}
    assert box.mode() == "chat"


async def test_a_switch_that_is_not_waited_for_tells_where_to_look(client: httpx2.AsyncClient) -> None:
    answer = await switch(client, "chat")
    assert answer.status_code == 202
    assert answer.headers["location"] == f"{SWITCHES}/{answer.json()['id']}"
    ended = await client.get(answer.headers["location"], params={"wait": 60})
    assert ended.json()["state"] == "committed"


async def test_a_wait_that_is_too_short_answers_with_what_is_so_far(
    client: httpx2.AsyncClient, box: FakeBox
) -> None:
    box.step_seconds = 60
    answer = await switch(client, "chat", wait=0.01)
    assert answer.status_code == 202
    assert answer.json()["state"] == "running"


async def test_a_box_that_already_is_there_says_so(client: httpx2.AsyncClient, box: FakeBox) -> None:
    await switch(client, "chat", wait=True)
    answer = await switch(client, "chat")
    assert answer.status_code == 200
    assert answer.json()["steps"] == []
    assert box.begun == 1


async def test_a_failed_switch_was_still_carried_out(client: httpx2.AsyncClient) -> None:
    answer = await switch(client, "broken", wait=True)
    assert answer.status_code == 200
    assert answer.json()["state"] == "rolled_back"
    assert "exited with code 1" in answer.json()["reason"]


async def test_a_refusal_has_every_reason_with_its_numbers(client: httpx2.AsyncClient, box: FakeBox) -> None:
    await switch(client, "chat", wait=True)
    await client.post(f"{API}/leases", json={"holder": "eval", "seconds": 60})
    answer = await switch(client, "huge")
    problem = answer.json()
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["code"] == "refused"
    assert sorted(reason["code"] for reason in problem["reasons"]) == ["does_not_fit", "leased", "leased"]
    too_large = next(reason for reason in problem["reasons"] if reason["code"] == "does_not_fit")
    assert too_large["need"] > too_large["have"]
    assert all(reason["detail"] in problem["detail"] for reason in problem["reasons"])
    assert box.begun == 1


async def test_a_dry_run_changes_nothing(client: httpx2.AsyncClient, box: FakeBox) -> None:
    answer = await switch(client, "chat", dry_run=True)
    assert answer.status_code == 200
    assert answer.json()["plan"]["starts"] == ["embed", "gemma-chat"]
    assert (await switch(client, "huge", dry_run=True)).json()["code"] == "refused"
    assert box.begun == 0


async def test_an_identical_switch_is_joined_and_another_is_told_which_one_runs(
    client: httpx2.AsyncClient, box: FakeBox
) -> None:
    box.step_seconds = 60
    first = (await switch(client, "chat")).json()
    joined = await switch(client, "chat")
    assert (joined.status_code, joined.json()["id"], joined.json()["joined"]) == (202, first["id"], 1)
    other = await switch(client, "code")
    assert (other.status_code, other.json()["code"], other.json()["switch"]) == (
        409,
        "switch_running",
        first["id"],
    )


async def test_what_is_asked_for_reaches_the_switch(client: httpx2.AsyncClient) -> None:
    answer = await switch(client, "chat", force=True, on_failure="blank", deadline=90, wait=True)
    assert answer.json()["request"] == {
        "mode": "chat",
        "start": None,
        "stop": None,
        "restart": None,
        "preset": None,
        "force": True,
        "on_failure": "blank",
        "deadline": 90.0,
        "by": "local",
        "exactly": None,
    }


async def test_a_running_switch_can_be_cancelled(client: httpx2.AsyncClient, box: FakeBox) -> None:
    box.step_seconds = 0.01
    running = (await switch(client, "chat")).json()
    answer = await client.post(f"{SWITCHES}/{running['id']}/cancel", json={})
    assert answer.status_code == 200
    ended = await client.get(f"{SWITCHES}/{running['id']}", params={"wait": 60})
    assert (ended.json()["state"], ended.json()["reason"]) == ("rolled_back", "cancelled by local")


async def test_switches_are_listed_newest_first(client: httpx2.AsyncClient) -> None:
    for mode in ("chat", "code", "blank"):
        await switch(client, mode, wait=True)
    listed = (await client.get(SWITCHES, params={"limit": 2})).json()
    assert [one["target"] for one in listed] == ["blank", "code"]


async def test_services_are_started_and_stopped_through_switches(
    client: httpx2.AsyncClient, box: FakeBox
) -> None:
    services = f"{API}/services"
    started = await client.post(f"{services}/small/start", json={"preset": "embed", "wait": True})
    assert started.json()["request"]["start"] == "small"
    assert [record.id for record in box.running()] == ["small"]
    again = await client.post(f"{services}/small/start", json={"preset": "embed"})
    assert again.status_code == 200, "it already runs"
    assert (await client.post(f"{services}/small/restart", json={"wait": True})).json()[
        "state"
    ] == "committed"
    assert (await client.get(f"{services}/small")).json()["generation"] == 2
    assert (await client.post(f"{services}/small/stop", json={})).status_code == 202
    assert (await client.post(f"{services}/nobody/stop", json={})).status_code == 404


async def test_preflight_tells_what_would_fit(client: httpx2.AsyncClient, box: FakeBox) -> None:
    fits = await client.post(f"{API}/preflight", json={"name": "embed"})
    assert fits.json()["fits"] is True
    assert fits.json()["plan"]["starts"] == ["embed"]
    no = await client.post(f"{API}/preflight", json={"name": "huge"})
    assert (no.status_code, no.json()["fits"]) == (200, False)
    assert no.json()["reasons"][0]["code"] == "does_not_fit"
    assert (await client.post(f"{API}/preflight", json={"name": "nothing"})).status_code == 404
    assert box.begun == 0


async def test_preflight_tells_every_part_whether_it_fits_or_not(
    client: httpx2.AsyncClient, box: FakeBox
) -> None:
    for name in ("embed", "huge"):
        answer = await client.post(f"{API}/preflight", json={"name": name})
        (service,) = answer.json()["services"]
        footprint = service["footprint"]
        assert [part["name"] for part in footprint["parts"]] == [
            "weights", "KV cache", "CUDA context", "process",
        ]  # fmt: skip
        assert footprint["parts"][0].keys() == {"name", "cards", "source", "host", "note"}
        assert footprint["learned_peak"][0] < footprint["formula"][0]
        assert service["landmines"][0].keys() == {"id", "detail", "fix", "fatal"}
        assert (service["fitted"], service["oracle"]) == (None, None)
        assert bool(service["advice"]) is (name == "huge")
    assert box.begun == 0


async def test_preflight_looks_further_when_it_is_asked_to(client: httpx2.AsyncClient) -> None:
    body = {"name": "embed", "fit_context": True, "oracle": True}
    (service,) = (await client.post(f"{API}/preflight", json=body)).json()["services"]
    assert service["fitted"]["line"] == "context: 40960"
    assert service["oracle"]["devices"][0].keys() == {"device", "model", "context", "compute", "formula"}
    wrong = await client.post(f"{API}/preflight", json={"name": "embed", "oracle": "yes"})
    assert wrong.status_code == 422


async def test_a_caller_that_goes_away_does_not_stop_the_switch(
    client: httpx2.AsyncClient, box: FakeBox
) -> None:
    box.step_seconds = 0.01
    caller = asyncio.create_task(switch(client, "chat", wait=True))
    await until(lambda: bool(box.begun))
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    latest = (await box.switches())[0]
    assert (await box.wait(latest.id, 60)).state is SwitchState.COMMITTED


async def test_a_caller_that_goes_away_before_it_began_does_not_break_it_off(
    client: httpx2.AsyncClient, box: FakeBox
) -> None:
    go_on = asyncio.Event()
    entered = asyncio.Event()
    begin = box.begin

    async def slowly(request: SwitchRequest) -> object:
        entered.set()
        await go_on.wait()
        return await begin(request)

    box.begin = slowly  # type: ignore[method-assign,assignment]
    caller = asyncio.create_task(switch(client, "chat"))
    await entered.wait()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    go_on.set()
    await until(lambda: bool(box.begun))
    latest = (await box.switches())[0]
    assert (await box.wait(latest.id, 60)).request == SwitchRequest(mode=ModeId("chat"), by="local")
