"""The client against a scripted server on a virtual clock: it has to find the script's own numbers."""

import asyncio
import subprocess
import sys

import pytest

from gpumod.bench.meter.chat import chat
from gpumod.bench.meter.sampler import GEMMA_CODING, SAMPLERS
from gpumod.core.job import Outcome
from gpumod.core.job_ports import Endpoint
from gpumod.testing.clock import FakeClock
from gpumod.testing.scripted_answers import (
    Disconnect,
    Hang,
    Packet,
    Raw,
    Script,
    Torn,
    Wait,
    call_tools,
    content,
    reasoning,
    refuse,
    say,
)
from gpumod.testing.scripted_server import ScriptedServer

ASK = [{"role": "user", "content": "hello"}]
TIMINGS = {
    "prompt_n": 8,
    "prompt_ms": 250.0,
    "predicted_n": 3,
    "predicted_ms": 500.0,
    "draft_n": 4,
    "draft_n_accepted": 3,
}


async def ask(script, *, stream=True, timeout=600.0, **more):
    clock = FakeClock(0.0)
    async with ScriptedServer(clock, [script]) as server:
        reply = await chat(server.endpoint(), ASK, timeout=timeout, clock=clock, stream=stream, **more)
        return reply, server


async def until(condition):
    while not condition():  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0.001)


async def test_every_time_is_the_scripts():
    reply, server = await ask(say("one two three", first=0.5, gap=0.25, timings=TIMINGS))
    assert reply.outcome is Outcome.OK
    assert reply.text == "one two three"
    times = reply.times
    assert (times.sent, times.headers, times.first_token, times.ended) == (0.0, 0.0, 0.5, 1.0)
    assert times.chunks == (0.5, 0.75, 1.0)
    assert reply.usage is not None
    assert (reply.usage.prompt, reply.usage.completion, reply.usage.cached) == (10, 3, 0)
    assert reply.timings is not None
    assert (reply.timings.drafted, reply.timings.accepted) == (4, 3)
    assert server.abandoned == 0


async def test_several_deltas_in_one_packet_and_one_in_several():
    steps = (
        Wait(1.0),
        Packet((content(""),)),
        Wait(1.0),
        Packet((reasoning("a"), reasoning("b"))),
        Torn(content("torn"), packets=5, gap=0.25),
        Wait(2.0),
        Packet((content("x"), content("y"), content("z")), tokens=6),
    )
    reply, _ = await ask(Script(steps))
    assert (reply.reasoning, reply.text) == ("ab", "tornxyz")
    assert reply.times.chunks == (2.0, 2.0, 3.0, 5.0, 5.0, 5.0)
    assert (reply.times.first_token, reply.times.first_content) == (2.0, 3.0)


async def test_without_a_stream_there_is_an_answer_and_no_first_token():
    script = Script((Wait(2.0), Packet((reasoning("hm"), content("yes")))), usage=(5, 2, 1), timings=TIMINGS)
    reply, server = await ask(script, stream=False)
    assert (reply.outcome, reply.text, reply.reasoning) == (Outcome.OK, "yes", "hm")
    assert (reply.times.first_token, reply.times.chunks, reply.times.ended) == (None, (), 2.0)
    assert reply.usage is not None
    assert reply.usage.cached == 1
    assert "stream_options" not in server.requests[0]


@pytest.mark.parametrize("stream", [True, False])
async def test_tool_calls(stream):
    reply, _ = await ask(call_tools(("add", {"a": 1}), ("stop", {}), first=0.5), stream=stream)
    assert reply.outcome is Outcome.OK
    assert [(one.name, one.arguments) for one in reply.tool_calls] == [("add", '{"a": 1}'), ("stop", "{}")]
    assert reply.times.first_token == (0.5 if stream else None)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("script", "outcome", "error"),
    [
        (say("a b", finish_reason="length"), Outcome.CUT, ""),
        (Script(), Outcome.EMPTY, ""),
        (Script((Packet((content(""), content(" \n"))),)), Outcome.EMPTY, ""),
        (Script((Packet((reasoning("only thought"),)),)), Outcome.EMPTY, ""),
        (Script((Packet((reasoning("thought"),)),), finish_reason="length"), Outcome.CUT, ""),
        (refuse(503, "Loading model"), Outcome.REFUSED, "503: Loading model"),
        (refuse(400, "too long"), Outcome.REFUSED, "400: too long"),
        (Script((Wait(1.0), Hang())), Outcome.TIMEOUT, "no complete answer within 600 s"),
        (Script((Wait(1.0), Disconnect())), Outcome.DISCONNECTED, None),
        (Script((Wait(1.0), Disconnect(reset=False))), Outcome.DISCONNECTED, None),
    ],
)
async def test_each_end_has_its_outcome(script, outcome, error, stream):
    reply, _ = await ask(script, stream=stream)
    assert reply.outcome is outcome
    assert reply.error == error if error is not None else reply.error


@pytest.mark.parametrize(
    ("last", "outcome"),
    [
        (Disconnect(), Outcome.DISCONNECTED),
        (Disconnect(reset=False), Outcome.DISCONNECTED),
        (Hang(), Outcome.TIMEOUT),
        (Raw(b'data: {"error": {"message": "the card is full"}}\n\n'), Outcome.REFUSED),
        (Raw(b"data: {never\n\n"), Outcome.DISCONNECTED),
    ],
)
async def test_what_had_come_before_the_failure_is_kept(last, outcome):
    reply, _ = await ask(Script((Wait(1.0), Packet((content("half"),)), Wait(1.0), last)), timeout=60.0)
    assert (reply.outcome, reply.text, reply.times.chunks) == (outcome, "half", (1.0,))
    assert reply.error
    assert reply.times.ended == (60.0 if outcome is Outcome.TIMEOUT else 2.0)


async def test_a_stream_that_stops_without_a_finish_is_no_answer():
    reply, _ = await ask(Script((Packet((content("half"),)),), finish_reason="", done=False))
    assert reply.outcome is Outcome.DISCONNECTED


async def test_the_connection_may_stay_open_after_the_end():
    done = Raw(b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')
    reply, _ = await ask(Script((done, Wait(5.0))))
    assert (reply.outcome, reply.times.ended) == (Outcome.OK, 0.0)


@pytest.mark.parametrize(
    "junk", [b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"]
)
async def test_something_else_listens(junk):
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(junk)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        endpoint = Endpoint("t", f"http://127.0.0.1:{port}", "m", "llama.cpp")
        reply = await chat(endpoint, ASK, timeout=60.0, clock=FakeClock())
    assert reply.outcome is Outcome.DISCONNECTED
    assert reply.error


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "https://127.0.0.1:1", "nonsense"])
async def test_nobody_listens(url):
    reply = await chat(Endpoint("t", url, "m", ""), ASK, timeout=60.0, clock=FakeClock())
    assert reply.outcome in {Outcome.DISCONNECTED, Outcome.REFUSED}
    assert reply.error
    assert reply.times.sent is None


async def test_a_cancelled_request_is_noticed_by_the_server():
    clock = FakeClock()
    async with ScriptedServer(clock, [Script((Packet((content("a"),)), Hang()))]) as server:
        request = asyncio.create_task(chat(server.endpoint(), ASK, timeout=1e9, clock=clock))
        await until(lambda: server.requests)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await until(lambda: server.abandoned)
    assert server.abandoned == 1


async def test_what_is_sent_is_what_the_engine_understands():
    sent = {}
    for engine in ("llama.cpp", "vllm", "container"):
        async with ScriptedServer(clock := FakeClock(), [say("x")]) as server:
            reply = await chat(
                server.endpoint(engine), ASK, sampler=GEMMA_CODING, max_tokens=7, timeout=60.0, clock=clock,
                extra={"cache_prompt": False},
            )  # fmt: skip
            sent[engine] = server.requests[0]
            assert dict(reply.request) == {k: v for k, v in server.requests[0].items() if k != "messages"}
    assert sent["llama.cpp"]["repeat_penalty"] == 1.05
    assert "repetition_penalty" not in sent["llama.cpp"]
    assert sent["vllm"]["repetition_penalty"] == 1.05
    assert "repeat_penalty" not in sent["vllm"]
    assert sent["container"]["temperature"] == 1.0
    assert not {"top_k", "repeat_penalty", "repetition_penalty"} & set(sent["container"])
    assert GEMMA_CODING.left_out("container") == ("top_k", "repeat_penalty")
    assert all(one["cache_prompt"] is False and one["max_tokens"] == 7 for one in sent.values())


def test_the_samplers_are_what_their_names_promise():
    said = {name: one.body("llama.cpp") for name, one in SAMPLERS.items()}
    assert said["THINKING_CODING"] == {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.0}
    assert said["NON_THINKING"] == {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "presence_penalty": 1.5}
    assert said["GEMMA_CODING"] == {"temperature": 1.0, "top_p": 0.95, "top_k": 64, "repeat_penalty": 1.05}
    assert said["SERVER_DEFAULT"] == {}


async def test_many_at_once_do_not_disturb_each_other():
    clock = FakeClock(0.0)
    script = say("a b c d", first=1.0, gap=0.5)
    async with ScriptedServer(clock, [script]) as server:
        replies = await asyncio.gather(
            *(chat(server.endpoint(), ASK, timeout=600.0, clock=clock) for _ in range(16))
        )
        assert server.most == 16
    for reply in replies:
        assert reply.text == "a b c d"
        assert reply.outcome is Outcome.OK


UVLOOP = """
import uvloop
from gpumod.bench.meter.chat import chat
from gpumod.testing.clock import FakeClock
from gpumod.testing.scripted_answers import say
from gpumod.testing.scripted_server import ScriptedServer

async def main():
    clock = FakeClock(0.0)
    async with ScriptedServer(clock, [say("one two", first=0.5, gap=0.25)]) as server:
        reply = await chat(server.endpoint(), [], timeout=600.0, clock=clock)
    print(reply.outcome, reply.times.chunks)

uvloop.run(main())
"""


def test_it_works_on_uvloop_too():
    """In a process of its own: uvloop keeps two descriptors for the life of a process."""
    done = subprocess.run(
        [sys.executable, "-c", UVLOOP], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "ok (0.5, 0.75)\n", done.stderr
