"""llama.cpp itself behind the gateway, and how it leaves."""

from __future__ import annotations

import asyncio
import json

import pytest

from gpumod.core.names import ServiceId
from gpumod.core.plan import StepKind
from gpumod.core.switch import SwitchRecord
from gpumod.testing.gguf import TINY, write_gguf
from tests.e2e.conftest import boxes
from tests.gateway.load.plane import plane

pytest.importorskip("xllamacpp", reason="the embedded extra is not installed")

pytestmark = pytest.mark.shared_processes


@pytest.fixture
def box():
    """A mode of a tiny model."""
    with boxes() as make:
        made = make()
        model = made.root / "tiny.gguf"
        write_gguf(model, TINY)
        made.write(
            "presets/tiny.yaml",
            f"{{id: tiny, engine: llama.cpp, binary: embedded, model: {model}, context: 1024, slots: 2, "
            "vram: 400MiB, llama: {threads: 1}, stop_grace: 20s, drain: {deadline: 60s}, "
            f'env: {{TEST_BOX: "{made.root}/"}}}}',
        )
        made.mode("tiny", "tiny")
        yield made


async def exchange(port: int, body: dict[str, object]) -> bytes:
    """One request on a connection of its own; all that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], **body}).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def step(record: SwitchRecord, kind: StepKind) -> str:
    """What a step of a switch says of itself."""
    return next(one.detail for one in record.steps if one.kind is kind)


async def test_llama_cpp_leaves_at_once_although_connections_to_it_were_kept(box):
    async with plane(box) as live:
        await live.switch("tiny")
        front = live.gateway._front
        assert front is not None
        answers = await asyncio.gather(*(exchange(live.port, {"max_tokens": 4}) for _ in range(2)))
        assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
        assert front.pool.idle
        record = await live.switch("blank")
        assert "(signal 15)" in step(record, StepKind.STOP)
        assert front.pool.idle == 0


async def test_a_stream_of_llama_cpp_is_finished_before_it_is_told_to_end(box):
    async with plane(box) as live:
        await live.switch("tiny")
        asked = asyncio.create_task(exchange(live.port, {"max_tokens": 200, "stream": True}))
        await live.until("the stream runs", lambda: live.gate.in_flight(ServiceId("tiny")) == 1)
        record = await live.switch("blank")
        answer = await asked
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"data: [DONE]" in answer
        assert b'"error"' not in answer
        assert "(signal 15)" in step(record, StepKind.STOP)
        await live.assert_quiet()
