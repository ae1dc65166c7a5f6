"""Comparisons through both clients."""

import asyncio

import pytest

from gpumod.client import AsyncClient, Client, Work
from gpumod.core.errors import InvalidRequestError, NotFoundError


def test_results_are_compared_by_name_and_by_value(daemon):
    async def both(job):
        async with AsyncClient(daemon.socket) as client:
            return await client.compare(f"{job}/gemma-chat", f"{job}/chat")

    with Client(daemon.socket) as client:
        job = client.submit_job(Work("speed", ["gemma-chat", "chat"])).id
        daemon.run(daemon.jobs.work())
        found = client.compare(job)
        assert [side.target for side in found.comparisons[0].sides] == ["gemma-chat", "chat"]
        assert found.markdown.startswith("## speed")
        assert asyncio.run(both(job)) == found
        with pytest.raises(NotFoundError):
            client.compare("gone")
        with pytest.raises(InvalidRequestError, match="this is no result"):
            client.compare(job, {"job": "x"})
