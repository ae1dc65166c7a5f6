"""What is read in bodies, and what is changed in them."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpumod.core.errors import InvalidRequestError
from gpumod.core.spec import RequestShape
from gpumod.gateway.shape import Named, read, reshape

JSON = [(b"content-type", b"application/json")]
FORM = [(b"content-type", b'multipart/form-data; boundary="b1"')]
FILE = b"\x00\r\nRIFF--b\xff" * 50


def form(*fields: tuple[str, bytes]) -> bytes:
    parts = [
        b'--b1\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (n.encode(), v)
        for n, v in fields
    ]
    return b"".join(parts) + b"--b1--\r\n"


def told(body: object, **how) -> Named:
    return read(JSON, json.dumps(body, **how).encode())


texts = st.text(max_size=8) | st.sampled_from(
    ['"model"', '"model', "model", '","model":"x', "\\", '\\"model"', "{", "stream"]
)
names = st.sampled_from(["model", "stream", "a", "model\\", "models"]) | st.text(max_size=4)
values = st.recursive(
    st.none() | st.booleans() | texts | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


PAD = ['{"model": "y", [' * 600, '\\"' * 5000]


@settings(max_examples=200)
@given(
    st.dictionaries(names, values, max_size=4),
    st.none() | st.tuples(st.sampled_from(PAD), st.booleans()),
    st.booleans(),
    st.integers(0, 1) | st.none(),
)
def test_what_is_read_is_what_json_says(document, pad, ascii_only, indent):
    if pad:
        long = {"pad": pad[0]}
        document = long | document if pad[1] else document | long
    body = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    model = document.get("model")
    if model is not None and not isinstance(model, str):
        with pytest.raises(InvalidRequestError, match="`model` is a text"):
            assert (
                read(JSON, body).span is not None
            )  # a nested one stands alone, and the one on top is no text
    else:
        named = read(JSON, body)
        assert (named.model, named.stream) == (model or "", document.get("stream") is True)
        if named.span is not None:
            assert json.loads(body[slice(*named.span)].join((b'"', b'"'))) == model


@pytest.mark.parametrize("first", [True, False])
def test_the_name_is_found_at_either_end_of_a_large_body_without_reading_it(first, monkeypatch):
    prompt = {"messages": [{"role": "user", "content": 'say "model": "y"\n' * 50_000}]}
    document = {"model": "x", "stream": True} | prompt if first else prompt | {"model": "x", "stream": True}
    body = json.dumps(document).encode()
    monkeypatch.setattr("gpumod.gateway.shape.json", None)
    named = read(JSON, body)
    assert (named.model, named.stream) == ("x", True)


@pytest.mark.parametrize(
    "document",
    [
        {"metadata": {"model": "nested"}},
        {"tools": [{"parameters": {"properties": {"model": {"type": "string"}}}}], "model": "x"},
        {"stream": "true", "model": "x"},
        {"model": "ü\n", "options": {"stream": True}},
        {"a": "z" * 9000, "model": "x", "b": "z" * 9000, "stream": True},
    ],
)
def test_what_lies_deeper_or_is_written_oddly_is_read_whole(document):
    named = told(document)
    assert (named.model, named.stream) == (document.get("model", ""), document.get("stream") is True)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"), (b"{", "not JSON"), (b"[]", "not a JSON object"), (b"\xff\xfe", "not JSON"),
        (b'{"model": 3}', "`model` is a text"), (b"[" * 100_000, "not JSON"),
    ],
)  # fmt: skip
def test_bodies_that_cannot_be_understood_are_told_why(body, words):
    with pytest.raises(InvalidRequestError, match=words):
        read(JSON, body)


def test_a_compressed_body_is_refused():
    with pytest.raises(InvalidRequestError, match="compressed"):
        read([*JSON, (b"content-encoding", b"gzip")], b"x")


def test_nothing_is_changed_where_the_name_is_the_engines():
    body = b'{"model" : "x",  "messages":[] }'
    assert reshape(JSON, body, read(JSON, body), "x") is body


def test_only_the_name_is_changed_where_the_engine_has_another():
    body = b'{"messages":[ ],\t"model" : "alias", "temperature":1.00}'
    assert (
        reshape(JSON, body, read(JSON, body), "x/y")
        == b'{"messages":[ ],\t"model" : "x/y", "temperature":1.00}'
    )


def test_a_name_is_added_where_there_is_none():
    assert json.loads(reshape(JSON, b'{"a":1}', read(JSON, b'{"a":1}'), "x")) == {"a": 1, "model": "x"}


def test_a_route_adds_sets_strips_and_tells_the_template():
    shape = RequestShape(
        defaults=(("temperature", "0.2"), ("top_p", "0.5"), ("top_k", "9")),
        set=(("effort", '"high"'), ("seed", "[1]")),
        strip=("seed", "user"),
        template=(("think", "true"),),
    )
    document = {
        "model": "a", "temperature": 1, "top_k": None, "seed": 3, "user": "u",
        "chat_template_kwargs": {"think": False, "kept": 1}, "messages": ["ü\ud800"],
    }  # fmt: skip
    body = json.dumps(document).encode()
    assert json.loads(reshape(JSON, body, read(JSON, body), "x", shape)) == {
        "model": "x", "temperature": 1, "top_p": 0.5, "top_k": 9, "effort": "high", "seed": [1],
        "chat_template_kwargs": {"think": True, "kept": 1}, "messages": ["ü\ud800"],
    }  # fmt: skip


def test_the_name_in_a_form_is_read_and_changed_and_files_stay():
    body = form(("file", FILE), ("model", b"alias"), ("stream", b"true"))
    named = read(FORM, body)
    assert (named.model, named.stream, named.json) == ("alias", True, False)
    assert reshape(FORM, body, named, "whisper") == form(
        ("file", FILE), ("model", b"whisper"), ("stream", b"true")
    )


def test_a_form_without_a_name_gets_one():
    body = form(("file", FILE))
    assert read(FORM, body).model == ""
    changed = reshape(FORM, body, read(FORM, body), "whisper")
    assert read(FORM, changed).model == "whisper"
    assert changed.endswith(body)


@pytest.mark.parametrize("cut", range(0, 110, 7))
def test_a_form_that_is_cut_is_refused(cut):
    body = form(("file", b"x" * 40), ("model", b"a"))
    assert len(body) > 110
    with pytest.raises(InvalidRequestError, match="form"):
        read(FORM, body[:cut])


def test_a_form_without_a_boundary_is_refused():
    with pytest.raises(InvalidRequestError, match="boundary"):
        read([(b"content-type", b"multipart/form-data")], b"--b1--")
