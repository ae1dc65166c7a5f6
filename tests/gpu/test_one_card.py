"""One real card: what gpumod says of it, does on it, and refuses on it.

Every test begins and ends with a box in which nothing of ours runs. A witness reads the card's memory all
the while without asking gpumod.
"""

import asyncio
import json
import os
import signal
import statistics
import time
import urllib.request
from contextlib import aclosing, contextmanager
from types import SimpleNamespace

import pynvml
import pytest

from gpumod.client.calls import refusals
from gpumod.core.cards import CardHealth, DriverState
from gpumod.core.errors import RefusedError
from gpumod.core.units import GIB, MIB
from gpumod.daemon import SystemClock
from gpumod.hardware.detect import open_hardware
from gpumod.hardware.settings import HardwareSettings
from tests.gpu.conftest import end
from tests.gpu.report import mib, ms

pytestmark = pytest.mark.gpu

BACK = 64 * MIB
"""A card that is as free as before, but for so much, has all memory back."""
READINGS = 200


def test_a_card_is_read_as_the_driver_tells_it(card, cards, report):
    scene = report.scene("The card, as read")
    handle = pynvml.nvmlDeviceGetHandleByUUID(card.uuid)
    version2 = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    version1 = pynvml.nvmlDeviceGetMemoryInfo(handle)

    async def look():
        async with aclosing(_Closing(open_hardware(HardwareSettings(), SystemClock()))) as opened:
            hardware = opened.hardware
            reading = await hardware.read()
            full = [await _timed(hardware.read()) for _ in range(READINGS)]
            narrow = [await _timed(hardware.read(only=[card.uuid])) for _ in range(READINGS)]
            return reading, full, narrow

    reading, full, narrow = asyncio.run(look())

    seen = reading.card(card.uuid)
    assert reading.driver is DriverState.OK, reading.reason
    assert reading.driver_version == pynvml.nvmlSystemGetDriverVersion()
    assert [one.id for one in reading.cards] == [one.uuid for one in cards]
    assert (seen.health, seen.name) == (CardHealth.OK, card.name), seen.reason
    assert (seen.total, seen.reserved) == (version2.total, version2.reserved)
    assert seen.pids_visible
    for what, value in (
        ("card", f"{seen.name}, {seen.id}, compute capability {seen.compute_capability}"),
        ("driver", reading.driver_version),
        ("total", mib(seen.total)),
        ("the driver's reserve", mib(seen.reserved)),
        ("used on the empty card by memory info version 2", mib(version2.used)),
        ("used on the empty card by memory info version 1", mib(version1.used)),
        ("host memory, in all and available", f"{mib(reading.host.total)}, {mib(reading.host.available)}"),
        ("memory info, one call (median, worst)", _spread(_calls(_memory_info, handle))),
        ("list of compute processes, one call", _spread(_calls(_compute_processes, handle))),
        ("list of graphics processes, one call", _spread(_calls(_graphics_processes, handle))),
        ("gpumod's reading of everything", _spread(full)),
        ("gpumod's reading of one card, as the barrier asks for it", _spread(narrow)),
    ):
        scene.note(what, value)


def test_a_capped_card_goes_from_blank_to_one_model_to_the_other_and_back(
    capped_box, needs, card, witness, report
):
    scene = report.scene("blank -> a -> b -> blank under a cap")
    box, cap = capped_box()
    scene.note("cap: what gpumod may give away in all", mib(cap))
    scene.note("declared", f"a {mib(needs['a'])}, b {mib(needs['b'])}")
    box.start()
    before, began = witness.free, time.time()

    for mode in ("a", "b", "blank"):
        record = box.switch(mode)
        scene.switch(f"to {mode}", record, witness)
        assert record.state == "committed", record.reason
        with box.client() as client:
            status = client.status()
        assert (status.mode, status.state) == (mode, "settled")
        for service in status.services:
            assert dict(service.observed)[card.uuid] <= needs[service.id], "it took more than was declared"
            _answers(service)

    assert witness.free >= before - BACK
    assert before - witness.lowest(began, time.time()) <= cap, "both were on the card at once"
    scene.note("most ever taken, by the witness", mib(before - witness.lowest(began, time.time())))
    again = box.switch("blank")
    assert again.steps == ()
    scene.note("to blank again", again.reason)


def test_models_that_fit_together_load_together_and_the_shared_one_is_kept(
    make_box, inputs, needs, card, witness, report
):
    scene = report.scene("Two models on one card, and back to one")
    if sum(needs.values()) + GIB > witness.free:
        pytest.skip("the two models do not fit on this card together")
    box = make_box()
    box.service("a", inputs.a, [card.uuid], needs["a"])
    box.service("b", inputs.b, [card.uuid], needs["b"])
    box.mode("both", "a", "b")
    box.start()
    before = witness.free

    record = box.switch("both")
    scene.switch("to both", record, witness)
    assert record.state == "committed", record.reason
    loads = [one for one in record.steps if one.kind == "ready"]
    assert max(one.started for one in loads) < min(one.ended for one in loads)
    with box.client() as client:
        services = client.services()
    held = sum(dict(one.observed)[card.uuid] for one in services)
    scene.note("held by both, by NVML's list", mib(held))
    scene.note("gone from the card's free memory", mib(before - witness.free))
    assert abs(before - witness.free - held) <= BACK

    record = box.switch("a")
    scene.switch("to a, which stays", record, witness)
    assert record.state == "committed", record.reason
    with box.client() as client:
        assert client.service("a").launch == next(one for one in services if one.id == "a").launch
    assert {one.service for one in record.steps if one.service} == {"b"}


def test_an_engine_that_is_killed_is_started_again_once_its_memory_is_back(
    capped_box, needs, card, witness, report
):
    scene = report.scene("kill -9 of an engine")
    box, _ = capped_box()
    box.start()
    box.switch("a")
    with box.client() as client:
        before = client.service("a")
    box.wait_until("the engine is shown", lambda: _pid_of(box, card, "a") is not None)
    pid, free = _pid_of(box, card, "a"), witness.free

    killed = time.time()
    os.kill(pid, signal.SIGKILL)
    box.wait_until("it is ready again", lambda: _ready_again(box, before))
    scene.note("ready again after", ms(time.time() - killed))
    back = witness.first(free + needs["a"] // 2, killed)
    scene.note("memory back after", ms(back - killed) if back else "never seen")
    with box.client() as client:
        record = client.switch_record(client.switches()[0].id)
    scene.switch("what the daemon did", record, witness)

    assert back is not None
    assert back < min(one.started for one in record.steps if one.kind == "start")
    with box.client() as client:
        _answers(client.service("a"))


def test_two_models_that_do_not_fit_together_are_refused_with_the_numbers(
    capped_box, needs, card, witness, report
):
    scene = report.scene("A refusal")
    box, cap = capped_box()
    box.start()
    box.switch("a")
    with box.client() as client:
        before = client.service("a")

    box.ctl("status")  # the first call of a fresh installation compiles gpumodctl
    asked = time.monotonic()
    answer = box.ctl("switch", "both", "--json")
    scene.note("gpumodctl switch both", f"exit code {answer.returncode} after {ms(time.monotonic() - asked)}")

    assert answer.returncode == 3, answer.stdout + answer.stderr
    reason = json.loads(answer.stdout)["reasons"][0]
    scene.note("said", reason["detail"])
    assert reason["card"] == card.uuid
    assert (reason["need"], reason["service"]) == (needs["b"], "b")
    assert 0 < reason["have"] < needs["b"]
    assert abs(reason["have"] - (cap - needs["a"])) <= BACK
    assert [one["service"] for one in reason["holders"]] == ["a"]
    with box.client() as client:
        assert client.service("a").generation == before.generation
    _answers(before)


def test_a_foreign_process_is_shown_counted_and_refused_against(
    capped_box, needs, card, witness, hold_memory, report
):
    scene = report.scene("A foreign process")
    box, cap = capped_box()
    box.start()
    size = cap - needs["a"] // 2
    holder = hold_memory(size)

    asked = time.monotonic()
    box.wait_until("the foreign process is shown", lambda: _shown(box, card, holder.pid) is not None)
    scene.note("it was shown after", ms(time.monotonic() - asked))
    process = _shown(box, card, holder.pid)
    with pytest.raises(RefusedError, match=str(holder.pid)) as refused:
        box.switch("a")
    scene.note("it asked for", mib(size))
    scene.note(
        "shown", f"pid {process.pid}, {process.command}, user {process.user}, {mib(process.used or 0)}"
    )
    scene.note("refused", refused.value.detail)

    assert process.service is None
    assert "holder.py" in process.command
    assert process.used is None or 0 <= process.used - size < GIB
    reason = refusals(refused.value)[0]
    assert (reason.code, reason.card) == ("does_not_fit", card.uuid)
    assert [one.pid for one in reason.holders] == [holder.pid]
    assert holder.poll() is None, "gpumod never ends what is not its own"

    asked = time.time()
    end(holder)
    record = box.switch("a")
    scene.switch("to a, directly after the foreign process was killed", record, witness)
    assert record.state == "committed", record.reason
    back = witness.first(witness.free_at(record.started), asked)
    scene.note("the foreign process's memory was back after its SIGKILL", ms((back or asked) - asked))


@pytest.mark.parametrize("what", ["weights", "context"])
def test_a_start_that_runs_out_of_memory_is_explained_and_rolled_back(
    make_box, inputs, needs, card, witness, hold_memory, report, what
):
    """What the preset says of its size is a lie that `force` insists on, so only the card can refuse."""
    scene = report.scene(f"A start that runs out of memory: {what}")
    small, large = sorted(needs, key=needs.__getitem__)
    models = {"a": inputs.a, "b": inputs.b}
    box = make_box()
    lie = {"size": "512MiB", "force": True}
    box.service(small, models[small], [card.uuid], needs[small])
    if what == "weights":
        box.service("greedy", models[large], [card.uuid], lie)
    else:
        box.service("greedy", models[small], [card.uuid], lie, context=8 * 1024**2, kv_cache="f16")
    box.start()
    assert box.switch(small).state == "committed"
    with box.client() as client:
        before = client.service(small)
    if what == "weights":
        hold_memory(witness.free - min(3 * GIB, 600 * MIB + (needs[large] - needs[small]) // 2))

    record = box.switch("greedy")
    scene.switch(f"to greedy, from {small}", record, witness)
    with box.client() as client:
        status, after = client.status(), client.service(small)

    assert record.state == "rolled_back"
    assert f"out of memory on {card.uuid}: needed" in record.reason
    assert (status.mode, status.state) == (small, "settled")
    assert after.generation == before.generation + 1
    _answers(after)


def test_engines_outlive_a_daemon_that_is_killed_and_are_adopted(capped_box, needs, card, witness, report):
    scene = report.scene("kill -9 of the daemon")
    box, _ = capped_box()
    box.start()
    box.switch("a")
    with box.client() as client:
        before = client.service("a")
    free = witness.free

    box.kill()
    _answers(before)
    assert abs(witness.free - free) <= BACK
    asked = time.monotonic()
    box.start()
    scene.note("a new daemon answers, with the engine adopted, after", ms(time.monotonic() - asked))

    with box.client() as client:
        status, after = client.status(), client.service("a")
    scene.note("it says", "; ".join(status.notes))
    assert (status.mode, status.state) == ("a", "settled")
    assert (after.generation, after.launch) == (before.generation, before.launch)
    _answers(after)
    record = box.switch("b")
    scene.switch("to b, from the adopted a", record, witness)
    assert record.state == "committed", record.reason


def test_a_request_in_flight_is_answered_in_full_before_its_model_leaves(
    capped_box, needs, card, witness, report
):
    scene = report.scene("A switch with a request in flight")
    box, _ = capped_box()
    box.start()
    box.switch("a")
    with box.client() as client:
        service = client.service("a")
    tokens = 200
    with _streamed(service, tokens) as response:
        lines = [response.readline()]
        with box.client() as client:
            begun = client.switch("blank", wait=False)
        lines += response
    with box.client() as client:
        record = client.switch_record(begun.id, wait=60)
    scene.switch("to blank, while it answers", record, witness)
    pieces = [json.loads(line.removeprefix(b"data: ")) for line in lines if line.startswith(b"data: {")]
    ends = [piece["choices"][0]["finish_reason"] for piece in pieces if piece["choices"]]
    scene.note("the answer", f"{tokens} tokens asked for, {len(pieces)} pieces came, finished by {ends[-1]}")

    assert record.state == "committed", record.reason
    assert ends[-1] == "length"
    drained = next(one for one in record.steps if one.kind == "drain")
    assert "quiet" in drained.detail


def test_what_a_launch_took_is_learned_and_a_smaller_declaration_is_refused(
    make_box, inputs, card, witness, report
):
    scene = report.scene("Learned")
    box = make_box()
    box.service("a", inputs.a, [card.uuid])
    box.start()
    estimated = _planned(box, "a")
    box.switch("a")
    with box.client() as client:
        held = dict(client.service("a").observed)[card.uuid]
    box.switch("blank")
    learned = _planned(box, "a")
    box.stop()
    box.start()
    remembered = _planned(box, "a")
    box.service("a", inputs.a, [card.uuid], held // 2)
    with box.client() as client:
        client.reload()
        refused = client.preflight("a")
    for what, footprint in (("before", estimated), ("after", learned)):
        scene.note(f"planned with, {what} the launch", f"{mib(footprint.cards[0])}, {footprint.source}")
    scene.note("held", mib(held))
    scene.note("half of it declared", refused.reasons[0].detail)

    assert (estimated.source, learned.source) == ("estimated", "learned")
    assert learned.learned_peak[0] >= held
    assert held < learned.cards[0] < held * 1.1 + GIB
    assert remembered == learned
    assert [one.code for one in refused.reasons] == ["declared_too_small"]


# --- helpers --------------------------------------------------------------------------------------


def _shown(box, card, pid):
    with box.client() as client:
        seen = next(one for one in client.cards().cards if one.id == card.uuid)
    return next((one for one in seen.processes if one.pid == pid), None)


def _pid_of(box, card, service):
    with box.client() as client:
        seen = next(one for one in client.cards().cards if one.id == card.uuid)
    return next((one.pid for one in seen.processes if one.service == service), None)


def _ready_again(box, before):
    with box.client() as client:
        now = client.service(before.id)
    return now.generation > before.generation and now.state == "ready"


def _planned(box, name):
    with box.client() as client:
        plan = client.preflight(name).plan
    return next(step.order.footprint for step in plan.steps if step.kind == "start")


def _answers(service) -> None:
    """The engine itself answers a question; what it says is the model's business."""
    request = {"model": service.id, "max_tokens": 4, "messages": [{"role": "user", "content": "Well?"}]}
    with _posted(service, request) as response:
        assert json.load(response)["choices"]


def _streamed(service, tokens):
    messages = [{"role": "user", "content": "Go on."}]
    request = {
        "model": service.id,
        "max_tokens": tokens,
        "ignore_eos": True,
        "stream": True,
        "messages": messages,
    }
    return _posted(service, request)


@contextmanager
def _posted(service, body):
    url = f"http://127.0.0.1:{service.launch.port}/v1/chat/completions"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        yield response


class _Closing(SimpleNamespace):
    """Hardware that `aclosing` can close."""

    def __init__(self, hardware):
        super().__init__(hardware=hardware, aclose=hardware.close)


async def _timed(awaitable) -> float:
    started = time.perf_counter()
    await awaitable
    return time.perf_counter() - started


def _calls(call, handle) -> list[float]:
    taken = []
    for _ in range(READINGS):
        started = time.perf_counter()
        call(handle)
        taken.append(time.perf_counter() - started)
    return taken


def _memory_info(handle):
    return pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)


def _compute_processes(handle):
    return pynvml.nvmlDeviceGetComputeRunningProcesses_v3(handle)


def _graphics_processes(handle):
    return pynvml.nvmlDeviceGetGraphicsRunningProcesses_v3(handle)


def _spread(taken: list[float]) -> str:
    return f"{ms(statistics.median(taken))}, {ms(max(taken))}"
