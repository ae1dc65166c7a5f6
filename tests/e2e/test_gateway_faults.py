"""The gateway of a real daemon: killed while requests run and wait, and with a benchmark job beside it."""

import asyncio
import contextlib
import itertools
import json
import threading
from collections import Counter

import pytest

from gpumod.client import Work
from gpumod.core.job import JobState
from gpumod.core.switch import BoxState, SwitchState
from gpumod.testing.engine_server import Script
from gpumod.testing.gguf import TINY, write_gguf
from tests.gateway.load.clients import Ask, Client, Kind, Outcome, WrongAnswerError

pytestmark = pytest.mark.shared_processes

GATEWAY = "gateway: {wait: 60s, residency: 100ms, keep_alive: 200ms}\n"


@pytest.fixture
def box(make_real_box):
    """Chat and code do not fit together, requests may switch, and `small` is always there."""
    box = make_real_box()
    config = box.root / "config/config.yaml"
    config.write_text(config.read_text() + GATEWAY)
    box.preset("small", Script(host_mib=20, keep_alive=True), vram=50)
    box.preset("chat", Script(host_mib=20, keep_alive=True), vram=600)
    box.preset("code", Script(host_mib=20, gate=str(box.root / "gate")), vram=600)
    for name in ("chat", "code"):
        box.mode(name, name, "small", on_demand="auto")
    box.start()
    with box.client() as client:
        client.switch("chat")
    return box


async def what_became(asked):
    """What became of a request; None if its connection broke."""
    try:
        return await asked
    except WrongAnswerError as error:
        return None if "broken off" in str(error) else error


async def ask_until_killed(box, asks):
    """Let requests run, or wait for a switch whose engine does not get ready, and kill the daemon."""
    clients = [Client(box.port) for _ in asks]
    asked = [asyncio.create_task(one.ask(ask)) for one, ask in zip(clients, asks, strict=True)]

    def loads():
        with box.client() as client:
            services = {one.id: one.state for one in client.status().services}
        return services.get("code") == "loading"

    await asyncio.to_thread(box.wait_until, "the switch waits for its engine", loads)
    assert not any(one.done() for one in asked)
    box.kill()
    ended = [await what_became(one) for one in asked]
    for one in clients:
        await one.close()
    return ended


async def ask_all(box, *asks):
    """What becomes of requests, one after the other."""
    client = Client(box.port)
    found = [await client.ask(one) for one in asks]
    await client.close()
    return found


def test_a_daemon_killed_under_requests_leaves_engines_that_serve_the_next_ones(box):
    before = box.engines()["small"]
    streams = [Ask(f"s{number}", "small", Kind.STREAM, events=100, seconds=100) for number in range(5)]
    waiting = [Ask(f"w{number}", "code") for number in range(5)]
    assert asyncio.run(ask_until_killed(box, streams + waiting)) == [None] * 10
    box.start()
    (box.root / "gate").touch()
    box.wait_until("recovery is done", box.settled)
    assert (
        asyncio.run(ask_all(box, Ask("a", "small"), Ask("b", "code"), Ask("c", "chat")))
        == [Outcome.ANSWERED] * 3
    )
    assert box.engines()["small"] == before
    with box.client() as client:
        box.wait_until("the box is settled", lambda: client.status().state is BoxState.SETTLED)
        assert client.status().mode == "chat"
        assert all(record.state.ended for record in client.switches())
        # Streams whose clients are gone are no reason to wait.
        blank = client.switch("blank")
    assert blank.state is SwitchState.COMMITTED
    assert all("cut" not in step.detail for step in blank.steps)


@contextlib.contextmanager
def hammering(box, *models):
    """Meanwhile somebody asks for models again and again; all outcomes are told at the end."""
    over = threading.Event()
    found: Counter[Outcome] = Counter()

    async def hammer():
        client = Client(box.port)
        for number in itertools.count():
            if over.is_set():
                break
            found[await client.ask(Ask(f"h{number}", models[number % len(models)]))] += 1
            await asyncio.sleep(0.01)
        await client.close()

    thread = threading.Thread(target=lambda: asyncio.run(hammer()))
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def test_requests_do_not_take_the_box_from_a_job_and_are_noted_by_it(box):
    pytest.importorskip("xllamacpp", reason="the embedded extra is not installed")
    model = box.root / "tiny.gguf"
    write_gguf(model, TINY)
    box.write(
        "presets/tiny.yaml",
        f"{{id: tiny, engine: llama.cpp, binary: embedded, model: {model}, context: 1024, slots: 1, "
        f'vram: 600MiB, llama: {{threads: 1}}, env: {{TEST_BOX: "{box.root}/"}}}}',
    )
    (box.root / "gate").touch()
    parameters = {"depths": [32], "concurrency": [], "tokens": 48, "repeats": 40}
    with box.client() as client:
        client.reload()
        job = client.submit_job(Work("speed", ["tiny"], parameters))
        with hammering(box, "chat", "code") as found:
            box.wait_until("it measures", lambda: client.samples(job.id))
            switches = len(client.switches())
            asyncio.run(ask_tiny(box))
            assert client.job(job.id).state is JobState.RUNNING
            assert len(client.switches()) == switches
            box.wait_until("the job is over", lambda: client.job(job.id).state.ended)
        ended = client.job(job.id)
        assert (ended.state, ended.reason, ended.attempt) == (JobState.DONE, "", 1)
        # Told to come again while the lease holds, or let wait until it ends: that is a matter of speed.
        assert found
        assert set(found) <= {Outcome.RETRYABLE, Outcome.ANSWERED}
        (result,) = client.results(job.id)
        assert result.provenance["requests"]["others"]["generated_tokens"] > 0
        assert result.integrity

        # Who comes while the lease is given back, or while a model that was just loaded has its residency, is
        # told to come again.
        def answered():
            return asyncio.run(ask_all(box, Ask("later", "chat"))) == [Outcome.ANSWERED]

        box.wait_until("the box serves requests again", answered)
        box.wait_until("the box is settled", lambda: client.status().state is BoxState.SETTLED)
        assert client.status().mode == "chat"


async def ask_tiny(box):
    """A request to the very service that is being measured."""
    reader, writer = await asyncio.open_connection("127.0.0.1", box.port)
    writer.write(Ask("mine", "tiny", events=64).bytes())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    assert json.loads(await reader.readexactly(length))["choices"]
    writer.close()
    await writer.wait_closed()
