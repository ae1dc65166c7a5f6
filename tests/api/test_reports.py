import httpx2
import jsonschema_rs

from gpumod.access import AccessRules, Key, Scope, digest
from gpumod.access.rules import API
from gpumod.testing.jobs import FakeJobs
from tests.api.conftest import Build

JOBS = f"{API}/jobs"
SPEED = {"suite": "speed", "targets": ["gemma-chat"], "label": "<b>nightly</b>"}


async def submit(client: httpx2.AsyncClient) -> str:
    id_: str = (await client.post(JOBS, json=SPEED)).json()["id"]
    return id_


async def test_a_report_is_had_in_every_format(client: httpx2.AsyncClient, jobs: FakeJobs) -> None:
    path = f"{JOBS}/{await submit(client)}/report"
    await jobs.work()
    document = await client.get(path)
    assert document.headers["content-type"] == "application/json"
    assert document.json()["targets"][0]["metrics"][0]["value"] == 20.0
    schema = (await client.get(f"{API}/reports/schema")).json()
    jsonschema_rs.validator_for(schema).validate(document.json())

    card = await client.get(path, params={"format": "markdown"})
    assert card.headers["content-type"] == "text/markdown; charset=utf-8"
    assert card.text.startswith("# `speed` on `gemma-chat` (&#60;b&#62;nightly")

    page = await client.get(path, params={"format": "html"})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.text.startswith("<!DOCTYPE html>")
    assert "<b>nightly" not in page.text
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert policy.endswith("; sandbox")
    assert page.headers["x-content-type-options"] == "nosniff"


async def test_a_job_that_has_not_begun_has_a_report_that_says_so(client: httpx2.AsyncClient) -> None:
    value = (await client.get(f"{JOBS}/{await submit(client)}/report")).json()
    assert value["warnings"] == ["the job has not ended, it is queued: what follows is what there is so far"]
    assert value["targets"][0]["complete"] is False


async def test_there_is_none_of_what_is_not_there(client: httpx2.AsyncClient) -> None:
    answer = await client.get(f"{JOBS}/gone/report", params={"format": "html"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    wrong = await client.get(f"{JOBS}/{await submit(client)}/report", params={"format": "pdf"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_request")


async def test_reading_keys_may_read_it_and_others_may_not(api: Build) -> None:
    reader = Key("reader", digest("secret"), frozenset({Scope.READ}))
    asker = Key("asker", digest("other"), frozenset({Scope.INFER}))
    _, client = api(access=AccessRules(keys=(reader, asker)))
    for path in (f"{JOBS}/gone/report", f"{API}/reports/schema"):
        assert (await client.get(path)).status_code == 401
        other = await client.get(path, headers={"Authorization": "Bearer other"})
        assert other.status_code == 403
        seen = await client.get(path, headers={"Authorization": "Bearer secret"})
        assert seen.status_code in {200, 404}


async def test_the_document_describes_all_three(client: httpx2.AsyncClient) -> None:
    described = (await client.get(f"{API}/openapi.json")).json()
    answers = described["paths"][f"{JOBS}/{{id}}/report"]["get"]["responses"]
    assert set(answers["200"]["content"]) == {"application/json", "text/markdown", "text/html"}
    assert "ReportTarget" in described["components"]["schemas"]
