"""Plays the calls of Hermes Agent's client (NousResearch/hermes-agent, agent/model_metadata.py)."""

import json

import httpx2
import pytest

from tests.e2e.gateway_box import CONTEXT, HI, TOOLS
from tests.e2e.real_box import PATIENCE

pytest.importorskip("xllamacpp", reason="the embedded extra is not installed")

pytestmark = pytest.mark.shared_processes

MINIMUM = 64_000
"""Tokens of context below which Hermes Agent refuses a model."""


@pytest.fixture(scope="module")
def box(make_gateway_box):
    """An agent's key, and two modes that its requests switch between."""
    box = make_gateway_box()
    box.two_modes()
    box.key("hermes", "hermes-key")
    box.start()
    with box.client() as client:
        client.switch("small")
    return box


@pytest.fixture
def http(box):
    with box.http("hermes-key") as client:
        yield client


@pytest.fixture
def agent(box):
    with box.openai("hermes-key") as client:
        yield client


def product(http):
    """Which product it takes a local server for; each of these has a route of its own for the context."""
    if http.get("/api/v1/models").status_code == 200:
        return "LM Studio"
    tags = http.get("/api/tags")
    if tags.status_code == 200 and "models" in tags.json():
        return "Ollama"
    for path in ("/v1/props", "/props"):
        props = http.get(path)
        if props.status_code == 200:
            return "llama.cpp" if "default_generation_settings" in props.text else ""
    version = http.get("/version")
    return "vLLM" if version.status_code == 200 and "version" in version.json() else ""


def test_it_takes_the_gateway_for_no_product_and_reads_the_list(http):
    assert product(http) == ""
    assert http.post("/api/show", json={"name": "chat"}).status_code == 404
    models = {model["id"]: model for model in http.get("/v1/models").json()["data"]}
    assert "llamacpp" not in {model["owned_by"] for model in models.values()}, "it would look for /props"
    usable = {name for name, model in models.items() if model["context_length"] >= MINIMUM}
    assert usable == {"chat", "default", "fast", "handy", "assistant", "code", "smart"}
    assert models["embed"]["context_length"] == 512


@pytest.mark.parametrize("model", ["chat", "smart"])
def test_the_context_of_one_model_is_what_its_engine_gives_a_request(http, model):
    """It asks for the model by its name, where the list did not tell."""
    found = http.get(f"/v1/models/{model}").json()
    assert found["context_length"] == CONTEXT
    if model == "chat":
        props = http.get("/upstream/chat/props").json()
        assert props["default_generation_settings"]["n_ctx"] == CONTEXT


def test_an_address_without_v1_is_found_by_its_second_try(box, http):
    assert http.get("/models").status_code == 404
    assert http.get("/v1/models").status_code == 200
    with httpx2.Client(base_url=box.url, timeout=PATIENCE, trust_env=False) as stranger:
        assert stranger.get("/v1/models").status_code == 401, "it stops trying at 401 and 403"


def test_with_anthropics_messages_it_reads_their_list(box):
    headers = {"x-api-key": "hermes-key", "anthropic-version": "2023-06-01"}
    with httpx2.Client(base_url=box.url, headers=headers, timeout=PATIENCE, trust_env=False) as client:
        models = client.get("/v1/models?limit=1000").json()["data"]
    assert {model["id"]: model["max_input_tokens"] for model in models}["smart"] == CONTEXT


def turn(agent, model, messages):
    """One turn as it streams it: text, calls put together from their parts, why it ended, and the usage."""
    calls: dict[int, dict[str, str]] = {}
    text, reason, usage = "", None, None
    for chunk in agent.chat.completions.create(
        model=model,
        messages=messages,
        tools=TOOLS,
        stream=True,
        stream_options={"include_usage": True},
        max_tokens=120,
    ):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reason = choice.finish_reason or reason
            for part in choice.delta.tool_calls or ():
                call = calls.setdefault(part.index, {"id": "", "name": "", "arguments": ""})
                call["id"] = part.id or call["id"]
                call["name"] += part.function.name or ""
                call["arguments"] += part.function.arguments or ""
    return text, list(calls.values()), reason, usage


def test_a_turn_calls_a_tool_in_a_stream_and_the_next_one_goes_on_by_another_name(box, agent):
    """The route `handy` makes a model of random weights call a tool; `smart` is in another mode."""
    _, calls, reason, usage = turn(agent, "handy", HI)
    assert calls[0]["name"] == "light"
    assert set(json.loads(calls[0]["arguments"])) == {"on"}
    assert reason in {"tool_calls", "length"}
    assert usage.prompt_tokens > 100, "the tools are in the prompt"
    function = {"name": "light", "arguments": calls[0]["arguments"]}
    messages = [
        *HI,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": calls[0]["id"], "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": calls[0]["id"], "content": "the light is on"},
    ]
    for model in ("chat", "smart"):
        text, calls, reason, usage = turn(agent, model, messages)
        assert (bool(text), calls, reason, usage.completion_tokens) == (True, [], "length", 120)
    assert box.metric("gpumod_gateway_requests_total", service="code", key="hermes", outcome="ok") == 1


def test_side_jobs_take_the_fast_name_and_do_not_stream(agent):
    answer = agent.chat.completions.create(model="fast", messages=HI)
    assert (answer.model, answer.usage.completion_tokens) == ("chat", 3)
