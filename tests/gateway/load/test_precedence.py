"""Who may take the box from whom, with requests at the gateway: --force > lease > switch > on demand."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator

import pytest

from gpumod.core.names import ServiceId
from gpumod.core.switch import SwitchState
from gpumod.testing.engine_server import Script
from tests.e2e.conftest import boxes
from tests.e2e.real_box import RealBox
from tests.gateway.load.clients import Ask, Client, Kind, Outcome
from tests.gateway.load.plane import Plane, plane

pytestmark = pytest.mark.shared_processes

CHAT = ServiceId("chat")
GATEWAY = "gateway: {wait: 60s, residency: 0s, ageing: 300ms, keep_alive: 200ms}\n"


@pytest.fixture
def box() -> Iterator[RealBox]:
    """Chat, code and spare do not fit together; code gets ready when it is let."""
    with boxes() as make:
        made = make()
        config = made.root / "config/config.yaml"
        config.write_text(config.read_text() + GATEWAY)
        made.preset("chat", Script(host_mib=20), vram=600, drain={"deadline": "60s"})
        made.preset("code", Script(host_mib=20, gate=str(made.root / "gate")), vram=600)
        made.preset("spare", Script(host_mib=20), vram=600)
        for name in ("chat", "code", "spare"):
            made.mode(name, name, on_demand="auto")
        yield made


async def asking(live: Plane, ask: Ask, codes: Counter[str] | None = None) -> Outcome:
    """What becomes of a request."""
    client = Client(live.port, codes)
    outcome = await client.ask(ask)
    await client.close()
    return outcome


async def test_a_request_does_not_break_a_lease_and_is_served_once_it_is_over(box: RealBox) -> None:
    (box.root / "gate").touch()
    async with plane(box) as live:
        await live.switch("chat")
        lease = await live.supervisor.leases.take("an agent", 600)
        codes: Counter[str] = Counter()
        assert await asking(live, Ask("one", "code"), codes) is Outcome.RETRYABLE
        assert codes == {"switch_refused": 1}
        assert live.gate.mode() == "chat"
        await live.supervisor.leases.release(lease.id)
        assert await asking(live, Ask("two", "code")) is Outcome.ANSWERED
        await live.until("the mode is committed", lambda: live.gate.mode() == "code")


async def test_a_request_waits_until_a_switch_that_somebody_asked_for_has_ended(box: RealBox) -> None:
    async with plane(box) as live:
        await live.switch("chat")
        switching = asyncio.create_task(live.switch("code"))
        await live.until("code loads", lambda: live.gate.expected(ServiceId("code")))
        asked = asyncio.create_task(asking(live, Ask("one", "spare")))
        await live.until("it waits", lambda: live.gateway._demand.waiting == 1)
        (box.root / "gate").touch()
        assert (await switching).state is SwitchState.COMMITTED
        assert await asked is Outcome.ANSWERED
        latest, former, *_ = await live.supervisor.switches(2)
        assert (latest.target, former.target) == ("spare", "code")
        assert latest.started >= (former.ended or 0.0)


@pytest.mark.parametrize(("mode", "force"), [("blank", True), ("spare", False)])
async def test_somebodys_own_switch_ends_one_that_requests_wait_for_and_they_are_told(
    box: RealBox, mode: str, *, force: bool
) -> None:
    async with plane(box) as live:
        await live.switch("chat")
        codes: Counter[str] = Counter()
        asked = [asyncio.create_task(asking(live, Ask(str(n), "code"), codes)) for n in range(5)]
        await live.until("code loads", lambda: live.gate.expected(ServiceId("code")))
        own = await live.switch(mode, force=force)
        assert own.state is SwitchState.COMMITTED, own.reason
        assert [await one for one in asked] == [Outcome.RETRYABLE] * 5
        assert codes == {"switch_failed": 5}
        assert live.gate.mode() == mode
        await live.assert_quiet()


async def test_while_a_service_drains_its_alias_is_answered_by_another_one(box: RealBox) -> None:
    for name in ("left", "right"):
        box.preset(name, Script(host_mib=20), vram=100, aliases=["any"], drain={"deadline": "60s"})
    box.mode("both", "left", "right", on_demand="never")
    box.mode("one", "right", on_demand="never")
    left = ServiceId("left")
    async with plane(box) as live:
        await live.switch("both")
        client = Client(live.port)
        stream = asyncio.create_task(client.ask(Ask("s", "left", Kind.STREAM, events=2, seconds=300)))
        await live.until("its stream runs", lambda: live.gate.in_flight(left) == 1)
        switching = asyncio.create_task(live.switch("one"))
        await live.until("it drains", lambda: not live.gate.admits(left))
        before = live.entered[left]
        assert [await asking(live, Ask(f"a{n}", "any")) for n in range(5)] == [Outcome.ANSWERED] * 5
        assert live.entered[left] == before
        assert not switching.done()
        stream.cancel()
        await asyncio.gather(stream, return_exceptions=True)
        await client.close()
        assert (await switching).state is SwitchState.COMMITTED
        await live.assert_quiet()


async def test_who_came_while_a_drain_was_taken_back_is_answered(box: RealBox) -> None:
    preset = box.root / "config/presets/chat.yaml"
    document = json.loads(preset.read_text())
    preset.write_text(json.dumps({**document, "drain": {"deadline": "300ms", "then": "refuse"}}))
    async with plane(box) as live:
        await live.switch("chat")
        client = Client(live.port)
        end = box.root / "end"
        stream = asyncio.create_task(client.ask(Ask("s", "chat", Kind.STREAM, gate=str(end))))
        await live.until("its stream runs", lambda: live.gate.in_flight(CHAT) == 1)
        switching = asyncio.create_task(live.switch("spare"))
        await live.until("it drains", lambda: not live.gate.admits(CHAT))
        late = asyncio.create_task(asking(live, Ask("late", "chat")))
        record = await switching
        assert record.state is not SwitchState.COMMITTED
        end.touch()
        assert await late is Outcome.ANSWERED
        assert await stream is Outcome.ANSWERED
        await client.close()
        assert live.gate.generation(CHAT) == 1
        await live.assert_quiet()
