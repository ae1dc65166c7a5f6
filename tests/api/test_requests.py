"""Requests to models, as the API tells them."""

from gpumod.access.rules import API
from gpumod.core.account import Account, Ending, Tokens
from tests.api.conftest import Build


def account(at: float) -> Account:
    return Account(
        at=at, route="chat", model="fast", service="gemma", key="ada", ending=Ending.OK, status=200,
        stream=True, queued=0.0, first=0.5, seconds=2.5, generating=2.0,
        tokens=Tokens(prompt=10, cached=4, completion=21),
    )  # fmt: skip


async def test_the_latest_requests_are_told_with_their_speed(api: Build) -> None:
    kept = [account(3.0), account(2.0), account(1.0)]
    _, client = api(requests=lambda limit: kept[:limit])
    told = (await client.get(f"{API}/requests", params={"limit": 2})).json()
    assert [one["account"]["at"] for one in told] == [3.0, 2.0]
    assert told[0]["speed"] == 10.0
    assert told[0]["account"]["tokens"]["cached"] == 4
    assert (await client.get(f"{API}/requests", params={"limit": 0})).status_code == 422
