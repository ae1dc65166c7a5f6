"""Accounts of requests, and what is counted of them."""
# ruff: noqa: E501 - answers as engines give them

import asyncio

import pytest

from gpumod.access import Principal
from gpumod.core.account import Ending, Tokens
from gpumod.core.metrics import exposition
from gpumod.core.names import ServiceId
from gpumod.gateway.exchange import Dialect, Passage, Request, Route, Transfer
from gpumod.gateway.seen import Ledger
from gpumod.gateway.seen.account import account_of, tokens_of

LLAMA = (
    b'data: {"choices":[{"finish_reason":"stop","index":0,"delta":{}}],"created":1,"usage":{"completion_tokens":40,'
    b'"prompt_tokens":100,"total_tokens":140,"prompt_tokens_details":{"cached_tokens":60}},"timings":{"cache_n":60,"prompt_n":40,'
    b'"prompt_ms":20.0,"prompt_per_token_ms":0.5,"predicted_n":40,"predicted_ms":390.0,"draft_n":30,"draft_n_accepted":21}}\n\ndata: [DONE]\n\n'
)
VLLM = (
    b'{"id":"x","choices":[{"message":{"content":"ok"}}],"usage":{"prompt_tokens":9,"total_tokens":12,"completion_tokens":3,'
    b'"prompt_tokens_details":null},"prompt_logprobs":null}'
)
RESPONSES = b'"usage":{"input_tokens":5,"output_tokens":7,"output_tokens_details":{"reasoning_tokens":0},"input_tokens_details":{"cached_tokens":2},"total_tokens":12}}}'
ANTHROPIC = b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15,"cache_read_input_tokens":4,"input_tokens":8}}\n\nevent: message_stop\n'
COMPLETION = b'"timings":{"prompt_n":4,"prompt_ms":8,"predicted_n":2,"predicted_ms":10}}'


@pytest.mark.parametrize(
    ("tail", "tokens"),
    [
        (LLAMA, Tokens(100, 60, 40, 30, 21, 0.02, 0.39)),
        (VLLM, Tokens(9, None, 3)),
        (RESPONSES, Tokens(5, 2, 7)),
        (ANTHROPIC, Tokens(8, 4, 15)),
        (COMPLETION, Tokens(4, None, 2, prompt_seconds=0.008, completion_seconds=0.01)),
        (b"", Tokens()),
        (b'{"usage":null}', Tokens()),
        (b'{"usage":{"prompt_tokens":-1,"completion_tokens":true}}', Tokens()),
        (b'{"usage":{"prompt_tokens":{"prompt_tokens":', Tokens()),
    ],
)
def test_tokens_are_read_as_each_engine_tells_them(tail, tokens):
    assert tokens_of(tail) == tokens


def test_generated_text_cannot_pass_for_usage():
    forged = b'{"content":"so: {\\"usage\\":{\\"prompt_tokens\\":1}} and \\"usage"}'
    assert tokens_of(forged) == Tokens()
    assert tokens_of(forged + VLLM) == Tokens(9, None, 3)


@pytest.mark.parametrize(
    "text", [b'"usage":{' * 1800, b'"usage":{' + b'"a":"b",' * 2000, b'"usage":{' + b"{" * 16000]
)
def test_a_hostile_tail_is_read_in_bounded_time(text):
    assert tokens_of(text[:16384]) == Tokens()


ROUTE = Route("chat", b"/v1/chat/completions", Dialect.OPENAI, generates=True)


def ended(tail=LLAMA, *, ending=Ending.OK, status=200, first=101.0, end=103.0, encoded=False, route=ROUTE):
    request = Request(
        b"POST", b"/v1/chat/completions", b"", [], Principal("ada", frozenset()), route, 100.0, model="fast"
    )
    passage = Passage(ServiceId("gemma"), 1, 1, b"/", b"", queued=0.5)
    transfer = Transfer(ending, status, 100.5, first, end, event_stream=True, encoded=encoded, tail=tail)
    return request, passage, transfer


def account(case):
    request, passage, transfer = case
    return account_of(request, passage, transfer, 1000.0, 103.0)


def test_an_account_has_times_from_the_requests_arrival():
    found = account(ended())
    assert (found.at, found.first, found.seconds, found.queued) == (997.0, 1.0, 3.0, 0.5)
    assert (found.model, found.service, found.key, found.route) == ("fast", "gemma", "ada", "chat")
    assert found.speed == pytest.approx(39 / 0.39)


def test_without_the_engines_clock_a_streams_own_time_gives_the_speed():
    found = account(ended(VLLM))
    assert found.speed == pytest.approx(2 / 2.0)


def test_who_hangs_up_after_the_end_mark_has_got_everything():
    assert account(ended(ending=Ending.CLIENT_GONE)).ending is Ending.OK
    assert account(ended(LLAMA[:-14], ending=Ending.CLIENT_GONE)).ending is Ending.CLIENT_GONE
    assert account(ended(ending=Ending.BROKEN)).ending is Ending.BROKEN


def test_what_is_compressed_or_generates_nothing_is_not_read():
    quiet = Route("embeddings", b"/v1/embeddings", Dialect.OPENAI)
    for how in ({"encoded": True}, {"route": quiet}):
        assert account(ended(**how)).tokens == Tokens()


def ledger():
    return Ledger(now=lambda: 1000.0, monotonic=lambda: 103.0)


async def test_every_request_is_counted_once_by_how_it_ended():
    seen = ledger()
    cut = ended(LLAMA.removesuffix(b"data: [DONE]\n\n"), ending=Ending.CLIENT_GONE)
    for case in (ended(), ended(), ended(status=500), cut, ended(status=404)):
        seen.observe(*case)
    seen.refused("chat", "ada", 503, "queue_full")
    text = exposition(seen.metrics())
    where = 'service="gemma",route="chat",key="ada"'
    for outcome, count in (("ok", 2), ("5xx", 1), ("4xx", 1), ("client_gone", 1)):
        assert f'gpumod_gateway_requests_total{{{where},outcome="{outcome}"}} {count}\n' in text
    assert 'gpumod_gateway_errors_total{route="chat",key="ada",status="503",code="queue_full"} 1\n' in text
    assert 'gpumod_gateway_tokens_total{service="gemma",kind="completion"} 200\n' in text
    assert 'gpumod_gateway_request_duration_seconds_bucket{service="gemma",route="chat",le="2.5"} 0\n' in text
    assert 'gpumod_gateway_request_duration_seconds_bucket{service="gemma",route="chat",le="5"} 5\n' in text
    assert 'gpumod_gateway_queue_seconds_sum{service="gemma"} 2.5\n' in text
    assert exposition(seen.metrics()) == text
    assert len(seen.latest) == 5


async def test_accounts_are_read_a_little_later_and_bodies_are_let_go():
    seen = ledger()
    request, passage, transfer = ended()
    request.body = b"x" * 1000
    seen.observe(request, passage, transfer)
    assert (request.body, len(seen.latest)) == (b"", 0)
    async with asyncio.timeout(60):
        while not seen.latest:  # noqa: ASYNC110 - the timer of the ledger is what is waited for
            await asyncio.sleep(0.01)


async def test_more_than_can_be_read_is_counted_and_dropped(monkeypatch):
    monkeypatch.setattr("gpumod.gateway.seen.ledger._BACKLOG", 2)
    seen = ledger()
    for _ in range(5):
        seen.observe(*ended())
    assert "gpumod_gateway_unread_total 3\n" in exposition(seen.metrics())


def test_names_of_keys_cannot_become_many(monkeypatch):
    monkeypatch.setattr("gpumod.gateway.seen.ledger._MOST_NAMES", 2)
    seen = ledger()
    for name in "abcd":
        seen.refused("chat", name, 429, "rate")
    text = exposition(seen.metrics())
    assert 'key="other",status="429",code="rate"} 2\n' in text
