"""The real API over a fake box, served from a thread of the test on a Unix socket and a TCP port."""

import asyncio
import contextlib
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path

from gpumod.api import serve
from gpumod.core.names import ModeId
from gpumod.core.switch import SwitchRecord, SwitchRequest
from gpumod.testing.fake_daemon import build
from gpumod.testing.jobs import FakeJobs
from gpumod.testing.switching import FakeBox

_BOUND = 60


@dataclass
class Served:
    """A fake daemon: where it listens, and its box, to be made to misbehave."""

    socket: str
    port: int
    box: FakeBox
    jobs: FakeJobs
    loop: asyncio.AbstractEventLoop
    thread: threading.Thread
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def run(self, awaitable):
        """Run something in the daemon's loop, to its end."""
        return asyncio.run_coroutine_threadsafe(awaitable, self.loop).result(_BOUND)

    def hold(self):
        """Switches stand still before their next step."""
        self.loop.call_soon_threadsafe(self.box.going.clear)

    def go_on(self):
        """Switches that stand still go on."""
        self.loop.call_soon_threadsafe(self.box.going.set)

    def end(self):
        """End the daemon."""
        with contextlib.suppress(RuntimeError):  # it has ended already
            self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(_BOUND)
        assert not self.thread.is_alive()

    def switch(self, mode):
        """Bring the box into a mode."""

        async def go():
            begun = await self.box.begin(SwitchRequest(mode=ModeId(mode)))
            assert isinstance(begun, SwitchRecord)
            return await self.box.wait(begun.id)

        return self.run(go())


@contextlib.contextmanager
def served(folder: Path, *, step_seconds: float = 0.0, **deps):
    started, made = threading.Event(), []
    path = str(folder / "s")

    async def main():
        box = FakeBox(step_seconds)
        tcp, unix = socket.socket(), socket.socket(socket.AF_UNIX)
        tcp.bind(("127.0.0.1", 0))
        unix.bind(path)
        jobs = FakeJobs(box, step_seconds=step_seconds)
        here = Served(
            path, tcp.getsockname()[1], box, jobs, asyncio.get_running_loop(), threading.current_thread()
        )
        made.append(here)
        try:
            await serve(
                build(box, jobs=jobs, **deps), [tcp, unix], here.stop, on_started=started.set, grace=1.0
            )
        finally:
            await box.close()
            tcp.close()
            unix.close()

    thread = threading.Thread(target=lambda: asyncio.run(main()), name="fake daemon")
    thread.start()
    try:
        assert started.wait(_BOUND)
        yield made[0]
    finally:
        if made:
            made[0].end()
        thread.join(_BOUND)
        assert not thread.is_alive()
