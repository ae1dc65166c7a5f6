"""What a client gets: an engine, a place in the queue, or an answer that says what to do."""

import asyncio
import json

import pytest

from gpumod.config.gateway import KeyLimits
from gpumod.core.names import ModeId, ServiceId
from gpumod.core.spec import OnDemand, RequestShape
from gpumod.gateway.exchange import Answer, Ending, Passage, Request, Transfer
from tests.gateway.door_bench import CODE, GEMMA, a_bench, said


async def test_a_loaded_model_is_passed_on_at_once():
    async with a_bench() as bench:
        passage = bench.go(bench.request("gemma-chat"))
        assert (passage.service, passage.port) == (GEMMA, bench.box.port(GEMMA))
        assert passage.generation == bench.box.generation(GEMMA)
        assert passage.queued == 0.0


@pytest.mark.parametrize("name", ["hermes", "default", ""])
async def test_aliases_and_routes_are_told_to_the_engine_under_its_own_name(name):
    async with a_bench() as bench:
        passage = bench.go(bench.request(name))
        assert json.loads(bytes(passage.body))["model"] == "gemma-chat"


async def test_the_stream_flag_and_the_model_are_filled_in():
    async with a_bench() as bench:
        request = bench.request("hermes", body={"stream": True})
        bench.go(request)
        assert (request.model, request.stream) == ("hermes", True)


async def test_every_request_is_counted_in_and_out_once():
    async with a_bench() as bench:
        request = bench.request()
        passage = bench.go(request)
        assert bench.box.in_flight(GEMMA) == 1
        bench.end(request, passage)
        bench.end(request, passage)
        assert bench.box.in_flight(GEMMA) == 0
        assert [seen[1] for seen in bench.seen] == [passage]


async def test_an_observer_that_fails_harms_no_request():
    async with a_bench() as bench:
        request = bench.request()
        passage = bench.go(request)
        bench.door._observe = lambda *_: 1 / 0  # type: ignore[assignment]
        bench.end(request, passage)
        assert bench.box.in_flight(GEMMA) == 0


async def test_every_answer_of_the_gateways_own_is_counted_once():
    async with a_bench(queue=1, limits={"ada": KeyLimits(concurrency=1)}) as bench:
        await bench.answer(bench.request("nothing"))
        await bench.answer(bench.request("broken"))
        bench.box.faults.hang.add("begin")
        waiting = bench.wait(bench.request("qwen-code"))
        await bench.answer(bench.request("qwen-code"))
        assert isinstance(bench.door.judge(bench.head(headers={b"host": b"evil.example"})), Answer)
        request = bench.request()
        bench.end(request, bench.go(request))
        assert bench.refused == [
            ("chat", "local", 404, "model_not_found"),
            ("chat", "local", 503, "switch_failed"),
            ("chat", "local", 503, "queue_full"),
            ("chat", "", 421, "not_allowed"),
        ]
        assert not waiting.done()


async def test_an_unknown_model_gets_a_hint():
    async with a_bench() as bench:
        error = said(await bench.answer(bench.request("gemma-chad")))
        assert (error["status"], error["code"]) == (404, "model_not_found")
        assert "gemma-chat" in error["message"]


async def test_a_preset_that_no_mode_has_says_how_it_is_started():
    async with a_bench() as bench:
        bench.change_mode("huge", services=())
        error = said(await bench.answer(bench.request("huge")))
        assert (error["status"], error["code"]) == (404, "model_not_available")
        assert "gpumodctl service start huge" in error["message"]


async def test_a_body_that_is_no_json_is_the_clients_mistake():
    async with a_bench() as bench:
        error = said(await bench.answer(bench.raw(b"{model")))
        assert (error["status"], error["code"]) == (400, "invalid_request")


async def test_the_default_is_asked_for_where_a_request_names_no_model():
    async with a_bench("code") as bench:
        assert bench.go(bench.raw(b'{"messages": []}')).service == CODE


async def test_what_a_route_changes_is_changed():
    async with a_bench() as bench:
        shape = RequestShape(set=(("temperature", "0.1"),))
        bench.change_mode("chat", shapes=(("default", shape),))
        bench.box.changed()
        body = json.loads(bytes(bench.go(bench.request("default")).body))
        assert body["temperature"] == 0.1
        assert "temperature" not in json.loads(bytes(bench.go(bench.request("gemma-chat")).body))


async def test_an_engines_own_routes_go_to_the_service_in_the_path_untouched():
    async with a_bench() as bench:
        body = b'{"content": "x"}'
        request = bench.raw(body, path=b"/upstream/gemma-chat/tokenize")
        passage = bench.go(request)
        assert (passage.service, passage.path, passage.body) == (GEMMA, b"/tokenize", body)


async def test_a_websocket_names_its_model_in_the_query():
    async with a_bench() as bench:
        request = bench.raw(
            b"", method=b"GET", path=b"/v1/realtime", query=b"model=hermes&voice=a%20b", upgrade=True
        )
        assert bench.go(request).service == GEMMA
        assert request.query == b"model=gemma-chat&voice=a+b"


# --- on demand ----------------------------------------------------------------------------------------


async def test_a_request_for_a_model_of_another_mode_starts_the_switch():
    async with a_bench("chat") as bench:
        passage = await bench.wait(bench.request("qwen-code"))
        assert isinstance(passage, Passage)
        assert passage.service == CODE
        assert bench.box.in_flight(CODE) == 1
        newest = (await bench.box.switches(1))[0]
        assert newest.request.by == "on demand: local"


async def test_many_requests_start_one_switch_and_all_get_in():
    async with a_bench("chat") as bench:
        waiting = [bench.wait(bench.request("qwen-code")) for _ in range(50)]
        begun = bench.box.begun
        passages = await asyncio.gather(*waiting)
        assert all(isinstance(one, Passage) and one.service == CODE for one in passages)
        assert bench.box.begun == begun + 1
        assert bench.box.in_flight(CODE) == 50


async def test_never_names_the_mode_that_serves_the_model():
    async with a_bench("chat", on_demand=OnDemand.NEVER) as bench:
        error = said(await bench.answer(bench.request("qwen-code")))
        assert (error["status"], error["code"]) == (404, "model_not_available")
        assert "gpumodctl switch code" in error["message"]
        assert error["facts"]["modes"] == ["code"]
        assert bench.box.mode() == "chat"


async def test_a_request_that_only_looks_is_told_that_others_may_switch():
    async with a_bench("chat", on_demand=OnDemand.AUTO) as bench:
        request = bench.raw(b"", path=b"/upstream/qwen-code/props", method=b"GET")
        error = json.loads((await bench.answer(request)).body)
        assert (error["status"], error["code"]) == (404, "model_not_available")
        assert "a request that only looks (GET) does not switch there" in error["detail"]
        assert "requests do not" not in error["detail"]
        assert bench.box.mode() == "chat"


async def test_ask_tells_the_plan_and_how_to_go_on():
    async with a_bench("chat", on_demand=OnDemand.ASK) as bench:
        error = said(await bench.answer(bench.request("qwen-code")))
        assert (error["status"], error["code"]) == (409, "switch_needed")
        facts = error["facts"]
        assert facts["stops"] == ["gemma-chat"]
        assert facts["starts"] == ["qwen-code"]
        assert facts["bytes"] == 18 * 2**30
        assert facts["expected_seconds"] > 0
        assert facts["go_on"]["request"]["body"] == {"mode": "code"}
        assert error["headers"]["x-should-retry"] == "false"
        assert bench.box.mode() == "chat"


async def test_the_client_may_decide_with_a_header_where_it_is_asked():
    async with a_bench("chat", on_demand=OnDemand.ASK) as bench:
        request = bench.request("qwen-code", headers={b"x-gpumod-on-demand": b"auto"})
        passage = await bench.wait(request)
        assert isinstance(passage, Passage)


async def test_the_header_decides_nothing_where_requests_never_switch():
    async with a_bench("chat", on_demand=OnDemand.NEVER) as bench:
        request = bench.request("qwen-code", headers={b"x-gpumod-on-demand": b"auto"})
        assert (await bench.answer(request)).status == 404


@pytest.mark.parametrize(
    ("key", "mode", "status"),
    [
        (OnDemand.NEVER, OnDemand.AUTO, 404),
        (OnDemand.AUTO, OnDemand.NEVER, 404),
        (OnDemand.ASK, OnDemand.AUTO, 409),
        (OnDemand.AUTO, OnDemand.ASK, 409),
    ],
)
async def test_the_stricter_of_key_and_mode_holds(key, mode, status):
    async with a_bench("chat", limits={"ada": KeyLimits(on_demand=key)}) as bench:
        bench.change_mode("code", on_demand=mode)
        assert (await bench.answer(bench.request("qwen-code", key="ada"))).status == status


async def test_a_switch_that_does_not_fit_is_refused_with_its_reasons():
    async with a_bench("chat") as bench:
        error = said(await bench.answer(bench.request("huge")))
        assert (error["status"], error["code"]) == (409, "switch_refused")
        assert "huge needs" in error["facts"]["reasons"][0]


async def test_a_lease_makes_requests_ask_again_later():
    async with a_bench("chat") as bench:
        await bench.box.leases.take("ada", 600.0)
        error = said(await bench.answer(bench.request("qwen-code")))
        assert (error["status"], error["code"]) == (503, "switch_refused")
        assert "ada holds gemma-chat" in error["message"]
        assert int(error["headers"]["retry-after"]) >= 1


async def test_a_failed_switch_is_told_to_everybody_who_waited_for_it():
    async with a_bench("chat") as bench:
        answers = await asyncio.gather(*(bench.answer(bench.request("broken")) for _ in range(20)))
        assert {answer.status for answer in answers} == {503}
        assert all("exited with code 1" in said(answer)["message"] for answer in answers)
        assert all("retry-after" in said(answer)["headers"] for answer in answers)
        assert bench.box.mode() == "chat"


async def test_a_switch_that_has_just_failed_is_not_tried_for_the_next_request():
    async with a_bench("chat", residency=60.0) as bench:
        await bench.answer(bench.request("broken"))
        begun = bench.box.begun
        assert (await bench.answer(bench.request("broken"))).status == 503
        assert bench.box.begun == begun


async def test_a_switch_that_hangs_is_bounded_by_the_requests_deadline():
    async with a_bench("chat", wait=20.0) as bench:
        bench.box.faults.hang.add("begin")
        error = said(await bench.answer(bench.request("qwen-code")))
        assert (error["status"], error["code"]) == (503, "waited_too_long")


async def test_a_box_that_does_not_answer_is_bounded_too():
    async with a_bench("chat", wait=20.0) as bench:
        bench.box.faults.hang.add("status")
        assert said(await bench.answer(bench.request("qwen-code")))["code"] == "waited_too_long"


async def test_the_queue_is_bounded():
    async with a_bench("chat", queue=3, queue_per_key=2) as bench:
        bench.box.faults.hang.add("begin")
        waiting = [bench.wait(bench.request("qwen-code", key=key)) for key in ("ada", "ada", "bob")]
        full = bench.door.open(bench.request("qwen-code", key="carl"))
        assert isinstance(full, Answer)
        assert (full.status, said(full)["code"]) == (503, "queue_full")
        assert int(said(full)["headers"]["retry-after"]) > 1
        waiting[2].cancel()
        await asyncio.sleep(0)
        assert not isinstance(bench.door.open(bench.request("qwen-code", key="carl")), Answer)


async def test_a_key_has_only_its_share_of_the_queue():
    async with a_bench("chat", queue=3, queue_per_key=2) as bench:
        bench.box.faults.hang.add("begin")
        waiting = [bench.wait(bench.request("qwen-code", key="ada")) for _ in range(2)]
        mine = bench.door.open(bench.request("qwen-code", key="ada"))
        assert isinstance(mine, Answer)
        assert "with this key" in said(mine)["message"]
        assert not isinstance(bench.door.open(bench.request("qwen-code", key="bob")), Answer)
        assert not any(one.done() for one in waiting)


async def test_a_service_that_somebody_stopped_is_not_started_by_a_request():
    async with a_bench("chat") as bench:
        await bench.hand("stop", "gemma-chat")
        error = said(await bench.answer(bench.request("gemma-chat")))
        assert (error["status"], error["code"]) == (503, "service_down")
        assert not bench.box.admits(GEMMA)


async def test_a_request_waits_for_a_switch_that_somebody_else_started():
    async with a_bench("chat", on_demand=OnDemand.NEVER, step_seconds=0.002) as bench:
        switch = asyncio.create_task(bench.switch("code"))
        await asyncio.sleep(0.004)
        passage = await bench.wait(bench.request("qwen-code"))
        assert isinstance(passage, Passage)
        await switch


async def test_the_failure_of_somebody_elses_switch_is_told_to_those_who_waited_for_it():
    async with a_bench("chat", on_demand=OnDemand.NEVER, step_seconds=0.002) as bench:
        switch = asyncio.create_task(bench.switch("broken"))
        await asyncio.sleep(0.004)
        answer = await bench.wait(bench.request("broken"))
        assert isinstance(answer, Answer)
        assert (answer.status, said(answer)["code"]) == (503, "switch_failed")
        await switch


async def test_a_switch_begins_as_soon_as_the_last_request_of_the_present_mode_has_ended():
    async with a_bench("chat", ageing=1000.0, wait=2000.0) as bench:
        inside = bench.request()
        passage = bench.go(inside)
        waiting = bench.wait(bench.request("qwen-code"))
        await bench.clock.sleep(20.0)
        assert bench.box.mode() == "chat"
        bench.end(inside, passage)
        assert isinstance(await waiting, Passage)
        assert bench.clock.now() < 1_000_030


async def test_the_only_service_is_meant_where_a_request_names_no_model():
    async with a_bench("chat") as bench:
        bench.change_mode("broken", services=(bench.add_preset("tiny"),))
        await bench.switch("broken")
        assert bench.go(bench.raw(b'{"messages": []}')).service == "tiny"


async def test_requests_wait_for_what_a_daemon_that_has_just_started_brings_back():
    async with a_bench("chat", on_demand=OnDemand.NEVER) as bench:
        await bench.hand("stop", "gemma-chat")
        recovering = True
        async with bench.another_door(lambda: recovering) as door:
            waiting = door.open(bench.request("gemma-chat"))
            await bench.clock.sleep(5.0)
            assert not isinstance(waiting, Passage | Answer)
            assert not waiting.done()
            recovering = False
            await bench.hand("start", "gemma-chat")
            assert isinstance(await waiting, Passage)


async def test_a_request_for_what_drains_waits_to_see_and_is_told_what_came():
    async with a_bench("chat", on_demand=OnDemand.NEVER, step_seconds=0.002) as bench:
        switch = asyncio.create_task(bench.switch("code"))
        closed = asyncio.Event()
        bench.door.subscribe(lambda: None if bench.box.admits(GEMMA) else closed.set())
        await closed.wait()
        answer = await bench.wait(bench.request("gemma-chat"))
        assert isinstance(answer, Answer)
        assert answer.status == 404
        assert bench.box.mode() == "code"
        await switch


# --- clients and engines that go away ---------------------------------------------------------------


async def test_a_client_that_goes_away_leaves_nothing_behind():
    async with a_bench("chat", limits={"ada": KeyLimits(concurrency=1)}) as bench:
        bench.box.faults.hang.add("begin")
        bench.wait(bench.request("qwen-code", key="ada")).cancel()
        await asyncio.sleep(0)
        assert bench.demand.waiting == 0
        bench.go(bench.request("gemma-chat", key="ada"))


async def test_a_defect_leaves_nobody_waiting():
    async with a_bench("chat", limits={"ada": KeyLimits(concurrency=1)}) as bench:
        waiting = bench.wait(bench.request("qwen-code", key="ada"))
        bench.door._let_in = lambda *_, **__: 1 / 0  # type: ignore[method-assign, assignment]
        with pytest.raises(ZeroDivisionError):
            await waiting
        assert bench.door._keys["ada"].meter.inside == 0


async def test_an_engine_that_went_away_gets_the_request_again_once_it_is_back():
    async with a_bench("chat", on_demand=OnDemand.NEVER) as bench:
        request = bench.request()
        passage = bench.go(request)
        where = bench.door.again(request, passage)
        assert bench.box.in_flight(GEMMA) == 0
        assert not isinstance(where, Passage | Answer)
        back = await where
        assert isinstance(back, Passage)
        assert bench.box.in_flight(GEMMA) == 1


async def test_an_engine_that_went_away_is_left_alone_for_a_moment_and_not_for_ever():
    async with a_bench("chat") as bench:
        request = bench.request()
        where = bench.door.again(request, bench.go(request))
        assert not isinstance(where, Passage | Answer)
        where.cancel()
        other = bench.wait(bench.request())
        await bench.clock.sleep(2.0)
        assert other.done()
        assert isinstance(bench.door.open(bench.request()), Passage)
        assert bench.demand._wake() is None


async def test_a_newer_attempt_is_trusted_at_once():
    async with a_bench("chat") as bench:
        request = bench.request()
        where = bench.door.again(request, bench.go(request))
        assert not isinstance(where, Passage | Answer)
        before = bench.clock.now()
        await bench.hand("restart", "gemma-chat")
        passage = await where
        assert isinstance(passage, Passage)
        assert passage.generation == bench.box.generation(GEMMA)
        assert bench.clock.now() == before


async def test_another_service_with_the_same_alias_takes_the_request():
    async with a_bench("chat") as bench:
        bench.add_preset("twin", aliases=("hermes",))
        await bench.hand("start", "twin")
        request = bench.request("hermes")
        passage = bench.go(request)
        other = bench.door.again(request, passage)
        assert isinstance(other, Passage)
        assert other.service != passage.service
        assert json.loads(bytes(other.body))["model"] == other.service


async def test_a_request_is_sent_again_twice_at_most():
    async with a_bench("chat") as bench:
        request = bench.request()
        where = bench.go(request)
        for _ in range(2):
            waiting = bench.door.again(request, where)
            assert not isinstance(waiting, Passage | Answer)
            place = await waiting
            assert isinstance(place, Passage)
            where = place
        last = bench.door.again(request, where)
        assert isinstance(last, Answer)
        assert (last.status, said(last)["code"]) == (503, "engine_lost")
        assert bench.box.in_flight(GEMMA) == 0


async def test_closing_answers_all_who_wait_and_waits_for_those_inside():
    async with a_bench("chat") as bench:
        bench.box.faults.hang.add("begin")
        inside = bench.request()
        passage = bench.go(inside)
        waiting = [bench.wait(bench.request("qwen-code")) for _ in range(5)]
        closing = asyncio.create_task(bench.door.close(10.0))
        for answer in await asyncio.gather(*waiting):
            assert isinstance(answer, Answer)
            assert (answer.status, said(answer)["code"]) == (503, "shutting_down")
        late = bench.door.open(bench.request())
        assert isinstance(late, Answer)
        assert not closing.done()
        bench.end(inside, passage)
        await closing
        assert bench.clock.now() < 1_000_010


async def test_closing_does_not_wait_longer_than_it_may():
    async with a_bench("chat") as bench:
        bench.go(bench.request())
        await bench.door.close(10.0)
        assert bench.door.inside == 1


# --- keys ---------------------------------------------------------------------------------------------


async def test_a_key_has_its_models():
    limits = {"ada": KeyLimits(models=frozenset({"hermes"}))}
    async with a_bench("chat", limits=limits) as bench:
        assert isinstance(bench.door.open(bench.request("hermes", key="ada")), Passage)
        error = said(await bench.answer(bench.request("gemma-chat", key="ada")))
        assert (error["status"], error["code"]) == (403, "model_not_allowed")


async def test_a_key_has_so_many_requests_at_once():
    async with a_bench("chat", limits={"ada": KeyLimits(concurrency=2)}) as bench:
        first = bench.request(key="ada")
        passage = bench.go(first)
        bench.go(bench.request(key="ada"))
        error = said(await bench.answer(bench.request(key="ada")))
        assert (error["status"], error["type"]) == (429, "rate_limit_error")
        bench.go(bench.request(key="bob"))
        bench.end(first, passage)
        bench.go(bench.request(key="ada"))


async def test_requests_that_wait_count_for_their_key():
    async with a_bench("chat", limits={"ada": KeyLimits(concurrency=1)}) as bench:
        bench.box.faults.hang.add("begin")
        waiting = bench.wait(bench.request("qwen-code", key="ada"))
        assert (await bench.answer(bench.request(key="ada"))).status == 429
        assert not waiting.done()


async def test_a_key_has_so_many_requests_in_a_time():
    async with a_bench("chat", limits={"ada": KeyLimits(rate=(2, 60.0))}) as bench:
        bench.go(bench.request(key="ada"))
        bench.go(bench.request(key="ada"))
        error = said(await bench.answer(bench.request(key="ada")))
        assert error["status"] == 429
        assert error["headers"]["retry-after"] == "30"
        await bench.clock.sleep(30.0)
        bench.go(bench.request(key="ada"))


async def test_an_answer_refused_gives_the_keys_place_back():
    async with a_bench("chat", limits={"ada": KeyLimits(concurrency=1)}) as bench:
        for model in ("nothing", "huge", "broken"):
            await bench.answer(bench.request(model, key="ada"))
        bench.go(bench.request(key="ada"))


# --- what the listener asks -----------------------------------------------------------------------------


async def test_connections_to_an_earlier_attempt_are_of_no_use():
    async with a_bench("chat") as bench:
        generation = bench.box.generation(GEMMA)
        assert generation is not None
        assert bench.door.current(GEMMA, generation)
        assert not bench.door.current(GEMMA, generation - 1)
        assert not bench.door.current(ServiceId("nobody"), 1)


async def test_the_door_passes_on_that_something_changed():
    async with a_bench("chat") as bench:
        changes: list[int] = []
        bench.door.subscribe(lambda: changes.append(1))
        await bench.switch("code")
        assert changes


async def test_errors_of_begun_streams_end_them_as_their_clients_expect():
    async with a_bench("chat") as bench:
        request = bench.request()
        answer = bench.door.failed(request, Ending.BROKEN)
        assert answer.status == 503
        assert bench.door.failed_event(request, answer).endswith(b"data: [DONE]\n\n")
        assert bench.door.keep_alive(request).startswith(b":")
        await bench.door.close(0.0)
        assert said(bench.door.failed(request, Ending.BROKEN))["code"] == "shutting_down"


async def test_what_the_model_names_is_the_gateways_and_the_rest_is_not():
    async with a_bench("chat") as bench:
        assert bench.door.mine(b"/v1/chat/completions")
        assert not bench.door.mine(b"/gpumod/v1/status")


async def test_a_finished_passage_of_nobody_changes_nothing():
    async with a_bench("chat") as bench:
        request: Request = bench.request()
        passage = bench.go(request)
        bench.end(request, passage)
        assert isinstance(bench.door.again(request, passage), Answer)
        bench.door.finished(request, passage, Transfer())
        assert bench.box.in_flight(GEMMA) == 0


async def test_a_mode_of_several_that_stops_the_least_is_chosen():
    async with a_bench("chat") as bench:
        tiny = bench.add_preset("tiny")
        chat = bench.box.catalog().mode(ModeId("chat"))
        assert chat is not None
        bench.change_mode("broken", services=(*chat.services, tiny))
        bench.change_mode("huge", services=(tiny,))
        bench.change_mode("code", services=(chat.services[1], tiny))
        passage = await bench.wait(bench.request("tiny"))
        assert isinstance(passage, Passage)
        assert bench.box.mode() == "broken"


@pytest.mark.parametrize("upgrade", [False, True])
async def test_a_name_that_is_none_costs_nothing(upgrade):
    name = "n" * 300
    async with a_bench() as bench:
        if upgrade:
            query = f"model={name}".encode()
            request = bench.raw(b"", path=b"/v1/realtime", method=b"GET", query=query, upgrade=True)
        else:
            request = bench.request(name)
        error = said(await bench.answer(request))
        assert (error["status"], error["code"]) == (400, "invalid_request")
        assert name not in error["message"]


async def test_a_key_gets_its_place_back_when_placing_fails(monkeypatch):
    async with a_bench(limits={"ada": KeyLimits(concurrency=1)}) as bench:
        with monkeypatch.context() as patched:
            patched.setattr(bench.door._targets, "of", lambda _: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                bench.door.open(bench.request(key="ada"))
        request = bench.request(key="ada")
        bench.end(request, bench.go(request))


async def test_no_representation_shows_an_engines_key():
    passage = Passage(GEMMA, 1, 1, b"/", b"a secret prompt", ((b"authorization", b"Bearer secret"),))
    assert "secret" not in repr(passage)
