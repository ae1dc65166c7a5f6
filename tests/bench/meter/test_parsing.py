"""Bytes in any pieces, with scripted times: no socket, no clock."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpumod.bench.meter.answer import Answer, NoAnswerError, whole
from gpumod.bench.meter.sse import LIMIT, EventStream, EventTooLongError


def chunk(delta, **more):
    return json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": None}], **more}).encode()


def answer_to(*events):
    answer = Answer()
    for at, data in events:
        answer.event(data, at)
    return answer


@given(st.data())
def test_any_cut_of_a_stream_gives_the_same_events(data):
    stream = b': ping\n\ndata: {"a":1}\r\n\r\ndata:two\ndata: lines\n\nid: 7\nevent: x\ndata: \xc3\xa9\n\n'
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    events = EventStream()
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert [e for piece in pieces for e in events.feed(piece)] == [b'{"a":1}', b"two\nlines", b"\xc3\xa9"]


def test_an_event_is_there_with_its_last_byte_and_not_before():
    events = EventStream()
    assert events.feed(b"data: 1\n") == []
    assert events.feed(b"\ndata: 2\n\ndata: 3\n\nda") == [b"1", b"2", b"3"]
    assert events.feed(b"ta: 4\n") == []


def test_an_event_without_an_end_is_given_up():
    events = EventStream()
    for _ in range(LIMIT // 2**20):
        assert events.feed(b"x" * 2**20) == []
    with pytest.raises(EventTooLongError):
        events.feed(b"x")


def test_many_short_events_are_not_taken_for_a_long_one():
    events = EventStream()
    piece = b"data: " + b"x" * (1 << 20) + b"\n\n"
    assert sum(len(events.feed(piece)) for _ in range(20)) == 20


def test_the_first_token_is_the_first_delta_with_something_in_it():
    answer = answer_to(
        (1.0, chunk({"role": "assistant", "content": ""})),
        (1.5, chunk({"content": None})),
        (2.0, chunk({"reasoning_content": "hm"})),
        (3.0, chunk({"reasoning_content": "", "content": ""})),
        (4.0, chunk({"content": "a"})),
        (5.0, chunk({})),
    )
    assert (answer.first_token, answer.first_content, answer.chunks) == (2.0, 4.0, [2.0, 4.0])
    assert ("".join(answer.reasoning), "".join(answer.content)) == ("hm", "a")


def test_a_tool_call_is_a_first_token_and_is_put_together_from_its_pieces():
    first = {"index": 0, "id": "call_a", "function": {"name": "weather", "arguments": ""}}
    second = {"index": 1, "id": "call_b", "function": {"name": "time", "arguments": "{}"}}
    answer = answer_to(
        (1.0, chunk({"tool_calls": [first]})),
        (2.0, chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]})),
        (3.0, chunk({"tool_calls": [second, {"index": 0, "function": {"arguments": '"X"}'}}]})),
    )
    assert answer.first_token == 1.0
    assert answer.first_content is None
    assert [(one.id, one.name, one.arguments) for one in answer.tool_calls] == [
        ("call_a", "weather", '{"city":"X"}'),
        ("call_b", "time", "{}"),
    ]


def test_newer_vllm_names_reasoning_differently():
    answer = answer_to(
        (1.0, chunk({"reasoning": "a", "reasoning_content": "a"})), (2.0, chunk({"reasoning": "b"}))
    )
    assert "".join(answer.reasoning) == "ab"


def test_usage_and_timings_of_both_engines():
    timings = {
        "cache_n": 4, "prompt_n": 100, "prompt_ms": 500.0, "predicted_n": 20, "predicted_ms": 250.0,
        "draft_n": 30, "draft_n_accepted": 12,
    }  # fmt: skip
    usage = {"prompt_tokens": 104, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 4}}
    answer = answer_to((1.0, json.dumps({"choices": [], "usage": usage, "timings": timings}).encode()))
    assert answer.usage is not None
    assert (answer.usage.prompt, answer.usage.completion, answer.usage.cached) == (104, 20, 4)
    assert answer.timings is not None
    assert (answer.timings.prompt_tokens, answer.timings.prompt_seconds) == (100, 0.5)
    assert (answer.timings.tokens, answer.timings.seconds, answer.timings.cached_tokens) == (20, 0.25, 4)
    assert (answer.timings.drafted, answer.timings.accepted) == (30, 12)


@pytest.mark.parametrize(
    "odd",
    [
        {"prompt_ms": float("inf")}, {"predicted_ms": 1e-320}, {"prompt_n": 10**400}, {"predicted_ms": True},
        {"prompt_ms": 10**400}, {"predicted_n": -1},
    ],
)  # fmt: skip
def test_numbers_that_are_no_measurements_are_none(odd):
    """A speed of them would be infinite, and one such number would spoil the mean of all others."""
    timings = {"prompt_n": 100, "prompt_ms": 500.0, "predicted_n": 20, "predicted_ms": 250.0, **odd}
    answer = answer_to((1.0, json.dumps({"choices": [], "timings": timings}).encode()))
    assert answer.timings is None


def test_the_tokens_so_far_are_kept_where_every_delta_has_them():
    told = [chunk({"content": "x"}, usage={"prompt_tokens": 1, "completion_tokens": n}) for n in (3, 5)]
    assert answer_to(*enumerate(told)).tokens == [3, 5]
    llama = chunk(
        {"content": "x"}, timings={"prompt_n": 1, "prompt_ms": 1, "predicted_n": 2, "predicted_ms": 1}
    )
    assert answer_to((0.0, llama)).tokens == [2]


@pytest.mark.parametrize(
    "data",
    [
        b'{"error": {"code": 500, "message": "out of cards"}}',
        b'{"code": 500, "message": "out of cards"}',
        b'{"error": "out of cards"}',
    ],
)
def test_an_error_in_the_stream_is_kept(data):
    assert answer_to((0.0, data)).error == "out of cards"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"1", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_object_is_told(data):
    with pytest.raises(NoAnswerError):
        Answer().event(data, 0.0)


def test_halves_of_a_character_are_put_together_or_replaced():
    assert whole(["a", "\ud83d", "\ude00", "b"]) == "a\U0001f600b"
    assert whole(["a\ud83d", "b"]) == "a\ufffdb"
    assert whole(["é"]) == "é"


NAMES = sorted(
    {
        "arguments",
        "cached_tokens",
        "choices",
        "completion_tokens",
        "content",
        "delta",
        "error",
        "finish_reason",
        "function",
        "id",
        "index",
        "message",
        "name",
        "predicted_ms",
        "predicted_n",
        "prompt_ms",
        "prompt_n",
        "prompt_tokens",
        "prompt_tokens_details",
        "reasoning",
        "timings",
        "tool_calls",
        "usage",
    }
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMES),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(json_values)
def test_no_document_breaks_it(value):
    for document in (value, {"choices": [{"delta": value}]}, {"choices": [{"message": value}]}):
        answer = Answer()
        data = json.dumps(document).encode()
        for take in (lambda: answer.event(data, 0.0), lambda: answer.document(data)):  # noqa: B023
            try:
                take()
            except NoAnswerError:
                continue
        assert all(isinstance(one.arguments, str) for one in answer.tool_calls)
