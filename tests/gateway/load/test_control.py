"""The control plane answers whatever the gateway and a switch are doing (invariant 9)."""

from __future__ import annotations

import asyncio
import json
import resource
from collections.abc import Iterator

import pytest

from gpumod.core.names import ModeId, ServiceId
from gpumod.core.switch import SwitchRecord, SwitchRequest
from gpumod.testing.engine_server import Script
from tests.e2e.conftest import boxes
from tests.e2e.real_box import RealBox
from tests.gateway.load.clients import Ask, Client, Kind, Outcome
from tests.gateway.load.plane import plane

pytestmark = pytest.mark.shared_processes

STREAMS = 1000
CHAT = ServiceId("chat")


@pytest.fixture
def box() -> Iterator[RealBox]:
    with boxes() as make:
        yield make()


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Enough for a thousand streams with both their ends and the gateway's in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 8 * STREAMS), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def status(port: int) -> dict[str, object]:
    """What the control plane says of the box."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /gpumod/v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    assert b" 200 " in head.split(b"\r\n")[0], head
    document: dict[str, object] = json.loads(body)
    return document


@pytest.mark.usefixtures("descriptors")
async def test_status_and_other_requests_are_answered_while_a_thousand_streams_are_drained(
    box: RealBox,
) -> None:
    box.preset("chat", Script(host_mib=20), drain={"deadline": "600s"})
    box.preset("small", Script(host_mib=20))
    box.mode("both", "chat", "small")
    box.mode("alone", "small")
    async with plane(box) as live:
        await live.switch("both")
        clients = [Client(live.port) for _ in range(STREAMS)]
        streams = [
            asyncio.create_task(one.ask(Ask(str(number), "chat", Kind.STREAM, events=2, seconds=600)))
            for number, one in enumerate(clients)
        ]
        await live.until("all streams run", lambda: live.gate.in_flight(CHAT) == STREAMS)
        begun = await live.supervisor.begin(SwitchRequest(mode=ModeId("alone")))
        assert isinstance(begun, SwitchRecord)
        await live.until("it drains", lambda: not live.gate.admits(CHAT))
        other = Client(live.port)
        for number in range(20):
            said = await status(live.port)
            assert said["switch"], "the switch has ended: nothing was shown"
            assert await other.ask(Ask(f"other {number}", "small")) is Outcome.ANSWERED
        assert live.gate.in_flight(CHAT) == STREAMS
        assert not (await live.supervisor.switch(begun.id)).state.ended
        for task in streams:
            task.cancel()
        await asyncio.gather(*streams, return_exceptions=True)
        for one in (*clients, other):
            await one.close()
        record = await live.supervisor.wait(begun.id)
        assert record.left
        await live.assert_quiet()
        assert (await status(live.port))["mode"] == "alone"
