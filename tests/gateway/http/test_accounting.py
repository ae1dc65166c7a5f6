"""Whatever happens to requests, each passage is ended exactly once, and nothing is left open."""

import asyncio
import contextlib
import random

from gpumod.gateway.exchange import Answer, Passage, Request, Transfer, Waiting
from gpumod.gateway.http.limits import Limits
from tests.gateway.http.box import ScriptedDoor, Wire, gateway, get, post, post_chunks, request_of, until

ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"9\r\ndata: 1\n\n\r\n" * 50
    + b"0\r\n\r\n",
    b"HTTP/1.1 500 Bad\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx",
    b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"nonsense",
]
REQUESTS = [get(), post(b"x" * 10), post(b"x" * 200_000), post_chunks([b"abc"]), post(b"x", "/v1/x?stream")]

LIMITS = Limits(wait_silence=0.5, wait_interval=0.5, pooled=3, engine_silence=10)


class Books:
    """Which passages are open; an end that nobody begun is an error."""

    def __init__(self, door: ScriptedDoor, chance: random.Random) -> None:
        self.open: set[int] = set()
        self.kept: list[Passage] = []  # so that identities stay unique
        self.wrong: list[str] = []
        self._door = door
        self._chance = chance
        self._finished = door.finished
        door.opening = self.opening
        door.on_again = self.on_again
        door.finished = self.finished  # type: ignore[method-assign]

    def _passage(self, request: Request) -> Passage:
        passage = self._door.passage(request, self._chance.choice([None, None, None, 1]))
        self.kept.append(passage)
        self.open.add(id(passage))
        return passage

    def opening(self, request: Request) -> Passage | Answer | Waiting:
        way = self._chance.random()
        if way < 0.6:
            return self._passage(request)
        future: Waiting = asyncio.get_running_loop().create_future()

        def grant() -> None:
            if not future.done():
                future.set_result(self._passage(request) if way < 0.9 else Answer(503, b"full"))

        asyncio.get_running_loop().call_later(self._chance.random() / 100, grant)
        return future

    def on_again(self, request: Request) -> Passage | Answer | Waiting:
        self._close(self._door.retried[-1])
        return self.opening(request) if self._chance.random() < 0.5 else Answer(503, b"gone")

    def finished(self, request: Request, passage: Passage, transfer: Transfer) -> None:
        self._close(passage)
        self._finished(request, passage, transfer)

    def _close(self, passage: Passage) -> None:
        if id(passage) not in self.open:
            self.wrong.append("ended twice")
        self.open.discard(id(passage))


async def test_every_passage_is_ended_once_whatever_clients_and_engines_do():
    chance = random.Random(7)

    async def play(wire: Wire) -> None:
        while True:
            await request_of(wire)
            answer = chance.choice(ANSWERS)
            if chance.random() < 0.3:
                answer = answer[: chance.randrange(len(answer))]
            await wire.send(answer)
            if chance.random() < 0.4:
                return
            if chance.random() < 0.2:
                await asyncio.sleep(chance.random() / 50)

    async with gateway(play, limits=LIMITS) as box:
        books = Books(box.door, chance)

        async def client() -> None:
            for _ in range(6):
                async with box.client() as wire:
                    wire.writer.write(
                        b"".join(chance.choice(REQUESTS) for _ in range(chance.randrange(1, 5)))
                    )
                    if chance.random() < 0.5:
                        await asyncio.sleep(chance.random() / 30)
                    else:
                        wire.writer.write(get("/v1/own", "Connection: close"))
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(0.05 + chance.random() / 10):
                                await wire.rest()

        async def time() -> None:
            while True:
                await asyncio.sleep(0.005)
                box.pass_time(0.1)

        passing = asyncio.create_task(time())
        await asyncio.gather(*(client() for _ in range(25)))
        await until(lambda: box.front.connections == 0)
        passing.cancel()
        assert len(books.kept) > 20
        assert not books.wrong
        assert not books.open
