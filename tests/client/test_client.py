"""The typed clients against the real API, over both kinds of sockets."""

import asyncio
import itertools
import json
import socket
import time

import pytest

from gpumod.access import AccessRules
from gpumod.client import AsyncClient, Client, Work
from gpumod.client.calls import refusals
from gpumod.core.errors import (
    GpumodError,
    InvalidRequestError,
    NotFoundError,
    RefusedError,
    StoreError,
    SwitchRunningError,
    TimedOutError,
    UnauthenticatedError,
    UnreachableError,
)
from gpumod.core.job import JobState, Window
from gpumod.core.plan import RefusalCode
from gpumod.core.spec import OnFailure
from gpumod.core.states import ServiceState
from gpumod.core.switch import BoxState, SwitchState
from gpumod.core.units import GIB
from tests.client.served import served


@pytest.fixture(params=["socket", "tcp"])
def client(daemon, request):
    with Client(daemon.socket if request.param == "socket" else daemon.host) as one:
        yield one


def test_a_switch_from_end_to_end(client):
    assert client.status().state is BoxState.SETTLED
    record = client.switch("chat")
    assert record.state is SwitchState.COMMITTED
    assert all(step.ended for step in record.steps)
    status = client.status()
    assert status.mode == "chat"
    assert {one.id for one in status.services} == {"gemma-chat", "embed"}
    assert client.service("embed").state is ServiceState.READY
    assert client.switches()[0].id == record.id
    assert client.switch_record(record.id).steps


def test_everything_that_can_be_read(client):
    client.switch("chat")
    cards = client.cards()
    assert cards.cards[0].total == 24 * GIB
    assert {budget.card for budget in cards.budgets} == {card.id for card in cards.cards}
    assert len(client.services()) == 2
    assert client.mode("chat") in client.modes()
    assert client.preset("embed") in client.presets()
    assert client.problems()[0].line == 3
    assert client.reload().disabled
    assert isinstance(client.schema(), dict)
    assert client.version()["version"] == "fake"
    assert "server is listening" in client.logs("embed")
    events = client.events()
    assert client.events(after=events[-2].seq) == events[-1:]


def test_services_are_acted_on(client):
    client.switch("chat")
    assert client.stop("embed").state is SwitchState.COMMITTED
    assert client.service("embed").state is ServiceState.STOPPED
    assert client.start("second", preset="embed").state is SwitchState.COMMITTED
    before = client.service("gemma-chat").generation
    assert client.restart("gemma-chat").state is SwitchState.COMMITTED
    assert client.service("gemma-chat").generation > before


def test_a_plan_changes_nothing(client):
    plan = client.plan("chat", on_failure=OnFailure.BLANK)
    assert plan.starts == ("embed", "gemma-chat")
    assert plan.target.on_failure is OnFailure.BLANK
    assert client.status().mode == "blank"


def test_preflight_answers_both_ways(client):
    assert client.preflight("embed").plan.starts == ("embed",)
    looked = client.preflight("embed", fit_context=True, oracle=True).services[0]
    assert (looked.fitted.context, looked.oracle.devices[0].device) == (40960, "CUDA0")
    refused = client.preflight("huge")
    assert refused.services[0].advice[0].line == "context: 8192"
    assert not refused.fits
    assert refused.reasons[0].need == 40 * GIB


def test_leases_are_taken_renewed_and_released(client):
    client.switch("chat")
    lease = client.take_lease("ci", 60, services=["embed"], purpose="evaluation")
    assert lease.services == ("embed",)
    assert client.renew_lease(lease.id, 600).until > lease.until
    assert [one.id for one in client.leases()] == [lease.id]
    assert client.release_lease(lease.id).holder == "ci"
    assert client.leases() == ()


def test_a_refusal_carries_its_reasons(client):
    with pytest.raises(RefusedError) as caught:
        client.switch("huge")
    (reason,) = refusals(caught.value)
    assert reason.code is RefusalCode.DOES_NOT_FIT
    assert reason.need == 40 * GIB


def test_names_that_are_not_there(client):
    for call in (
        client.mode,
        client.service,
        client.preset,
        client.switch,
        client.release_lease,
        client.logs,
    ):
        with pytest.raises(NotFoundError):
            call("nowhere")


def test_names_are_not_paths(client):
    with pytest.raises(GpumodError):
        client.mode("../status")


def test_a_failed_switch_says_where_it_left_the_box(client):
    client.switch("chat")
    record = client.switch("broken")
    assert record.state is SwitchState.ROLLED_BACK
    assert "chat" in record.left


def test_another_switch_is_in_the_way(short_path):
    with served(short_path) as daemon, Client(daemon.socket) as client:
        daemon.hold()
        first = client.switch("chat", wait=False)
        with pytest.raises(SwitchRunningError) as caught:
            client.switch("code", wait=False)
        assert caught.value.facts["switch"] == first.id
        assert client.switch("chat", wait=False).joined == 1
        assert "cancelled" in client.cancel(first.id).reason
        daemon.go_on()
        assert client.switch_record(first.id, wait=60).state is SwitchState.ROLLED_BACK


def test_the_same_key_begins_one_switch(client, daemon):
    first = client.switch("chat", idempotency_key="once")
    assert client.switch("chat", idempotency_key="once").id == first.id
    assert daemon.box.begun == 1


def test_errors_of_the_daemon_keep_their_class(client, daemon):
    daemon.box.faults.errors["status"] = StoreError("the disk is full")
    with pytest.raises(StoreError, match="the disk is full"):
        client.status()


def test_a_key_is_needed_and_sent(short_path, monkeypatch):
    from gpumod.access.keys import Key, Scope, digest

    keys = (Key("me", digest("open-sesame"), frozenset({Scope.READ})),)
    with served(short_path, access=AccessRules(keys=keys)) as daemon:
        with Client(daemon.host) as nobody, pytest.raises(UnauthenticatedError):
            nobody.status()
        with Client(daemon.host, key="open-sesame") as me:
            assert me.status().mode == "blank"
        monkeypatch.setenv("GPUMOD_KEY", "open-sesame")
        with Client(daemon.host) as me:
            assert me.status().mode == "blank"


def test_nobody_there(tmp_path):
    with Client(str(tmp_path / "no.sock")) as client, pytest.raises(UnreachableError, match="gpumodd"):
        client.status()


def test_a_daemon_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setattr("gpumod.client.calls.ANSWER", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        with Client(host) as client, pytest.raises(TimedOutError):
            client.switch_record("S1")


def test_an_answer_of_somebody_else(tmp_path):
    from gpumod.client.fast import answer

    with pytest.raises(GpumodError, match="not gpumodd's: HTTP 502: <html>"):
        answer(502, b"<html>bad gateway")


def test_events_are_followed(client, daemon):
    client.switch("chat", wait=False)
    seen = []
    for event in client.follow_events(after=0):
        seen.append(event)
        if event.kind == "switch" and "committed" in event.message:
            break
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))


def test_logs_are_followed(client, daemon):
    client.switch("chat")
    lines = client.follow_logs("embed")
    # The stream begins with the request, which the first next() sends.
    daemon.loop.call_soon_threadsafe(_say_until_heard, daemon, heard := [])
    first = next(lines)
    heard.append(True)
    lines.close()
    assert first.text.startswith("token")
    assert first.offset > 0


def _say_until_heard(daemon, heard):
    async def say():
        for number in itertools.count():
            if heard:
                return
            await daemon.box.write_log("embed", f"token {number}")
            await asyncio.sleep(0.01)

    daemon.said = asyncio.ensure_future(say())


def test_following_what_is_not_there_is_an_error(client):
    with pytest.raises(NotFoundError):
        next(client.follow_logs("nowhere"))


def test_a_stream_that_breaks_is_an_error(short_path):
    with served(short_path) as daemon, Client(daemon.socket) as client:
        client.switch("chat")
        stream = client.follow_events(after=0)
        next(stream)
        daemon.loop.call_soon_threadsafe(daemon.stop.set)
        deadline = time.monotonic() + 60
        try:
            for _ in stream:
                assert time.monotonic() < deadline
        except UnreachableError:
            pass
        with pytest.raises(UnreachableError):
            client.status()


def test_a_job_from_end_to_end(client, daemon):
    work = Work("speed", ["gemma-chat"], {"repeats": 3}, priority=2, window=Window(0, 1440), label="one")
    job = client.submit_job(work, dedupe="d", idempotency_key="k")
    assert client.submit_job(work, dedupe="d", idempotency_key="k") == job
    assert job.request.parameters == {"repeats": 3}
    assert job.request.window == work.window
    later = client.submit_job(work, after=[job.id], not_before=1.0)
    assert client.jobs() == (later, job)
    assert client.jobs(["queued", JobState.RUNNING], limit=1) == (later,)
    assert client.jobs([JobState.DONE]) == ()
    assert client.cancel_job(later.id).state is JobState.CANCELLED
    daemon.run(daemon.jobs.work())
    assert client.job(job.id).state is JobState.DONE
    assert len(client.samples(job.id)) == 3
    (result,) = client.results(job.id)
    assert result.outcomes == {"ok": 3}
    assert client.results() == client.results(suite="speed", target=result.target) == (result,)
    assert client.results(suite="soak") == client.results(target="other") == ()
    assert client.report(job.id).startswith("# `speed` on `gemma-chat` (one)")
    assert json.loads(client.report(job.id, "json"))["format"] in str(client.report_schema())
    assert client.report(job.id, "html").startswith("<!DOCTYPE html>")
    with pytest.raises(NotFoundError):
        client.report("no/such job")
    assert client.retry_job(job.id, afresh=True).state is JobState.QUEUED
    assert client.samples(job.id) == ()
    with pytest.raises(NotFoundError):
        client.job("no/such job")


def test_a_schedule_from_end_to_end(client):
    work = Work("speed", ["chat"])
    saved = client.save_schedule("nightly", "30 2 * * *", work, timezone="Europe/Berlin")
    assert saved.next is not None
    assert client.schedules() == (saved,)
    assert client.schedule("nightly") == saved
    assert client.save_schedule("nightly", "30 2 * * *", work, enabled=False).next is None
    client.delete_schedule("nightly")
    assert client.schedules() == ()
    with pytest.raises(InvalidRequestError):
        client.save_schedule("nightly", "often", work)


async def test_the_asynchronous_client_does_the_same(short_path):
    with served(short_path) as daemon:
        async with AsyncClient(daemon.socket) as client:
            record = await client.switch("chat")
            assert record.state is SwitchState.COMMITTED
            assert (await client.status()).mode == "chat"
            assert (await client.plan("blank")).stops == ("embed", "gemma-chat")
            assert "server is listening" in await client.logs("embed")
            with pytest.raises(RefusedError):
                await client.switch("huge")
            job = await client.submit_job(Work("speed", ["chat"]))
            assert await client.jobs() == (job,)
            assert "it is queued" in await client.report(job.id)
            assert (await client.report_schema())["type"] == "object"
            assert (await client.cancel_job(job.id)).state is JobState.CANCELLED
            assert await client.results(job.id) == ()
            assert await client.schedules() == ()
            events = client.follow_events(after=0)
            assert (await anext(events)).seq == 1
            await events.aclose()
        async with AsyncClient(str(short_path / "none")) as client:
            with pytest.raises(UnreachableError):
                await client.status()


def test_both_clients_offer_the_same():
    def methods(kind):
        return {name for name in vars(kind) if not name.startswith("_")} - {"close", "aclose"}

    assert methods(Client) == methods(AsyncClient)
