"""Errors in each dialect."""

import json

import pytest

from gpumod.gateway.errors import error_answer, error_event, keep_alive
from gpumod.gateway.exchange import Answer, Dialect


def test_each_dialect_has_its_own_shape():
    facts = {"code": "mine", "message": "not this", "n": 1}
    openai, anthropic, plain = (
        json.loads(error_answer(dialect, 503, "draining", "wait", facts).body) for dialect in Dialect
    )
    assert openai["error"] == {
        "message": "wait", "type": "server_error", "param": None, "code": "draining", "facts": facts,
    }  # fmt: skip
    assert (anthropic["type"], anthropic["error"]["type"]) == ("error", "overloaded_error")
    assert (anthropic["error"]["message"], anthropic["error"]["facts"]) == ("wait", facts)
    assert (plain["status"], plain["detail"], plain["n"]) == (503, "wait", 1)


@pytest.mark.parametrize(("seconds", "told"), [(None, None), (0.0, b"1"), (3.2, b"4")])
def test_retry_after_is_in_whole_seconds(seconds, told):
    answer = error_answer(Dialect.OPENAI, 503, "full", "later", retry_after=seconds)
    assert dict(answer.headers).get(b"retry-after") == told


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("body", [b'{"error":\n {"message":"a\\nb"}}', b"<h1>\n\noops</h1>", b"", b"\xff"])
def test_an_error_in_a_stream_is_one_event_of_one_line(dialect, body):
    event = error_event(dialect, Answer(500, body))
    lines = [line for line in event.split(b"\n") if line.startswith(b"data: ")]
    assert event.endswith(b"\n\n")
    json.loads(lines[0][6:])
    if dialect is Dialect.ANTHROPIC:
        assert event.startswith(b"event: error\n")
        assert len(lines) == 1
    else:
        assert lines[1:] == [b"data: [DONE]"]


def test_what_keeps_a_stream_alive_says_nothing():
    assert keep_alive(Dialect.OPENAI).startswith(b":")
    assert keep_alive(Dialect.ANTHROPIC).startswith(b"event: ping\n")
