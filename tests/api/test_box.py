import httpx2
import pytest
from pydantic import TypeAdapter

from gpumod.access.rules import API
from gpumod.core.cards import CardsReading, DriverState
from gpumod.core.lease import Lease
from gpumod.core.spec import Catalog, Mode, Problem, ServiceSpec
from gpumod.core.switch import BoxStatus
from gpumod.testing.switching import FakeBox
from tests.api.conftest import Build


async def test_the_status_can_be_read_back(client: httpx2.AsyncClient) -> None:
    await client.post(f"{API}/switches", json={"mode": "chat", "wait": True})
    status = TypeAdapter(BoxStatus).validate_json((await client.get(f"{API}/status")).content)
    assert (status.mode, status.state) == ("chat", "settled")
    assert {service.id for service in status.services} == {"embed", "gemma-chat"}


async def test_cards_come_with_their_budgets(client: httpx2.AsyncClient) -> None:
    answer = await client.get(f"{API}/cards")
    reading = TypeAdapter(CardsReading).validate_json(answer.content)
    assert [card.index for card in reading.cards] == [0, 1]
    assert reading.cards[0].processes[0].command == "firefox"
    assert [budget["foreign"] > 0 for budget in answer.json()["budgets"]] == [True, False]
    assert answer.json()["overcommitted"] == []


async def test_modes_and_presets_are_as_in_the_files(client: httpx2.AsyncClient, box: FakeBox) -> None:
    modes = TypeAdapter(tuple[Mode, ...]).validate_json((await client.get(f"{API}/modes")).content)
    assert [mode.id for mode in modes] == [mode.id for mode in box.catalog().modes]
    preset = TypeAdapter(ServiceSpec).validate_json((await client.get(f"{API}/presets/embed")).content)
    assert preset.model == "/models/embed.gguf"
    disabled = await client.get(f"{API}/presets/typo")
    assert disabled.status_code == 404
    assert "has mistakes" in disabled.json()["detail"]
    assert (await client.get(f"{API}/modes/nothing")).status_code == 404


async def test_problems_of_the_files_are_told_and_the_files_read_again(client: httpx2.AsyncClient) -> None:
    problems = TypeAdapter(tuple[Problem, ...]).validate_json(
        (await client.get(f"{API}/config/problems")).content
    )
    assert (problems[0].file, problems[0].line) == ("presets/typo.yaml", 3)
    reloaded = await client.post(f"{API}/config/reload", json={})
    assert TypeAdapter(Catalog).validate_json(reloaded.content).problems == problems


async def test_leases_are_taken_renewed_and_released(client: httpx2.AsyncClient) -> None:
    taken = await client.post(f"{API}/leases", json={"holder": "eval", "seconds": 60, "purpose": "nightly"})
    assert taken.status_code == 201
    lease = TypeAdapter(Lease).validate_json(taken.content)
    renewed = await client.post(f"{API}/leases/{lease.id}/renew", json={"seconds": 600})
    assert renewed.json()["until"] > lease.until
    assert [one["id"] for one in (await client.get(f"{API}/leases")).json()] == [lease.id]
    assert (await client.delete(f"{API}/leases/{lease.id}")).json()["holder"] == "eval"
    assert (await client.delete(f"{API}/leases/{lease.id}")).status_code == 404
    assert (await client.get(f"{API}/leases")).json() == []
    nobody = await client.post(f"{API}/leases", json={"holder": "eval", "seconds": 1, "services": ["none"]})
    assert nobody.status_code == 404


async def test_the_last_lines_of_a_log(client: httpx2.AsyncClient, box: FakeBox) -> None:
    for number in range(300):
        await box.write_log("embed", f"line {number}\udcff")
    default = (await client.get(f"{API}/services/embed/logs")).json()["lines"]
    assert (len(default), default[-1]) == (200, "line 299?")
    assert len((await client.get(f"{API}/services/embed/logs?lines=3")).json()["lines"]) == 3
    assert (await client.get(f"{API}/services/nobody/logs")).status_code == 404
    assert (await client.get(f"{API}/services/nobody/logs?follow=true")).status_code == 404


async def test_kept_events_as_a_list(client: httpx2.AsyncClient) -> None:
    await client.post(f"{API}/switches", json={"mode": "chat", "wait": True})
    every = (await client.get(f"{API}/events?once=true")).json()
    assert [event["seq"] for event in every] == list(range(1, len(every) + 1))
    later = (await client.get(f"{API}/events?once=true&after=2&limit=3")).json()
    assert [event["seq"] for event in later] == [3, 4, 5]


async def test_ready_means_recovered_with_a_driver_that_answers(api: Build, box: FakeBox) -> None:
    reasons = [""]
    _, client = api(ready=lambda: reasons[0])
    assert (await client.get("/ready")).status_code == 200
    box.driver = DriverState.ABSENT
    assert (await client.get("/ready")).status_code == 200, "a box without NVIDIA cards is fine"
    box.driver = DriverState.NOT_LOADED
    answer = await client.get("/ready")
    assert (answer.status_code, answer.json()["reason"]) == (503, "the driver does not answer")
    reasons[0] = "still adopting services"
    assert (await client.get("/ready")).json()["reason"] == "still adopting services"
    assert (await client.get("/health")).status_code == 200


async def test_the_schema_and_the_version_are_those_of_the_daemon(api: Build) -> None:
    _, client = api(schema=lambda: {"title": "preset"}, config_dir="/etc/gpumod")
    assert (await client.get(f"{API}/config/schema")).json() == {"title": "preset"}
    assert (await client.get(f"{API}/version")).json() == {
        "version": "fake",
        "api": "v1",
        "config_dir": "/etc/gpumod",
    }


@pytest.mark.parametrize("mode", ["<script>alert(1)</script>"])
async def test_the_page_runs_nothing_but_its_own_script(
    client: httpx2.AsyncClient, box: FakeBox, mode: str
) -> None:
    box._mode = mode  # type: ignore[assignment]
    answer = await client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert mode not in answer.text
    assert "&lt;script&gt;" in answer.text, "without scripts, the page still says what the box is like"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert policy.count("sha256-") == answer.text.count("<script>") + answer.text.count("<style>") == 2
    for outside in ("http:", "https:", "//cdn", " style=", " onclick=", "src="):
        assert outside not in answer.text.replace("http://www.w3.org/2000/svg", "")
