"""Models of other modes by their names, clients that leave, and a daemon that ends: before real engines."""

import asyncio
import contextlib
import itertools
from concurrent.futures import ThreadPoolExecutor

import anthropic
import openai
import pytest
from openai import AsyncOpenAI

from gpumod.core.switch import SwitchState
from gpumod.testing.engine_server import Script
from tests.e2e.gateway_box import ENDLESS, HI, KEY

pytest.importorskip("xllamacpp", reason="the embedded extra is not installed")

pytestmark = pytest.mark.shared_processes

QUEUE = 3


@pytest.fixture(scope="module")
def module_box(make_gateway_box):
    """Two modes that requests switch between, one that they are asked about, and one that never comes up."""
    box = make_gateway_box()
    box.two_modes()
    box.gateway |= {"queue": QUEUE}
    box.llama("asked", vram=700)
    box.mode("asked-mode", "asked", on_demand="ask")
    box.llama("broken", "--no-such-option", vram=700)
    box.mode("broken-mode", "broken", on_demand="auto")
    box.key("single", "single-key", concurrency=1)
    box.start()
    return box


@pytest.fixture
def box(module_box):
    """The box in its mode small."""
    # A request of the test before can have been answered before the switch for it was concluded.
    module_box.wait_until("nothing is being switched", module_box.settled)
    with module_box.client() as client:
        assert client.switch("small").state is SwitchState.COMMITTED
    return module_box


def arrives(box, mode):
    """Wait until the box is in a mode: a request is answered before the switch for it has been concluded."""
    with box.client() as client:
        box.wait_until(f"the mode is {mode}", lambda: client.status().mode == mode)


def by_openai(box, model):
    """A streamed answer: the models that its chunks are from, and how it ended."""
    with box.openai(max_retries=0) as client:
        chunks = list(client.chat.completions.create(model=model, messages=HI, max_tokens=4, stream=True))
    return {chunk.model for chunk in chunks}, chunks[-1].choices[0].finish_reason


def by_anthropic(box, model):
    with (
        box.anthropic(max_retries=0) as client,
        client.messages.stream(model=model, messages=HI, max_tokens=4) as stream,
    ):
        answer = stream.get_final_message()
    return {answer.model}, answer.stop_reason


@contextlib.contextmanager
def waiting(box, model, path="/v1/chat/completions"):
    """A stream that waits: its lines, of which the first is there."""
    body = {"model": model, "messages": HI, "max_tokens": 4, "stream": True}
    with box.http() as http, http.stream("POST", path, json=body) as answer:
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
        lines = answer.iter_lines()
        first = next(lines)
        yield itertools.chain([first], lines)


def test_a_name_brings_its_mode_and_streams_hear_that_they_wait(box):
    with ThreadPoolExecutor() as pool, contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        first.enter_context(box.busy("chat"))  # the switch has to wait for it
        clients = [pool.submit(by, box, "smart") for by in (by_openai, by_anthropic)]
        lines = second.enter_context(waiting(box, "code"))
        assert next(lines) == ": waiting"
        first.close()
        events = [line for line in lines if line.startswith("data: ")]
        assert [one.result() for one in clients] == [({"code"}, "length"), ({"code"}, "max_tokens")]
    assert '"model":"code"' in events[0]
    assert events[-1] == "data: [DONE]"
    arrives(box, "large")
    assert box.metric("gpumod_gateway_queue_seconds_count", service="code") == 3


def test_anthropics_streams_hear_it_in_their_way(box):
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        first.enter_context(box.busy("chat"))
        lines = second.enter_context(waiting(box, "code", "/v1/messages"))
        assert [next(lines), next(lines)] == ["event: ping", 'data: {"type": "ping"}']
        first.close()
        assert [line for line in lines if line.startswith("event: ")][-1] == "event: message_stop"


def test_names_of_services_aliases_and_routes_go_where_they_say(box):
    with box.openai(max_retries=0) as client:

        def answered(model):
            return client.chat.completions.create(model=model, messages=HI, max_tokens=2).model

        assert {answered(name) for name in ("chat", "assistant", "fast", "default", "")} == {"chat"}
        assert {answered(name) for name in ("smart", "default", "", "code")} == {"code"}, (
            "of the mode it is in"
        )
        assert answered("fast") == "chat"
    arrives(box, "small")


def test_requests_for_two_modes_at_once_are_all_answered(box):
    """Many more than may wait: the others come again."""
    names = ["chat", "smart"] * 20

    async def all_of_them():
        async with AsyncOpenAI(base_url=f"{box.url}/v1", api_key=KEY, max_retries=20) as client:
            asked = (client.chat.completions.create(model=name, messages=HI, max_tokens=4) for name in names)
            return await asyncio.gather(*asked)

    answers = asyncio.run(all_of_them())
    assert [answer.model for answer in answers] == ["chat", "code"] * 20


def test_who_is_asked_may_decide(box):
    with box.openai() as client:
        with pytest.raises(openai.ConflictError) as refused:
            client.chat.completions.create(model="asked", messages=HI, max_tokens=2)
        header = refused.value.response.json()["error"]["facts"]["go_on"]["header"]
        answer = client.chat.completions.create(
            model="asked", messages=HI, max_tokens=2, extra_headers=header
        )
    assert answer.model == "asked"
    arrives(box, "asked-mode")


def test_a_switch_that_fails_is_told_to_all_who_waited_for_it(box):
    with ThreadPoolExecutor() as pool, contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        first.enter_context(box.busy("chat"))
        clients = [pool.submit(by, box, "broken") for by in (by_openai, by_anthropic)]
        lines = second.enter_context(waiting(box, "broken"))
        assert next(lines) == ": waiting"
        first.close()
        events = [line for line in lines if line.startswith("data: ")]
        with pytest.raises(openai.APIError, match="no-such-option"):
            clients[0].result()
        with pytest.raises(anthropic.APIStatusError, match="no-such-option"):
            clients[1].result()
    assert '"switch_failed"' in events[0]
    assert events[-1] == "data: [DONE]"
    with box.openai(max_retries=0) as client:
        with pytest.raises(openai.InternalServerError) as refused:
            client.chat.completions.create(model="broken", messages=HI)
        assert (refused.value.status_code, refused.value.code) == (503, "switch_failed")
        assert int(refused.value.response.headers["retry-after"]) >= 1
        answer = client.chat.completions.create(model="chat", messages=HI, max_tokens=2)
        assert answer.model == "chat", "the mode that was left is back"


def test_a_client_that_goes_away_frees_the_engine(box):
    gone = {"service": "chat", "outcome": "client_gone"}
    before = box.metric("gpumod_gateway_requests_total", **gone)
    with (
        box.openai() as client,
        client.chat.completions.create(model="chat", messages=HI, max_tokens=ENDLESS, stream=True) as stream,
    ):
        next(iter(stream))
        assert box.metric("gpumod_gateway_in_flight") == 1
    with box.http() as http:

        def idle():
            slots = http.get("/upstream/chat/slots").json()
            return not any(slot["is_processing"] for slot in slots)

        box.wait_until("the engine stops generating", idle)
    assert box.metric("gpumod_gateway_in_flight") == 0
    assert box.metric("gpumod_gateway_requests_total", **gone) == before + 1


def test_a_client_that_gives_up_waiting_leaves_the_queue(box):
    with box.busy("chat"):
        with waiting(box, "code") as lines:
            assert next(lines) == ": waiting"
            assert box.metric("gpumod_gateway_queue_depth") == 1
        box.wait_until("the queue is empty", lambda: box.metric("gpumod_gateway_queue_depth") == 0)


def clients_retry(box, key, model, release):
    """Ask with OpenAI's client; `release` is called at the first refusal. Its status and how long to wait."""
    refused = []

    def seen(answer):
        if answer.is_error:
            refused.append((answer.status_code, int(answer.headers["retry-after"])))
            release()

    http = openai.DefaultHttpxClient(event_hooks={"response": [seen]})
    with box.openai(key, http_client=http, max_retries=5) as client:
        raw = client.chat.completions.with_raw_response.create(model=model, messages=HI, max_tokens=2)
        assert raw.retries_taken == len(refused)
        assert raw.parse().model == model
    return refused[0]


def test_a_key_at_its_limit_gets_through_by_the_clients_own_retry(box):
    body = {"model": "chat", "messages": HI, "stream": True, "max_tokens": ENDLESS}
    with contextlib.ExitStack() as held:
        http = held.enter_context(box.http("single-key"))
        answer = held.enter_context(http.stream("POST", "/v1/chat/completions", json=body))
        parts = answer.iter_raw()
        next(parts)
        assert clients_retry(box, "single-key", "chat", held.close) == (429, 1)


def test_beyond_the_queues_bound_the_clients_own_retry_gets_through(box):
    with contextlib.ExitStack() as busy, contextlib.ExitStack() as queue:
        busy.enter_context(box.busy("chat"))
        waits = [queue.enter_context(waiting(box, "code")) for _ in range(QUEUE)]
        assert [next(lines) for lines in waits] == [": waiting"] * QUEUE
        status, after = clients_retry(box, KEY, "code", busy.close)
        assert [list(lines)[-2] for lines in waits] == ["data: [DONE]"] * QUEUE
    assert status == 503
    assert after >= 1


# --- the daemon's end ------------------------------------------------------------------------------------


def scripted_box(make_gateway_box, drain):
    """The modes a and b, whose engines take as long as a request says; it is in a."""
    box = make_gateway_box()
    for name in ("a", "b"):
        box.preset(name, Script(host_mib=10), vram=600)
        box.mode(name, name, on_demand="auto")
    box.gateway = {"drain": drain}
    box.start()
    with box.client() as client:
        client.switch("a")
    return box


def test_at_its_end_running_streams_finish_and_who_waits_is_told_to_come_again(make_gateway_box):
    box = scripted_box(make_gateway_box, "120s")
    end = box.root / "end"
    slow = {"model": "a", "messages": HI, "max_tokens": 40, "extra_body": {"gate": str(end)}}
    with ThreadPoolExecutor() as pool, box.openai(max_retries=0) as client:
        stream = client.chat.completions.create(stream=True, **slow)
        first = next(iter(stream))
        told = pool.submit(client.chat.completions.create, model="b", messages=HI)
        with box.openai(max_retries=20) as patient:
            answered = pool.submit(patient.chat.completions.create, model="b", messages=HI)
            box.wait_until("both wait", lambda: box.metric("gpumod_gateway_queue_depth") == 2)
            engines = box.engines()
            box.daemon.terminate()
            with pytest.raises(openai.InternalServerError) as refused:
                told.result()
            end.touch()
            numbers = [chunk.number for chunk in (first, *stream)]
            assert box.daemon.wait() == 0
            assert box.engines()["a"] == engines["a"]
            box.start()
            assert answered.result().model == "b"
    assert numbers == list(range(40))
    assert refused.value.status_code == 503
    assert int(refused.value.response.headers["retry-after"]) >= 1


def test_what_does_not_finish_within_the_drain_is_told_so(make_gateway_box):
    box = scripted_box(make_gateway_box, "200ms")
    slow = {"model": "a", "messages": HI, "max_tokens": 100, "extra_body": {"seconds": 60}}
    with box.openai(max_retries=0) as client:
        stream = client.chat.completions.create(stream=True, **slow)
        next(iter(stream))
        box.daemon.terminate()
        with pytest.raises(openai.APIError, match="the daemon is ending"):
            list(stream)
    assert box.daemon.wait() == 0
