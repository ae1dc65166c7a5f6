"""The parts of the gateway put together: its end, and what of the configuration reaches whom."""

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from gpumod.access import AccessRules
from gpumod.config.gateway import GatewayFile, GatewaySettings, gateway_settings
from gpumod.core.names import ModeId
from gpumod.core.spec import OnDemand
from gpumod.core.switch import SwitchRequest
from gpumod.core.units import GIB, MIB
from gpumod.daemon import SystemClock
from gpumod.gateway.demand import rules_of
from gpumod.gateway.http.limits import Limits
from gpumod.gateway.plane import Gateway, GatewayParts, limits_of
from gpumod.testing.switching import FakeBox
from tests.gateway.door_bench import GEMMA
from tests.gateway.http.box import OK, Engine, Wire, get, post, request_of, until


def configured(**given: Any) -> GatewaySettings:
    """As config.yaml would have it."""
    return gateway_settings(GatewayFile.model_validate(given))


Read = Callable[[GatewaySettings], object]


@pytest.mark.parametrize(
    ("given", "read", "effect"),
    [
        ({"on_demand": "never"}, lambda told: told.on_demand, OnDemand.NEVER),
        ({"queue": 3}, lambda told: rules_of(told).queue, 3),
        ({"queue_per_key": 2}, lambda told: rules_of(told).queue_per_key, 2),
        ({"wait": "7s"}, lambda told: rules_of(told).wait, 7.0),
        ({"residency": "8s"}, lambda told: rules_of(told).residency, 8.0),
        ({"ageing": "9s"}, lambda told: rules_of(told).ageing, 9.0),
        ({"keep_alive": "20s"}, lambda told: limits_of(told).wait_interval, 20.0),
        ({"keep_alive": "1s"}, lambda told: limits_of(told).wait_silence, 1.0),
        ({"drain": "3s"}, lambda told: told.drain, 3.0),
        ({"body_limit": "1MiB"}, lambda told: limits_of(told).body, MIB),
        ({"body_limit": "2GiB"}, lambda told: limits_of(told).kept, 2 * GIB),
        ({"head_timeout": "4s"}, lambda told: limits_of(told).head_time, 4.0),
        ({"head_timeout": "4s"}, lambda told: limits_of(told).body_time, 4.0),
        ({"idle_timeout": "5s"}, lambda told: limits_of(told).idle_time, 5.0),
        ({"client_stall": "6s"}, lambda told: limits_of(told).client_silence, 6.0),
        ({"engine_stall": "1h"}, lambda told: limits_of(told).engine_silence, 3600.0),
    ],
)
def test_every_setting_reaches_who_goes_by_it(given: dict[str, object], read: Read, effect: object) -> None:
    assert read(configured(**given)) == effect


def test_all_bodies_together_may_have_a_fixed_size() -> None:
    assert limits_of(configured()).kept == Limits().kept


async def test_at_the_end_idle_clients_leave_and_the_last_answers_say_so() -> None:
    go = asyncio.Event()

    async def play(wire: Wire) -> None:
        await request_of(wire)
        await go.wait()
        await wire.send(OK)

    engine, box = Engine(play), FakeBox()
    await engine.start()
    box.port = lambda _: engine.port  # type: ignore[method-assign, assignment]
    begun = await box.begin(SwitchRequest(mode=ModeId("chat"), by="test"))
    await box.wait(begun.id)  # type: ignore[union-attr]
    gateway = Gateway(
        GatewayParts(box, box, box.leases, SystemClock(), AccessRules(), GatewaySettings(), {}, lambda: False)
    )
    await gateway.start()
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    await gateway.listen(listener, None)  # type: ignore[arg-type]
    idle, busy = [Wire(*await asyncio.open_connection(*address)) for _ in range(2)]
    await idle.send(get("/"))
    assert (await idle.answer())[0] == 404
    body = json.dumps({"model": GEMMA, "messages": []}).encode()
    await busy.send(post(body, "/v1/chat/completions").replace(b"Host: h", b"Host: localhost"))
    await until(lambda: box.in_flight(GEMMA) == 1 and bool(engine.made))
    draining = asyncio.create_task(gateway.drain())
    assert await idle.rest() == b"", "an idle connection stays open and its client is refused by who ends"
    assert not draining.done()
    go.set()
    status, headers, answered = await busy.answer()
    assert (status, headers.get(b"connection"), answered) == (200, b"close", b"hi")
    await draining
    for wire in (idle, busy):
        await wire.close()
    await gateway.close()
    await box.close()
    await engine.stop()
