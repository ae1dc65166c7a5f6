"""The gateway before engines on a real card: names bring their model, switches under load, what it costs."""

import asyncio
import contextlib
import statistics
import threading
import time
from collections import Counter

import httpx2
import pytest

from gpumod.core.units import MIB
from tests.gpu.asking import Asked, Line, Outcome, agent, ask, body
from tests.gpu.report import mib, ms

pytestmark = pytest.mark.gpu

BACK = 64 * MIB
"""What a card may differ by from what is expected of it."""
MODES = ("a", "b")
AGENT_REQUESTS = 20
RESIDENCY = 4
THINKING = 0.3
"""Seconds between two requests of an agent."""
REQUESTS = 2000
CLIENTS = 12
SWITCHES = 8
PAIRS = 300


def test_a_request_brings_its_model_while_its_stream_hears_that_it_waits(capped_box, witness, report):
    scene = report.scene("Gateway: a stream for b, asked while a is loaded")
    box, cap = capped_box(on_demand="auto", keep_alive="100ms", residency="0s")
    box.start()
    blank = witness.free
    assert box.switch("a").state == "committed"

    asked = asyncio.run(_ask_once(box, "b"))
    box.wait_until("the box is in mode b", lambda: _mode(box) == "b")
    (record, *_) = _switches(box, 1)
    scene.switch("to b, for the request", record, witness)
    scene.note("comments while it waited", str(asked.waits))
    scene.note("first byte, a comment", ms(asked.first_byte))
    scene.note("first event of b's answer", ms(asked.first_event))
    scene.note("the switch", ms(record.ended - record.started))
    scene.note("from sending to the switch's beginning", ms(record.started - asked.sent))
    most = blank - witness.lowest(asked.sent, time.time())
    scene.note("most ever taken, by the witness; the cap", f"{mib(most)}; {mib(cap)}")

    assert (asked.outcome, asked.models) == (Outcome.ANSWERED, {"b"})
    assert asked.waits >= 1
    assert asked.first_byte < asked.first_event
    assert (record.state, record.target) == ("committed", "b")
    assert most <= cap + BACK


def test_two_agents_that_want_different_models_do_not_make_the_box_thrash(capped_box, witness, report):
    scene = report.scene("Gateway: two agents, each with its own model")
    box, cap = capped_box(on_demand="auto", keep_alive="1s", residency=f"{RESIDENCY}s")
    box.start()
    blank, began = witness.free, time.time()
    assert box.switch("a").state == "committed"
    start = time.monotonic()

    told = asyncio.run(_agents(box))
    took = time.monotonic() - start
    box.wait_until("nothing is being switched", lambda: _settled(box))
    switches = [one for one in _switches(box, 200) if one.target in MODES][:-1]
    most = blank - witness.lowest(began, time.time())
    scene.note("requests", f"{len(told)} in {took:.1f} s, {THINKING} s after each")
    scene.note("outcomes", _words(told))
    scene.note("switches", f"{len(switches)}, with a residency of {RESIDENCY} s")
    for model in MODES:
        waits = [one.seconds for one in told if one.model == model]
        scene.note(
            f"answers of {model}: median, longest", f"{ms(statistics.median(waits))}, {ms(max(waits))}"
        )
    scene.note("most ever taken, by the witness; the cap", f"{mib(most)}; {mib(cap)}")

    assert len(told) == 2 * AGENT_REQUESTS
    assert {one.outcome for one in told} <= {Outcome.ANSWERED, Outcome.RETRYABLE}
    assert all(one.models == {one.model} for one in told if one.outcome is Outcome.ANSWERED)
    assert {one.state for one in switches} == {"committed"}
    assert len(switches) <= took / RESIDENCY + 1
    assert most <= cap + BACK


def test_requests_under_switches_are_answered_or_told_what_to_do(capped_box, witness, report):
    scene = report.scene("Gateway: thousands of requests under switches")
    box, cap = capped_box(slots=4, on_demand="never", residency="0s")
    box.start()
    blank, began = witness.free, time.time()
    assert box.switch("a").state == "committed"

    with _switching(box) as records:
        told = asyncio.run(_crowd(box, over=lambda: len(records) == SWITCHES))
    took = time.time() - began
    box.wait_until("nothing is in flight", lambda: _metric(box, "gpumod_gateway_in_flight") == 0)
    for record in records[:2]:
        scene.switch(f"to {record.target}, under load", record, witness)
    switching = [one.ended - one.started for one in records]
    scene.note("requests", f"{len(told)} of {CLIENTS} clients at once, in {took:.1f} s")
    scene.note("outcomes", _words(told))
    scene.note("switches: median, longest", f"{ms(statistics.median(switching))}, {ms(max(switching))}")
    answered = [one.seconds for one in told if one.outcome is Outcome.ANSWERED]
    scene.note("answers: median, longest", f"{ms(statistics.median(answered))}, {ms(max(answered))}")
    counted = _metric(box, "gpumod_gateway_requests_total"), _metric(box, "gpumod_gateway_errors_total")
    scene.note("counted by the gateway: passed on, answered itself", f"{counted[0]:.0f}, {counted[1]:.0f}")
    most = blank - witness.lowest(began, time.time())
    scene.note("most ever taken, by the witness; the cap", f"{mib(most)}; {mib(cap)}")

    assert len(told) >= REQUESTS
    assert [one.state for one in records] == ["committed"] * SWITCHES
    kinds = Counter(one.outcome for one in told)
    assert kinds[Outcome.ANSWERED] > len(told) // 2
    assert kinds[Outcome.CUT] == 0, "each drain is long enough for answers of a few tokens"
    assert all(one.models == {one.model} for one in told if one.models and one.model != "either")
    assert sum(counted) == len(told), "who came in went out"
    assert _metric(box, "gpumod_gateway_queue_depth") == 0
    assert most <= cap + BACK


def test_a_stream_whose_client_leaves_is_generated_no_further(capped_box, report):
    scene = report.scene("Gateway: a cancelled stream")
    box, _ = capped_box()
    box.start()
    box.switch("a")

    async def leave_early():
        async with agent(box.port) as client:
            return await ask(client, "a", tokens=8000, stream=True, leave=5)

    asked = asyncio.run(leave_early())
    left = time.monotonic()
    was_busy = _busy(box)
    box.wait_until("the engine is idle", lambda: not _busy(box))
    scene.note("events read before leaving", str(asked.events))
    scene.note("the engine's slot at the first look after that", "busy" if was_busy else "idle")
    scene.note("idle, by llama.cpp's slots, after", ms(time.monotonic() - left))
    again = asyncio.run(_ask_once(box, "a"))
    scene.note("the next request's first event", ms(again.first_event))

    assert asked.outcome is Outcome.LEFT
    assert again.outcome is Outcome.ANSWERED
    gone = _metric(box, "gpumod_gateway_requests_total", outcome="client_gone")
    assert gone == 1


def test_what_the_gateway_adds_to_a_small_request(capped_box, report):
    scene = report.scene("Gateway: what it adds on a card")
    box, _ = capped_box()
    box.start()
    box.switch("a")
    with box.client() as client:
        launch = client.service("a").launch
    completion = ("/v1/chat/completions", "/v1/chat/completions", body("a", 1))
    words = ("/upstream/a/tokenize", "/tokenize", {"content": "Go on."})
    for what, (through, direct, document) in (
        ("a completion of one token", completion),
        ("tokenize, which the card has no part in", words),
    ):
        taken = _pairs(box.port, launch.port, through, direct, document)
        for way, times in zip(("direct", "through the gateway"), zip(*taken, strict=True), strict=True):
            scene.note(f"{what}, {way}: median, p99", f"{ms(statistics.median(times))}, {ms(_p99(times))}")
        added = [through - direct for direct, through in taken]
        scene.note(f"{what}: added, median of {PAIRS} pairs", ms(statistics.median(added)))
    assert _metric(box, "gpumod_gateway_requests_total") >= 2 * PAIRS


# --- helpers --------------------------------------------------------------------------------------


async def _ask_once(box, model):
    async with agent(box.port) as client:
        return await ask(client, model, stream=True)


async def _agents(box):
    async def one(model):
        told = []
        async with agent(box.port) as client:
            for number in range(AGENT_REQUESTS):
                told.append(await ask(client, model, tokens=8, stream=number % 2 == 0))
                await asyncio.sleep(THINKING)
        return told

    return [asked for told in await asyncio.gather(*map(one, MODES)) for asked in told]


async def _crowd(box, over):
    """Clients that ask again and again until enough was asked and all switches have been."""
    told: list[Asked] = []

    async def one(first):
        number = first
        async with agent(box.port) as client:
            while len(told) < REQUESTS or not over():
                model = ("either", "either", "a", "either", "b")[number % 5]
                leave = 2 if number % 12 == 7 else None
                asked = await ask(client, model, tokens=6, stream=number % 4 == 3, leave=leave)
                told.append(asked)
                number += 1
                if asked.outcome in {Outcome.RETRYABLE, Outcome.DEFINITE}:
                    await asyncio.sleep(0.1)

    await asyncio.gather(*(one(first) for first in range(CLIENTS)))
    return told


@contextlib.contextmanager
def _switching(box):
    """Switches to and fro meanwhile; gives their records, which grow."""
    records = []

    def switch():
        for number in range(SWITCHES):
            time.sleep(1.5)
            records.append(box.switch(MODES[(number + 1) % 2]))

    thread = threading.Thread(target=switch, name="switching")
    thread.start()
    try:
        yield records
    finally:
        thread.join()


def _pairs(gateway, engine, through, direct, document):
    """Seconds direct and through the gateway, taken in turns, each way first in every second pair."""
    taken = []
    with Line(engine) as short, Line(gateway) as long:
        for number in range(PAIRS + 10):
            ways = [(short, direct), (long, through)]
            order = (0, 1) if number % 2 else (1, 0)
            times = {way: ways[way][0].post(ways[way][1], document)[0] for way in order}
            taken.append((times[0], times[1]))
    return taken[10:]


def _p99(times):
    return sorted(times)[round(0.99 * (len(times) - 1))]


def _busy(box):
    slots = httpx2.get(f"http://127.0.0.1:{box.port}/upstream/a/slots", trust_env=False).json()
    return any(one["is_processing"] for one in slots)


def _metric(box, name, **labels):
    lines = httpx2.get(f"http://127.0.0.1:{box.port}/metrics", trust_env=False).text.splitlines()
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    found = [line for line in lines if line.startswith((f"{name}{{", f"{name} "))]
    return sum(float(line.rpartition(" ")[2]) for line in found if all(one in line for one in wanted))


def _mode(box):
    with box.client() as client:
        return client.status().mode


def _settled(box):
    with box.client() as client:
        return client.status().switch is None


def _switches(box, limit):
    """The latest ones, with their steps."""
    with box.client() as client:
        return [client.switch_record(one.id) for one in client.switches(limit)]


def _words(told):
    kinds = Counter(f"{one.outcome} ({one.code})" if one.code else str(one.outcome) for one in told)
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
