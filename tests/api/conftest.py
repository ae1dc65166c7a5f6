import asyncio
from collections.abc import AsyncIterator, Callable

import httpx2
import pytest
from fastapi import FastAPI

from gpumod.testing.fake_daemon import build
from gpumod.testing.jobs import FakeJobs
from gpumod.testing.switching import FakeBox

BASE = "http://127.0.0.1:7780"
Build = Callable[..., tuple[FastAPI, httpx2.AsyncClient]]


async def until(holds: Callable[[], bool]) -> None:
    """Let other tasks run until something holds; without a clock, and with an end."""
    for _ in range(10_000):
        if holds():
            return
        await asyncio.sleep(0)
    pytest.fail("it never came to that")


@pytest.fixture
async def box() -> AsyncIterator[FakeBox]:
    box = FakeBox()
    yield box
    await box.close()


@pytest.fixture
def jobs(box: FakeBox) -> FakeJobs:
    """The jobs of the box; they wait until they are told to run."""
    return FakeJobs(box)


@pytest.fixture
async def api(box: FakeBox, jobs: FakeJobs) -> AsyncIterator[Build]:
    """Builds an application over the box, with fields of ApiDeps as asked for, and a client of it."""
    opened: list[tuple[FastAPI, httpx2.AsyncClient]] = []

    def make(**more: object) -> tuple[FastAPI, httpx2.AsyncClient]:
        app = build(box, **{"jobs": jobs, **more})
        client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=BASE)
        opened.append((app, client))
        return app, client

    yield make
    for app, client in opened:
        await client.aclose()
        await app.state.context.close()


@pytest.fixture
def client(api: Build) -> httpx2.AsyncClient:
    return api()[1]
