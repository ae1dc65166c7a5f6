"""What a service that leaves sees of the gateway, and what the gateway's clients see of that."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from gpumod.core.names import ServiceId
from gpumod.core.plan import StepKind
from gpumod.core.switch import SwitchRecord
from gpumod.testing.engine_server import Script
from tests.e2e.conftest import boxes
from tests.e2e.real_box import RealBox
from tests.gateway.load.clients import Ask, Client, Kind, Outcome
from tests.gateway.load.plane import plane

CHAT = ServiceId("chat")

pytestmark = pytest.mark.shared_processes


@pytest.fixture
def box() -> Iterator[RealBox]:
    with boxes() as make:
        yield make()


def told(record: SwitchRecord, kind: StepKind) -> str:
    """What a step of a switch says of itself."""
    return next(step.detail for step in record.steps if step.kind is kind)


async def test_idle_connections_do_not_keep_an_engine_from_ending(box: RealBox) -> None:
    # As llama.cpp does: after SIGTERM it waits until its clients have hung up.
    box.preset("chat", Script(host_mib=20, on_sigterm="hang_with_clients", keep_alive=True))
    box.mode("chat", "chat")
    async with plane(box) as live:
        await live.switch("chat")
        client = Client(live.port)
        assert await client.ask(Ask("one", "chat")) is Outcome.ANSWERED
        assert live.gateway._front is not None
        assert live.gateway._front.pool.idle == 1
        record = await live.switch("blank")
        assert "(signal 15)" in told(record, StepKind.STOP)
        assert live.gateway._front.pool.idle == 0
        await client.close()


async def test_streams_that_outlast_the_drain_end_with_an_error_and_their_end_mark(box: RealBox) -> None:
    box.preset("chat", Script(host_mib=20), drain={"deadline": "300ms", "then": "cut"})
    box.mode("chat", "chat")
    async with plane(box) as live:
        await live.switch("chat")
        clients = [Client(live.port) for _ in range(6)]
        asks = [
            Ask(str(number), "chat", Kind.STREAM, dialect, events=600, seconds=60)
            for number, dialect in enumerate(["openai", "anthropic"] * 3)
        ]
        asked = [asyncio.create_task(one.ask(ask)) for one, ask in zip(clients, asks, strict=True)]
        await live.until("the streams run", lambda: live.gate.in_flight(CHAT) == len(asks))
        record = await live.switch("blank")
        assert "6 requests in flight" in told(record, StepKind.DRAIN)
        assert [await one for one in asked] == [Outcome.CUT] * len(asks)
        for one in clients:
            await one.close()
        await live.assert_quiet()


async def test_a_drain_waits_for_the_gateways_requests_where_the_engine_counts_none(box: RealBox) -> None:
    box.preset("chat", Script(host_mib=20, metrics="none"))
    preset = box.root / "config/presets/chat.yaml"
    document = json.loads(preset.read_text())
    del document["command"]["in_flight"]
    preset.write_text(json.dumps(document))
    box.mode("chat", "chat")
    async with plane(box) as live:
        await live.switch("chat")
        client = Client(live.port)
        end = box.root / "end"
        asked = asyncio.create_task(client.ask(Ask("one", "chat", Kind.STREAM, events=20, gate=str(end))))
        await live.until("the stream runs", lambda: live.gate.in_flight(CHAT) == 1)
        switching = asyncio.create_task(live.switch("blank"))
        await live.until("it drains", lambda: not live.gate.admits(CHAT))
        await asyncio.sleep(0.2)  # a drain that waits for nothing would be over
        assert not switching.done()
        end.touch()
        record = await switching
        assert asked.done(), "the engine was stopped while its stream ran"
        assert await asked is Outcome.ANSWERED
        assert "quiet" in told(record, StepKind.DRAIN)
        await client.close()


async def test_a_client_that_reads_nothing_is_not_inside_the_next_attempt(box: RealBox) -> None:
    box.preset("chat", Script(host_mib=20), drain={"deadline": "300ms", "then": "cut"})
    box.mode("chat", "chat")
    async with plane(box) as live:
        await live.switch("chat")
        reader, writer = await asyncio.open_connection("127.0.0.1", live.port, limit=1024)
        writer.write(Ask("one", "chat", Kind.SLOW, events=2000).bytes())
        await reader.readuntil(b"data: ")
        await live.until("it is inside", lambda: live.gate.in_flight(CHAT) == 1)
        record = await live.switch("blank")
        assert "1 requests in flight" in told(record, StepKind.DRAIN)
        await live.switch("chat")
        assert live.gate.in_flight(CHAT) == 0
        record = await live.switch("blank")
        assert "quiet" in told(record, StepKind.DRAIN)
        # What was on its way is still read, up to an event that the engine could not finish.
        text = b""
        while data := await reader.read(2**20):
            text = (text + data)[-500:]
        assert b"[DONE]" not in text
        writer.close()
        await writer.wait_closed()
        await live.assert_quiet()
