"""Requests, switches, crashes and clients that leave, in any order: each is settled once and counted out."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gpumod.config.gateway import KeyLimits
from gpumod.core.errors import GpumodError
from gpumod.core.names import ModeId, ServiceId
from gpumod.core.spec import OnDemand
from gpumod.core.switch import SwitchRequest
from gpumod.gateway.exchange import Answer, Ending, Passage, Request, Transfer, Waiting
from tests.gateway.door_bench import Bench, a_bench

MODELS = ("gemma-chat", "hermes", "qwen-code", "embed", "default", "broken", "huge", "nothing")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from(MODELS), st.sampled_from(["ada", "bob", "carl"])),
        st.tuples(st.just("end"), st.integers(0, 40), st.sampled_from(Ending)),
        st.tuples(st.just("again"), st.integers(0, 40)),
        st.tuples(st.just("leave"), st.integers(0, 40)),
        st.tuples(st.just("switch"), st.sampled_from(["chat", "code", "blank", "broken"]), st.booleans()),
        st.tuples(st.just("turns"), st.integers(1, 60)),
        st.tuples(st.just("time"), st.floats(0.1, 25.0)),
    ),
    min_size=1,
    max_size=40,
)
LIMITS = {
    "ada": KeyLimits(concurrency=4, priority=1),
    "bob": KeyLimits(rate=(5, 60.0), on_demand=OnDemand.ASK),
}


@dataclass
class Client:
    """One request and what has become of it."""

    request: Request
    place: Passage | None = None
    waiting: Waiting | None = None
    answers: int = 0

    def take(self, where: Passage | Answer | Waiting) -> None:
        """What the door said, as the relay would take it."""
        self.place = self.waiting = None
        if isinstance(where, Passage):
            self.place = where
        elif isinstance(where, Answer):
            self.answers += 1
        else:
            self.waiting = where
            where.add_done_callback(self._granted)

    def _granted(self, future: Waiting) -> None:
        if future is self.waiting and not future.cancelled():
            self.take(future.result())


@dataclass
class Play:
    """Plays steps against a door."""

    bench: Bench
    clients: list[Client] = field(default_factory=list)
    switches: list[asyncio.Task[None]] = field(default_factory=list)

    async def step(self, kind: str, *what: Any) -> None:
        """One step; those that make no sense now do nothing."""
        match kind, *what:
            case "ask", model, key:
                client = Client(self.bench.request(model, key=key))
                self.clients.append(client)
                client.take(self.bench.door.open(client.request))
            case "end", number, ending:
                self._end(self._client(number), Transfer(ending))
            case "again", number:
                lost = self._client(number)
                if lost is not None and lost.place:
                    lost.take(self.bench.door.again(lost.request, lost.place))
            case "leave", number:
                self._leave(self._client(number))
            case "switch", mode, force:
                self.switches.append(asyncio.create_task(self._switch(mode, force=force)))
            case "turns", count:
                for _ in range(count):
                    await asyncio.sleep(0)
            case "time", seconds:
                await self.bench.clock.sleep(seconds)
        self.check()

    def _client(self, number: int) -> Client | None:
        return self.clients[number % len(self.clients)] if self.clients else None

    def _end(self, client: Client | None, transfer: Transfer) -> None:
        if client is not None and client.place:
            self.bench.door.finished(client.request, client.place, transfer)
            client.place = None

    def _leave(self, client: Client | None) -> None:
        if client is None:
            return
        waiting, client.waiting = client.waiting, None
        if waiting is not None and not waiting.cancel() and not waiting.cancelled():
            granted = waiting.result()
            client.place = granted if isinstance(granted, Passage) else None
        self._end(client, Transfer(Ending.CLIENT_GONE))

    async def _switch(self, mode: str, *, force: bool) -> None:
        try:
            begun = await self.bench.box.begin(SwitchRequest(mode=ModeId(mode), force=force, by="test"))
        except GpumodError:
            return
        if not hasattr(begun, "reasons"):
            await self.bench.box.wait(begun.id)

    def check(self) -> None:
        """What the gate counts is what is inside, those included who do not know of it yet."""
        inside = Counter(client.place.service for client in self.clients if client.place)
        for client in self.clients:
            granted = client.waiting
            if granted is not None and granted.done() and not granted.cancelled():
                result = granted.result()
                if isinstance(result, Passage):
                    inside[result.service] += 1
        for service in map(ServiceId, ("gemma-chat", "qwen-code", "embed", "broken")):
            assert self.bench.box.in_flight(service) == inside[service]
        assert self.bench.door.inside == inside.total()


async def _play(steps: list[tuple[Any, ...]]) -> None:
    async with a_bench("chat", limits=LIMITS, wait=20.0, queue=8, queue_per_key=5) as bench:
        play = Play(bench)
        for step in steps:
            await play.step(*step)
        await asyncio.gather(*play.switches)
        await bench.door.close(0.0)
        await asyncio.sleep(0)
        play.check()
        for client in play.clients:
            assert client.waiting is None or client.waiting.cancelled()
            play._end(client, Transfer())
        play.check()
        assert bench.demand.waiting == 0
        assert all(key.meter.inside == 0 for key in bench.door._keys.values())


@given(STEPS)
def test_each_is_settled_once_and_counted_out(steps: list[tuple[Any, ...]]) -> None:
    asyncio.run(_play(steps))


async def test_nobody_is_lost_in_many_switches_under_load() -> None:
    async with a_bench("chat", wait=600.0, queue=5000, queue_per_key=5000) as bench:
        clients: list[Client] = []
        for number in range(4000):
            model = ("gemma-chat", "qwen-code", "embed")[number % 3]
            client = Client(bench.request(model, key=f"key{number % 7}"))
            clients.append(client)
            client.take(bench.door.open(client.request))
            if number % 5 == 0:
                await asyncio.sleep(0)
            for other in clients[max(0, number - 20) : number - 10]:
                if other.place:
                    bench.door.finished(other.request, other.place, Transfer())
                    other.place, other.answers = None, other.answers + 1
        while any(client.waiting for client in clients):
            await asyncio.wait({client.waiting for client in clients if client.waiting})
            await asyncio.sleep(0)
            for other in clients:
                if other.place:
                    bench.door.finished(other.request, other.place, Transfer())
                    other.place, other.answers = None, other.answers + 1
        assert bench.box.begun > 1  # how many is a matter of speed
        assert {client.answers for client in clients if not client.place} == {1}
        assert bench.demand.waiting == 0
        for service in map(ServiceId, ("gemma-chat", "qwen-code", "embed")):
            assert bench.box.in_flight(service) == sum(
                client.place is not None and client.place.service == service for client in clients
            )
