"""Requests of all kinds thrown at a box that switches and fails: each is answered, or told to ask again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from gpumod.core.switch import SwitchState
from gpumod.testing.engine_server import Script
from tests.e2e.conftest import boxes
from tests.e2e.real_box import RealBox
from tests.gateway.load.clients import Ask, Client, Kind, Outcome
from tests.gateway.load.plane import Plane, plane

pytestmark = pytest.mark.shared_processes

WORKERS = 48
KINDS = [Kind.SMALL] * 10 + [Kind.STREAM] * 6 + [Kind.ABORTS] * 2 + [Kind.SLOW]
MODELS = ["chat", "code", "any"] * 5 + ["asked", "secret", "bad"]
GATEWAY = """\
gateway: {queue: 256, queue_per_key: 256, wait: 120s, residency: 300ms, ageing: 2s, keep_alive: 200ms}
"""


def box_of_modes(root_box: RealBox) -> RealBox:
    """Modes of which only one fits at a time; `any` is what chat and code are both called."""
    config = root_box.root / "config/config.yaml"
    config.write_text(config.read_text() + GATEWAY)
    hasty: dict[str, Any] = {
        "drain": {"deadline": "1s", "then": "cut"},
        "vram": 600,
        "stop_grace": "500ms",  # one that stands still takes all of it
    }
    restart: dict[str, Any] = {"restart": {"when": "failure", "within": "10m", "at_most": 50}}
    # It goes on answering for a while after SIGTERM: what it got then it would tell.
    lasting = Script(host_mib=20, on_sigterm="slow", exit_delay=0.05, keep_alive=True)
    waits_for_clients = Script(host_mib=20, on_sigterm="hang_with_clients", keep_alive=True)
    root_box.preset("chat", lasting, aliases=["any"], **restart, **hasty)
    root_box.preset("code", waits_for_clients, aliases=["any"], **restart, **hasty)
    root_box.preset("asked", Script(host_mib=20), **hasty)
    root_box.preset("secret", Script(host_mib=20), **hasty)
    root_box.preset("bad", Script(exit_code=1, exit_after=0.1, load_time=9), **hasty)
    for name, policy in {"chat": "auto", "code": "auto", "asked": "ask", "secret": "never"}.items():
        root_box.mode(name, name, on_demand=policy)
    root_box.mode("bad", "bad", on_demand="auto")
    return root_box


class Load:
    """Clients that take requests from one supply; it grows as the scene goes on."""

    def __init__(self, live: Plane, seed: int) -> None:
        self._live = live
        self._random = random.Random(seed)
        self._permits = asyncio.Semaphore(0)
        self.made = 0
        self.outcomes: Counter[Outcome] = Counter()
        self.codes: Counter[str] = Counter()
        self.wrong: list[str] = []

    @property
    def ended(self) -> int:
        """Requests of which it is known what became of them."""
        return self.outcomes.total() + len(self.wrong)

    def supply(self, count: int) -> None:
        """Let so many more requests be sent."""
        self.made += count
        for _ in range(count):
            self._permits.release()

    @contextlib.asynccontextmanager
    async def clients(self, count: int) -> AsyncIterator[None]:
        """So many clients at work."""
        tasks = [asyncio.create_task(self._work(number)) for number in range(count)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def over(self) -> None:
        """Wait until every request is over."""
        await self._live.until("every request is over", lambda: self.ended == self.made)

    async def _work(self, number: int) -> None:
        client = Client(self._live.port, self.codes)
        count = 0
        try:
            while True:
                await self._permits.acquire()
                count += 1
                try:
                    self.outcomes[await client.ask(self._any(f"{number}-{count}"))] += 1
                except Exception as error:  # noqa: BLE001 - the test shows it
                    self.wrong.append(f"{type(error).__name__}: {error}"[:600])
                    await client.close()
        finally:
            await client.close()

    def _any(self, tag: str) -> Ask:
        draw = self._random
        return Ask(
            tag,
            draw.choice(MODELS),
            draw.choice(KINDS),
            dialect=draw.choice(["openai", "openai", "anthropic"]),
            events=draw.choice([1, 3, 10]),
            seconds=draw.choice([0.0, 0.0, 0.0, 0.01, 0.1]),
            delay=draw.choice([0.0, 0.001, 0.02, 0.3]),
            stream=draw.random() < 0.5,
        )


Scene = Callable[[Plane], Awaitable[None]]


async def to_chat(live: Plane) -> None:
    await live.switch("chat")


async def to_code(live: Plane) -> None:
    await live.switch("code")


async def to_what_fails(live: Plane) -> None:
    record = await live.switch("bad")
    assert record.state is not SwitchState.COMMITTED


async def to_blank_by_force(live: Plane) -> None:
    await live.switch("blank", force=True)


async def killed(live: Plane) -> None:
    """An engine is gone in the middle of its streams."""
    await to_chat(live)
    for pid in await live.pids("chat"):
        os.kill(pid, signal.SIGKILL)
    await asyncio.sleep(0.2)


async def frozen(live: Plane) -> None:
    """An engine stands still, and has to leave."""
    await to_chat(live)
    for pid in await live.pids("chat"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    await to_code(live)


async def exits(live: Plane) -> None:
    """An engine ends by itself."""
    await to_chat(live)
    with contextlib.suppress(OSError, AssertionError):  # requests may have switched meanwhile
        await live.control("chat", exit_code=3, exit_after=0.0)
    await asyncio.sleep(0.2)


async def pre_empted(live: Plane) -> None:
    """A switch is ended by a forced blank on its way."""
    switching = asyncio.create_task(to_code(live))
    await asyncio.sleep(0.05)
    await to_blank_by_force(live)
    await switching


async def hung(live: Plane) -> None:
    """An engine answers nothing any more, and has to leave: what it has is cut."""
    await to_chat(live)
    with contextlib.suppress(OSError, AssertionError):  # requests may have switched meanwhile
        await live.control("chat", hung=True)
    await to_code(live)


async def cut(live: Plane) -> None:
    """A stream outlasts the drain's deadline."""
    await to_chat(live)
    client = Client(live.port)
    long = asyncio.create_task(client.ask(Ask("long", "chat", Kind.STREAM, events=300, seconds=200)))
    await asyncio.sleep(0.1)
    await to_code(live)
    assert await long in {Outcome.CUT, Outcome.RETRYABLE}
    await client.close()


SCENES: list[Scene] = [
    to_code, to_chat, to_what_fails, killed, to_code, frozen, to_blank_by_force, pre_empted, exits, hung, cut,
]  # fmt: skip


@pytest.fixture
def box() -> Iterator[RealBox]:
    with boxes() as make:
        yield box_of_modes(make())


@pytest.fixture(autouse=True)
def no_defect_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What the gateway keeps from the supervisor and from asyncio is told in the log alone."""
    yield
    rooms = ("gpumod.gateway", "asyncio")
    records = [one for one in caplog.get_records("call") if one.levelno >= logging.ERROR]
    assert [one.getMessage() for one in records if one.name.startswith(rooms)] == []


async def throw(box: RealBox, requests: int, scenes: list[Scene], seed: int) -> Counter[Outcome]:
    """Throw requests at the box during the scenes, and look at what became of each."""
    async with plane(box) as live:
        await live.switch("chat")
        tasks = len(asyncio.all_tasks())
        load = Load(live, seed)
        async with load.clients(WORKERS):
            for number, scene in enumerate(scenes, 1):
                load.supply(requests * number // len(scenes) - load.made)
                await scene(live)
                due = requests * (number - 1) // len(scenes)
                await live.until(f"{due} requests are over", lambda due=due: load.ended >= due)  # type: ignore[misc]
            await load.over()
        assert load.wrong == []
        # How many depends on what the switches leave of the time.
        assert load.outcomes[Outcome.ANSWERED], (load.outcomes, load.codes)
        await live.assert_quiet()
        live.assert_no_answer_of_another_attempt()
        assert "late request" not in live.logs()
        await live.until("no task is left behind", lambda: len(asyncio.all_tasks()) <= tasks)
        switches = await live.supervisor.switches(500)
        assert len(switches) > len(scenes)
        assert all(record.state.ended for record in switches)
        return load.outcomes


async def test_requests_during_switches_are_answered_or_told_to_ask_again(box: RealBox) -> None:
    await throw(box, 600, [to_code, killed, to_what_fails, to_code], seed=1)


@pytest.mark.engines
async def test_ten_thousand_requests_during_twenty_switches(box: RealBox) -> None:
    outcomes = await throw(box, 10_000, SCENES * 2, seed=1)
    assert outcomes.total() == 10_000
    assert all(outcomes[one] for one in Outcome), outcomes
