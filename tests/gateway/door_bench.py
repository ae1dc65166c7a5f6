"""A door on the fake box, and requests for it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from gpumod.access import AccessRules
from gpumod.config.gateway import GatewaySettings, KeyLimits
from gpumod.core.names import ModeId, PresetId, ServiceId
from gpumod.core.spec import Idle, OnDemand, ServiceSpec
from gpumod.core.switch import SwitchRequest
from gpumod.gateway.demand import Demand, rules_of
from gpumod.gateway.door import GatewayDoor
from gpumod.gateway.exchange import Answer, Head, Passage, Request, Transfer, Waiting
from gpumod.testing.clock import FakeClock
from gpumod.testing.switching import FakeBox

GEMMA = ServiceId("gemma-chat")
CODE = ServiceId("qwen-code")


@dataclass
class Bench:
    """The door with what stands behind it, and what it was seen to do."""

    box: FakeBox
    door: GatewayDoor
    demand: Demand
    clock: FakeClock
    settings: GatewaySettings
    seen: list[tuple[Request, Passage, Transfer]] = field(default_factory=list)
    refused: list[tuple[str, str, int, str]] = field(default_factory=list)

    async def switch(self, mode: str) -> None:
        """Bring the box to a mode, by hand."""
        record = await self.box.begin(SwitchRequest(mode=ModeId(mode), by="test"))
        assert not hasattr(record, "reasons"), record
        await self.box.wait(record.id)

    async def hand(self, verb: str, service: str) -> None:
        """Start or stop one service by hand."""
        wish = SwitchRequest(**{verb: ServiceId(service)}, by="test")  # type: ignore[arg-type]
        record = await self.box.begin(wish)
        assert not hasattr(record, "reasons"), record
        await self.box.wait(record.id)

    def request(self, model: str = "gemma-chat", *, key: str = "local", **more: Any) -> Request:
        """A request whose head was let in."""
        body = json.dumps({"model": model, "messages": [], **more.pop("body", {})}).encode()
        return self.raw(body, key=key, **more)

    def raw(
        self,
        body: bytes,
        *,
        key: str = "local",
        path: bytes = b"/v1/chat/completions",
        method: bytes = b"POST",
        headers: Mapping[bytes, bytes] | None = None,
        query: bytes = b"",
        upgrade: bool = False,
    ) -> Request:
        """A request with any body."""
        head = self.head(path=path, method=method, headers=headers, query=query, upgrade=upgrade)
        judged = self.door.judge(head)
        assert isinstance(judged, Request), judged
        judged.body = body
        judged.principal = replace(judged.principal, name=key)
        return judged

    def head(
        self,
        *,
        path: bytes = b"/v1/chat/completions",
        method: bytes = b"POST",
        headers: Mapping[bytes, bytes] | None = None,
        query: bytes = b"",
        upgrade: bool = False,
        **more: Any,
    ) -> Head:
        """A head from this machine."""
        given = {b"host": b"127.0.0.1", b"content-type": b"application/json", **(headers or {})}
        facts: dict[str, Any] = {"unix": False, "local_host": "127.0.0.1", "peer": "127.0.0.1", **more}
        return Head(method, path, query, list(given.items()), received=0.0, upgrade=upgrade, **facts)

    def go(self, request: Request) -> Passage:
        """Open a request that is passed on at once."""
        where = self.door.open(request)
        assert isinstance(where, Passage), where
        return where

    def wait(self, request: Request) -> Waiting:
        """Open a request that has to wait."""
        where = self.door.open(request)
        assert not isinstance(where, Passage | Answer), where
        return where

    async def answer(self, request: Request) -> Answer:
        """The answer of a request that no engine gets."""
        where = self.door.open(request)
        if not isinstance(where, Passage | Answer):
            where = await where
        assert isinstance(where, Answer), where
        return where

    def end(self, request: Request, passage: Passage) -> None:
        """A request has ended well."""
        self.door.finished(request, passage, Transfer(status=200))

    def change_mode(self, mode: str, **fields: Any) -> None:
        """Write something else into a mode's file."""
        catalog = self.box.catalog()
        modes = tuple(replace(one, **fields) if one.id == mode else one for one in catalog.modes)
        self.box._catalog = replace(catalog, modes=modes)

    async def turned(self) -> None:
        """Wait until something about the box has changed."""
        changed = asyncio.Event()
        end = self.box.subscribe(changed.set)
        await changed.wait()
        end()

    def set_idle(self, service: ServiceId, idle: Idle) -> None:
        """Let a running service have an idle policy."""
        record = self.box._services[service]
        self.box._services[service] = replace(record, spec=replace(record.spec, idle=idle))
        self.box.changed()

    @asynccontextmanager
    async def another_door(
        self, recovering: Callable[[], bool] = lambda: False
    ) -> AsyncIterator[GatewayDoor]:
        """The door of a daemon that was started again."""
        rules = rules_of(self.settings)
        demand = Demand(self.box, self.box, self.box.leases, self.clock, rules, recovering=recovering)
        door = GatewayDoor(self.box, self.box, demand, AccessRules(), self.settings, {}, self.clock)
        await door.start()
        try:
            yield door
        finally:
            await door.close(0.0)

    def add_preset(self, id_: str, *, aliases: tuple[str, ...] = ()) -> ServiceSpec:
        """Write another preset's file: a small one."""
        catalog = self.box.catalog()
        embed = catalog.preset(PresetId("embed"))
        assert embed is not None
        spec = replace(
            embed, id=ServiceId(id_), preset=PresetId(id_), aliases=aliases, model=f"/models/{id_}.gguf"
        )
        self.box._catalog = replace(catalog, presets=(*catalog.presets, spec))
        return spec


def said(answer: Answer) -> dict[str, Any]:
    """The error that an OpenAI client reads in an answer, with status and headers."""
    error: dict[str, Any] = json.loads(answer.body)["error"]
    return {
        **error,
        "status": answer.status,
        "headers": {name.decode(): value.decode() for name, value in answer.headers},
    }


@asynccontextmanager
async def a_bench(
    mode: str = "chat",
    *,
    limits: Mapping[str, KeyLimits] | None = None,
    access: AccessRules | None = None,
    step_seconds: float = 0.0,
    **settings: Any,
) -> AsyncIterator[Bench]:
    """A door on a box in a mode. Requests may switch unless told otherwise."""
    box, clock = FakeBox(step_seconds), FakeClock()
    given = GatewaySettings(**{"on_demand": OnDemand.AUTO, "residency": 0.0, **settings})
    demand = Demand(box, box, box.leases, clock, rules_of(given))
    seen: list[tuple[Request, Passage, Transfer]] = []
    refused: list[tuple[str, str, int, str]] = []
    door = GatewayDoor(
        box,
        box,
        demand,
        access or AccessRules(),
        given,
        limits or {},
        clock,
        observe=lambda *what: seen.append(what),
        refused=lambda *what: refused.append(what),
    )
    bench = Bench(box, door, demand, clock, given, seen, refused)
    await bench.switch(mode)
    await door.start()
    try:
        yield bench
    finally:
        await door.close(0.0)
        await box.close()
