"""What a result tells of what ran: captured from files, servers and the box."""

import json
from dataclasses import replace

import pytest

from gpumod.bench.worker.provenance import completed, provenance_of, with_context
from gpumod.bench.worker.targets import Aim
from gpumod.bench.worker.weights import weights_of
from gpumod.core.job_ports import Endpoint
from gpumod.core.names import ServiceId
from gpumod.testing.gguf import TINY, write_gguf
from gpumod.testing.shapes.builder import Model
from tests.store.samples import LAUNCH, desired, service


async def test_a_result_tells_the_box_as_it_was(make_bench):
    bench = await make_bench()
    bench.pages["/props"] = '{"default_generation_settings": {"n_ctx": 12288}}'
    job = await bench.ended(await bench.submit("qwen"))
    (result,) = await bench.queue.results(job.id)
    told = result.provenance
    (card,) = told["cards"]
    assert "power_limit_watts" in card
    (service,) = told["services"]
    assert service["context"] in {12288, bench.box.catalog.preset("qwen").context}
    end = told["host_load_at_end"]
    assert end["load_max"] >= end["load"][0] > -1
    json.dumps(told)


async def test_secrets_of_a_command_line_are_not_even_kept(make_bench):
    bench = await make_bench()
    argv = ("env", "HF_TOKEN=a", "vllm", "serve", "--api-key", "b", "--hf-token=c", "--port", "1")
    started = replace(service(), launch=replace(LAUNCH, argv=argv))
    status = replace(await bench.box.supervisor.status(), services=(started,))
    told = provenance_of(Aim("chat", desired(), ServiceId("chat"), frozenset({ServiceId("chat")})), status)
    (kept,) = json.loads(json.dumps(told))["services"]
    assert kept["argv"] == [
        "env", "HF_TOKEN=***", "vllm", "serve", "--api-key", "***", "--hf-token=***", "--port", "1",
    ]  # fmt: skip


async def pages(answers, endpoint):
    async def page(endpoint, path):
        return answers.get(path, "")

    return (await with_context(endpoint, page)).context


LLAMA = Endpoint("qwen", "http://127.0.0.1:1", "qwen", "llama.cpp")
VLLM = Endpoint("qwen", "http://127.0.0.1:1", "qwen", "vllm")


@pytest.mark.parametrize(
    ("endpoint", "path", "text", "context"),
    [
        (LLAMA, "/props", '{"default_generation_settings": {"n_ctx": 8192}}', 8192),
        (LLAMA, "/props", "", None),
        (LLAMA, "/props", "no JSON", None),
        (LLAMA, "/props", '{"default_generation_settings": {"n_ctx": "many"}}', None),
        (VLLM, "/v1/models", '{"data": [{"id": "qwen", "max_model_len": 4096}]}', 4096),
        (VLLM, "/v1/models", '{"data": []}', None),
        (Endpoint("q", "http://127.0.0.1:1", "q", "llama.cpp", 2048), "/props", "", 2048),
    ],
)
async def test_the_context_that_a_preset_leaves_open_is_the_servers(endpoint, path, text, context):
    assert await pages({path: text}, endpoint) == context


async def test_the_quantisation_is_the_files_own(tmp_path):
    path = write_gguf(tmp_path / "named-Q8_0.gguf", replace(TINY, dtype="f16"))
    told = weights_of(str(path))
    assert told["quant"] == "F16"
    norms = 5 * 64 * 4
    assert told["weights"] == {"F16": 2 * 2 * (4 * 64**2 + 3 * 64 * 256) + 2 * 2 * 64 * 512, "F32": norms}
    services = [{"id": "qwen", "context": None, "files": [{"path": str(path), "size": 1}]}]
    (service,) = await completed(services, "qwen", 4096)
    assert (service["context"], service["files"]) == (4096, [{"path": str(path), "size": 1, **told}])
    assert services[0]["files"] == [{"path": str(path), "size": 1}], "what is compared later stays as it is"


async def test_a_split_model_is_told_at_its_first_part(tmp_path):
    model = Model("llama", metadata={"general.file_type": 15})
    model.add("blk.0.ffn_up", 256, 512)
    model.add("blk.0.ffn_down", 256, 512, type="q6_k")
    model.add("blk.0.norm", 256)
    first = model.write(tmp_path / "big.gguf", parts=2)
    sizes = {"Q6_K": 512 * 210, "Q4_K": 512 * 144, "F32": 256 * 4}
    assert weights_of(str(first)) == {"quant": "Q4_K_M", "weights": sizes}
    assert weights_of(str(first).replace("00001-of", "00002-of")) == {}


@pytest.mark.parametrize("name", ["gone.gguf", "gone.safetensors", "weights.bin"])
def test_a_file_that_says_nothing_is_told_without(tmp_path, name):
    assert weights_of(str(tmp_path / name)) == {}
    (tmp_path / "cut.gguf").write_bytes(b"GGUF")
    assert weights_of(str(tmp_path / "cut.gguf")) == {}
