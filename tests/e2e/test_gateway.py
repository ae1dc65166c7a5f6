"""The gateway as clients meet it: OpenAI's and Anthropic's own, unmodified, before real llama.cpp."""

import json

import anthropic
import httpx2
import openai
import pytest

from tests.e2e.gateway_box import CONTEXT, HI, LIKELY_CALL, TOOLS

pytest.importorskip("xllamacpp", reason="the embedded extra is not installed")

pytestmark = pytest.mark.shared_processes

NAMES = [
    "chat",
    "embed",
    "default",
    "fast",
    "handy",
    "assistant",
    "vectors",
    "code",
    "smart",
    "asked",
    "shut",
]


@pytest.fixture(scope="module")
def box(make_gateway_box):
    """The mode small, keys with limits, and modes that requests may not just switch to."""
    box = make_gateway_box()
    box.two_modes()
    box.gateway |= {"body_limit": "2MiB"}
    for name, policy in (("asked", "ask"), ("shut", "never")):
        box.llama(name, vram=700)
        box.mode(f"{name}-mode", name, on_demand=policy)
    box.key("narrow", "narrow-key", models=["chat", "fast"])
    box.key("slow", "slow-key", rate="1/h")
    box.start()
    with box.client() as client:
        client.switch("small")
    return box


@pytest.fixture
def oai(box):
    with box.openai(max_retries=0) as client:
        yield client


@pytest.fixture
def ant(box):
    with box.anthropic(max_retries=0) as client:
        yield client


@pytest.fixture
def http(box):
    with box.http() as client:
        yield client


def test_a_chat_is_answered_whole(oai):
    answer = oai.chat.completions.create(model="chat", messages=HI, max_tokens=8)
    (choice,) = answer.choices
    assert (answer.model, choice.finish_reason, answer.usage.completion_tokens) == ("chat", "length", 8)
    assert choice.message.content


def test_a_chat_is_streamed_and_ends_with_its_usage(oai):
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(oai.chat.completions.create(model="chat", messages=HI, max_tokens=8, **options))
    text = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert sum(bool(one) for one in text) >= 2, "it came at once"
    assert chunks[-1].usage.completion_tokens == 8


@pytest.mark.parametrize("shaped_by", ["client", "route"])
def test_a_tool_call_comes_whole(oai, shaped_by):
    """The call itself is llama.cpp's; the route `handy` asks for the same as the client here."""
    given = {"model": "chat", **LIKELY_CALL} if shaped_by == "client" else {"model": "handy"}
    answer = oai.chat.completions.create(
        messages=HI, tools=TOOLS, tool_choice="required", max_tokens=200, **given
    )
    call = answer.choices[0].message.tool_calls[0]
    assert call.function.name == "light"
    assert set(json.loads(call.function.arguments)) == {"on"}


def test_completions_and_embeddings(oai):
    completion = oai.completions.create(model="chat", prompt="a", max_tokens=4)
    assert (len(completion.choices), completion.usage.completion_tokens) == (1, 4)
    first, second = oai.embeddings.create(model="vectors", input=["a", "b"]).data
    assert len(first.embedding) == 64
    assert first.embedding != second.embedding


def test_responses_whole_and_streamed(oai):
    whole = oai.responses.create(model="chat", input="hi", max_output_tokens=5)
    assert whole.output_text
    events = [
        event.type
        for event in oai.responses.create(model="chat", input="hi", max_output_tokens=5, stream=True)
    ]
    assert events[0] == "response.created"
    assert "response.output_text.delta" in events
    assert events[-1] == "response.completed"


def test_messages_whole_streamed_and_counted(ant):
    whole = ant.messages.create(model="chat", messages=HI, max_tokens=5)
    assert (whole.stop_reason, whole.usage.output_tokens) == ("max_tokens", 5)
    with ant.messages.stream(model="chat", messages=HI, max_tokens=5) as stream:
        assert "".join(stream.text_stream)
        assert stream.get_final_message().usage.output_tokens == 5
    counted = ant.messages.count_tokens(model="chat", messages=HI)
    assert counted.input_tokens == whole.usage.input_tokens + whole.usage.cache_read_input_tokens


def test_the_list_has_all_that_could_be_served(oai):
    models = {model.id: model for model in oai.models.list()}
    assert set(models) == set(NAMES)
    loaded = {name for name, model in models.items() if model.gpumod["loaded"]}
    assert loaded == {"chat", "embed", "default", "fast", "handy", "assistant", "vectors"}
    assert models["smart"].gpumod["modes"] == ["large"]
    assert models["smart"].context_length == CONTEXT
    assert models["embed"].architecture["output_modalities"] == ["embeddings"]
    assert oai.models.retrieve("fast").gpumod["service"] == "chat"
    with pytest.raises(openai.NotFoundError, match="fasst"):
        oai.models.retrieve("fasst")


def test_the_list_of_anthropics_client(ant):
    models = {model.id: model for model in ant.models.list()}
    assert set(models) == set(NAMES)
    assert models["code"].max_input_tokens == CONTEXT
    assert ant.models.retrieve("chat").display_name == "chat"


def test_a_key_sees_and_uses_its_models_alone(box):
    with box.openai("narrow-key", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["chat", "fast"]
        answer = client.chat.completions.create(model="fast", messages=HI)
        assert answer.usage.completion_tokens == 3, "the route's default"
        with pytest.raises(openai.PermissionDeniedError, match="assistant"):
            client.chat.completions.create(model="assistant", messages=HI)
    with box.http("narrow-key") as client:
        # The names of routes and aliases are names of a key; a service by its path is one as well.
        assert client.post("/upstream/embed/tokenize", json={"content": "a"}).status_code == 403
        assert client.get("/gpumod/v1/status").status_code == 403


def test_a_key_has_its_rate(box):
    with box.openai("slow-key", max_retries=0) as client:
        client.chat.completions.create(model="fast", messages=HI)
        with pytest.raises(openai.RateLimitError) as refused:
            client.chat.completions.create(model="fast", messages=HI)
    assert int(refused.value.response.headers["retry-after"]) > 60
    assert refused.value.code == "rate_limit_exceeded"


@pytest.mark.parametrize("key", ["", "nobody's"])
def test_an_unknown_key_is_told_so_in_the_clients_words(box, key):
    with box.openai(key or "-", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError, match="not known"):
            client.chat.completions.create(model="chat", messages=HI)
        with pytest.raises(openai.AuthenticationError, match="not known"):
            client.models.list()
    with box.anthropic(key or "-", max_retries=0) as client:
        with pytest.raises(anthropic.AuthenticationError, match="not known"):
            client.messages.create(model="chat", messages=HI, max_tokens=4)
        with pytest.raises(anthropic.AuthenticationError, match="not known"):
            client.models.list()


LONG = [{"role": "user", "content": "x y " * 60_000}]
LARGE = [{"role": "user", "content": "x" * (3 << 20)}]
ERRORS = [
    # what is asked for, status, code, a part of the message
    ({"model": "chatt"}, 404, "model_not_found", "did you mean chat"),
    ({"model": "shut"}, 404, "model_not_available", "gpumodctl switch shut-mode"),
    ({"model": "asked"}, 409, "switch_needed", "stops chat, embed, starts asked"),
    ({"model": "chat", "max_tokens": "many"}, 400, None, "max_tokens"),
    ({"model": "chat", "messages": LONG}, 400, None, "exceeds the available context size"),
    ({"model": "chat", "messages": LARGE}, 413, "request_too_large", "2097152"),
]
OPENAIS = {
    400: openai.BadRequestError,
    404: openai.NotFoundError,
    409: openai.ConflictError,
    413: openai.APIStatusError,
}
ANTHROPICS = {
    400: anthropic.BadRequestError,
    404: anthropic.NotFoundError,
    409: anthropic.ConflictError,
    413: anthropic.APIStatusError,
}


@pytest.mark.parametrize(("asked", "status", "code", "message"), ERRORS)
def test_errors_are_those_that_openais_client_knows(box, asked, status, code, message):
    sent: list[httpx2.Request] = []
    with (
        box.openai(http_client=openai.DefaultHttpxClient(event_hooks={"request": [sent.append]})) as client,
        pytest.raises(OPENAIS[status], match=message) as refused,
    ):
        client.chat.completions.create(**{"messages": HI, "max_tokens": 4, **asked})
    assert refused.value.status_code == status
    assert code is None or refused.value.code == code
    assert len(sent) == 1, "it was sent again, and nothing could have changed"


@pytest.mark.parametrize(("asked", "status", "code", "message"), ERRORS)
def test_errors_are_those_that_anthropics_client_knows(box, asked, status, code, message):
    sent: list[httpx2.Request] = []
    with (
        box.anthropic(
            http_client=anthropic.DefaultHttpxClient(event_hooks={"request": [sent.append]})
        ) as client,
        pytest.raises(ANTHROPICS[status], match=message) as refused,
    ):
        client.messages.create(**{"messages": HI, "max_tokens": 4, **asked})
    assert refused.value.status_code == status
    assert code is None or refused.value.response.json()["error"]["code"] == code
    assert len(sent) == 1, "it was sent again, and nothing could have changed"


def test_who_is_asked_gets_the_plan_with_its_numbers(oai):
    with pytest.raises(openai.ConflictError) as refused:
        oai.chat.completions.create(model="asked", messages=HI)
    facts = refused.value.response.json()["error"]["facts"]
    assert (facts["mode"], facts["stops"], facts["starts"]) == ("asked-mode", ["chat", "embed"], ["asked"])
    assert facts["bytes"] == 700 * 1024**2
    assert facts["go_on"]["header"] == {"x-gpumod-on-demand": "auto"}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "has"),
    [
        ("GET", "chat/props", None, 200, "default_generation_settings"),
        ("GET", "chat/slots", None, 200, "is_processing"),
        ("GET", "chat/v1/models", None, 200, "data"),
        ("POST", "chat/tokenize", {"content": "abc"}, 200, "tokens"),
        ("POST", "chat/completion", {"prompt": "abc", "n_predict": 3}, 200, "content"),
        ("POST", "chat/infill", {"input_prefix": "a", "input_suffix": "b"}, 501, "error"),
        ("POST", "chat/v1/chat/completions", {"messages": HI, "max_tokens": 2}, 200, "choices"),
        ("POST", "embed/embedding", {"content": "abc"}, 200, "embedding"),
        ("POST", "chat/slots/0?action=erase", {}, 404, "not_found"),
        ("POST", "chat/props", {}, 405, "method_not_allowed"),
        ("POST", "nobody/tokenize", {"content": "abc"}, 404, "model_not_found"),
    ],
)
def test_an_engines_own_routes(http, method, path, body, status, has):
    answer = http.request(method, f"/upstream/{path}", json=body)
    assert answer.status_code == status, answer.text
    assert has in answer.text


@pytest.mark.parametrize(
    "path", ["/api/tags", "/api/v1/models", "/v1/props", "/props", "/version", "/api/version", "/models"]
)
def test_nothing_is_where_others_have_their_fingerprints(http, path):
    assert http.get(path).status_code == 404


def test_a_websocket_that_the_engine_does_not_have_is_an_ordinary_error(http):
    offer = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    answer = http.get("/v1/realtime?model=chat", headers=offer)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, 404)
    answer = http.get("/v1/responses", headers=offer)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert http.get("/v1/models").status_code == 200


def test_what_the_engine_does_not_have_is_the_engines_own_answer(oai):
    with pytest.raises(openai.InternalServerError, match="audio"):
        oai.audio.transcriptions.create(model="chat", file=("a.wav", b"RIFF"))
    with pytest.raises(openai.NotFoundError):
        oai.images.generate(model="chat", prompt="a")


def test_everything_was_counted(box):
    """The last test of the file: what the others did is in the metrics."""
    count = "gpumod_gateway_requests_total"
    assert box.metric(count, service="chat", route="chat", outcome="ok") > 3
    assert box.metric(count, service="chat", route="messages", outcome="ok") == 2
    assert box.metric(count, service="embed", route="embeddings", outcome="ok") == 1
    assert box.metric(count, service="chat", key="narrow", outcome="ok") == 1
    assert box.metric(count, outcome="client_gone") == 0, "who has read the end mark has all"
    assert box.metric("gpumod_gateway_tokens_total", service="chat", kind="completion") > 40
    errors = "gpumod_gateway_errors_total"
    assert box.metric(errors, status="409", code="switch_needed") == 3
    assert box.metric(errors, status="401") == 4
    assert box.metric(errors, key="slow", status="429") == 1
    assert box.metric("gpumod_gateway_in_flight") == 0
    assert box.metric("gpumod_gateway_queue_depth") == 0
