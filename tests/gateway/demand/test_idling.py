"""Idle policies on a box: what is stopped, what brings it back, and what keeps it."""

import asyncio
from typing import Any

import pytest

from gpumod.core.errors import NotFoundError, StoreError
from gpumod.core.names import BLANK, ModeId, ServiceId, SwitchId
from gpumod.core.spec import Idle, IdleAction, OnDemand
from gpumod.core.switch import SwitchRequest
from gpumod.gateway.demand import Goal, asking
from gpumod.gateway.demand.values import Began, Begin
from gpumod.gateway.exchange import Answer, Passage
from tests.gateway.door_bench import CODE, GEMMA, Bench, a_bench, said

HALF_HOUR = 1800.0


async def pass_time(bench: Bench, seconds: float) -> None:
    """Let virtual time pass, and everything that is due in it happen."""
    await bench.clock.sleep(seconds)
    for _ in range(100):
        await asyncio.sleep(0)


async def test_a_service_that_idles_is_stopped_and_a_request_brings_it_back():
    async with a_bench("chat", on_demand=OnDemand.NEVER) as bench:
        bench.set_idle(GEMMA, Idle(HALF_HOUR, IdleAction.STOP))
        await pass_time(bench, HALF_HOUR + 1)
        assert not bench.box.admits(GEMMA)
        assert bench.box.admits(ServiceId("embed"))
        assert bench.box.mode() == "chat"
        assert (await bench.box.switches(1))[0].request == SwitchRequest(stop=GEMMA, by="idle")
        passage = await bench.wait(bench.request("gemma-chat"))
        assert isinstance(passage, Passage)
        assert bench.box.begun == 3


async def test_a_mode_that_idles_is_left_for_blank_and_a_request_brings_it_back():
    async with a_bench("chat", on_demand=OnDemand.ASK) as bench:
        bench.change_mode("chat", idle=Idle(HALF_HOUR, IdleAction.BLANK))
        bench.box.changed()
        await pass_time(bench, HALF_HOUR + 1)
        assert bench.box.mode() == BLANK
        assert (await bench.answer(bench.request("qwen-code"))).status == 409
        passage = await bench.wait(bench.request("gemma-chat"))
        assert isinstance(passage, Passage)
        assert bench.box.mode() == "chat"


async def test_requests_put_idleness_off():
    async with a_bench("chat") as bench:
        bench.set_idle(GEMMA, Idle(HALF_HOUR, IdleAction.STOP))
        for _ in range(5):
            await pass_time(bench, HALF_HOUR / 2)
            request = bench.request()
            bench.end(request, bench.go(request))
        assert bench.box.admits(GEMMA)
        await pass_time(bench, HALF_HOUR + 1)
        assert not bench.box.admits(GEMMA)


async def test_a_request_that_runs_for_long_keeps_its_service():
    async with a_bench("chat") as bench:
        bench.set_idle(GEMMA, Idle(HALF_HOUR, IdleAction.STOP))
        request = bench.request()
        passage = bench.go(request)
        await pass_time(bench, 3 * HALF_HOUR)
        assert bench.box.admits(GEMMA)
        bench.end(request, passage)
        await pass_time(bench, 2 * HALF_HOUR)
        assert not bench.box.admits(GEMMA)


async def test_a_monitor_neither_keeps_nor_starts_anything():
    async with a_bench("chat", residency=0.0) as bench:
        bench.set_idle(GEMMA, Idle(HALF_HOUR, IdleAction.STOP))
        looks = {"method": b"GET", "path": b"/upstream/gemma-chat/slots"}
        for _ in range(5):
            await pass_time(bench, HALF_HOUR / 2)
            request = bench.raw(b"", **looks)  # type: ignore[arg-type]
            if bench.box.admits(GEMMA):
                bench.end(request, bench.go(request))
        assert not bench.box.admits(GEMMA)
        assert (await bench.answer(bench.raw(b"", **looks))).status == 503  # type: ignore[arg-type]
        other = bench.raw(b"", method=b"GET", path=b"/upstream/qwen-code/slots")
        assert (await bench.answer(other)).status == 404
        assert bench.box.begun == 2


async def test_a_lease_keeps_what_idles_until_it_is_given_back():
    async with a_bench("chat") as bench:
        lease = await bench.box.leases.take("ada", 1e9)
        bench.set_idle(GEMMA, Idle(HALF_HOUR, IdleAction.STOP))
        begin, asked = bench.box.begin, []

        async def noted(request: SwitchRequest) -> Any:
            asked.append(request)
            return await begin(request)

        bench.box.begin = noted  # type: ignore[method-assign]
        await pass_time(bench, 3 * HALF_HOUR)
        assert bench.box.admits(GEMMA)
        assert asked == [], "it is not even asked for"
        await bench.box.leases.release(lease.id)
        await pass_time(bench, 60.0)
        assert not bench.box.admits(GEMMA)


async def test_a_service_that_idles_at_once_cannot_come_and_go_with_each_request():
    async with a_bench("chat", residency=60.0) as bench:
        bench.set_idle(GEMMA, Idle(1.0, IdleAction.STOP))
        before = bench.box.begun
        while bench.clock.now() < 1_000_000 + 600:
            request = bench.request()
            where = bench.door.open(request)
            assert not isinstance(where, Answer)
            passage = where if isinstance(where, Passage) else await where
            assert isinstance(passage, Passage)
            bench.end(request, passage)
            bench.set_idle(GEMMA, Idle(1.0, IdleAction.STOP))
            await pass_time(bench, 10.0)
        assert bench.box.begun - before <= 2 * 600 / 60


async def test_nothing_idles_while_somebody_waits():
    async with a_bench("chat", wait=3 * HALF_HOUR) as bench:
        begin, asked = bench.box.begin, []

        async def hanging(request: SwitchRequest) -> Any:
            asked.append(request.by)
            await (asyncio.Event().wait() if request.by != "idle" else asyncio.sleep(0))
            return await begin(request)

        bench.box.begin = hanging  # type: ignore[method-assign]
        waiting = bench.wait(bench.request("qwen-code"))
        bench.set_idle(GEMMA, Idle(HALF_HOUR, IdleAction.STOP))
        await pass_time(bench, 2 * HALF_HOUR)
        assert not waiting.done()
        assert asked == ["on demand: local"]
        await pass_time(bench, 2 * HALF_HOUR)
        assert waiting.done()
        assert asked[1:] == ["idle"]


async def test_what_idleness_stopped_is_known_after_a_restart_of_the_daemon():
    async with a_bench("chat", on_demand=OnDemand.NEVER) as bench:
        idle = await bench.box.begin(SwitchRequest(stop=GEMMA, by="idle"))
        assert not hasattr(idle, "reasons")
        await bench.box.wait(idle.id)
        async with bench.another_door() as door:
            where = door.open(bench.request("gemma-chat"))
            assert not isinstance(where, Passage | Answer)
            assert isinstance(await where, Passage)


async def test_an_idle_stop_that_is_refused_is_tried_again_later():
    async with a_bench("chat") as bench:
        bench.box.faults.errors["begin"] = RuntimeError("not now")
        bench.set_idle(GEMMA, Idle(HALF_HOUR, IdleAction.STOP))
        await pass_time(bench, HALF_HOUR + 1)
        assert bench.box.admits(GEMMA)
        del bench.box.faults.errors["begin"]
        await pass_time(bench, 60.0)
        assert not bench.box.admits(GEMMA)


async def test_the_learned_start_time_is_told_to_those_who_find_the_queue_full():
    async with a_bench("chat", queue=1, step_seconds=0.02) as bench:
        await bench.switch("code")
        await bench.switch("chat")
        bench.box.faults.hang.add("begin")
        async with bench.another_door() as door:
            waiting = door.open(bench.request("qwen-code"))
            full = door.open(bench.request("qwen-code"))
            assert isinstance(full, Answer)
            assert 1 <= int(said(full)["headers"]["retry-after"]) <= 20
            assert not isinstance(waiting, Passage | Answer)


async def test_what_a_switch_took_is_learned_while_the_daemon_runs():
    async with a_bench("chat", queue=1, step_seconds=0.002) as bench:
        assert isinstance(await bench.wait(bench.request("qwen-code")), Passage)
        assert isinstance(await bench.wait(bench.request("gemma-chat")), Passage)
        await pass_time(bench, 1.0)
        assert bench.demand.seconds(Goal(ModeId("code"))) < 20.0
        assert bench.demand.seconds(Goal(ModeId("huge"))) > 100.0


@pytest.mark.parametrize("error", [RuntimeError("a defect"), StoreError("no room on the disk")])
async def test_a_box_that_cannot_be_looked_at_is_looked_at_again(error):
    async with a_bench("chat", wait=20.0) as bench:
        bench.box.faults.errors["status"] = error
        waiting = bench.wait(bench.request("qwen-code"))
        await pass_time(bench, 2.0)
        del bench.box.faults.errors["status"]
        passage = await waiting
        assert isinstance(passage, Passage)
        assert passage.service == CODE


async def test_a_box_that_nobody_waits_for_is_not_asked_how_it_is():
    async with a_bench("chat") as bench:
        await pass_time(bench, 1.0)
        status, calls = bench.box.status, []

        async def counted() -> Any:
            calls.append(bench.clock.now())
            return await status()

        bench.box.status = counted  # type: ignore[method-assign]
        for _ in range(20):
            bench.box.changed()
            await pass_time(bench, 1.0)
        assert calls == []
        await bench.wait(bench.request("qwen-code"))
        assert calls


async def test_a_switch_that_nobody_waits_for_any_more_holds_nothing_up():
    async with a_bench("chat", step_seconds=0.002) as bench:
        waiting = bench.wait(bench.request("qwen-code"))
        await bench.turned()
        waiting.cancel()
        while not bench.box.admits(CODE):
            await bench.turned()
        bench.set_idle(CODE, Idle(HALF_HOUR, IdleAction.STOP))
        await pass_time(bench, 2 * HALF_HOUR)
        assert not bench.box.admits(CODE)


async def test_what_somebody_stopped_by_hand_after_it_idled_stays_stopped():
    async with a_bench("chat", on_demand=OnDemand.NEVER) as bench:
        bench.set_idle(GEMMA, Idle(HALF_HOUR, IdleAction.STOP))
        await pass_time(bench, HALF_HOUR + 1)
        assert not bench.box.admits(GEMMA)
        await bench.hand("start", GEMMA)
        await pass_time(bench, 1.0)
        await bench.hand("stop", GEMMA)
        assert said(await bench.answer(bench.request(GEMMA)))["code"] == "service_down"


async def test_switches_that_somebody_else_asked_for_are_learned_from():
    async with a_bench("chat", step_seconds=0.002) as bench:
        await bench.switch("code")
        await pass_time(bench, 1.0)
        assert bench.demand.seconds(Goal(ModeId("code"))) < 20.0


async def test_a_switch_of_which_nobody_knows_the_end_is_told_as_such():
    async with a_bench("chat", step_seconds=0.002) as bench:
        bench.box.faults.errors["switch"] = NotFoundError("no such switch")

        async def unknown(switch: SwitchId, timeout: float | None = None) -> Any:
            raise NotFoundError(f"no switch {switch} after {timeout}")

        bench.box.wait = unknown  # type: ignore[method-assign]
        error = said(await bench.answer(bench.request("broken")))
        assert (error["status"], error["code"]) == (503, "switch_failed")
        assert "its end is not known" in error["message"]


async def test_a_switch_with_nothing_to_do_is_over_when_it_was_asked_for():
    async with a_bench("chat") as bench:
        event, record = await asking.begin(bench.box, Begin(1, Goal(ModeId("chat")), ""))
        assert isinstance(event, Began)
        assert record is not None
        assert record.state.ended


async def test_a_plan_that_cannot_be_made_is_told():
    async with a_bench("chat", on_demand=OnDemand.ASK) as bench:
        bench.box.faults.errors["plan"] = RuntimeError("a defect")
        assert (await bench.answer(bench.request("qwen-code"))).status == 409


async def test_a_switch_that_cannot_be_asked_for_is_told():
    async with a_bench("chat") as bench:
        bench.box.faults.errors["begin"] = RuntimeError("a defect")
        error = said(await bench.answer(bench.request("qwen-code")))
        assert (error["status"], error["code"]) == (503, "switch_failed")
        assert bench.box.mode() == ModeId("chat")
