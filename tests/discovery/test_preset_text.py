"""What is written is read back as what was meant."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpumod.config.catalog import load_catalog
from gpumod.config.settings import Settings
from gpumod.config.variables import Variables
from gpumod.core.footprint import Footprint, Part, Source
from gpumod.core.names import PresetId, ServiceId
from gpumod.core.spec import (
    CardRequest,
    Draft,
    EngineKind,
    KvCache,
    LlamaOptions,
    ServiceSpec,
    Task,
    VllmOptions,
)
from gpumod.core.units import GIB
from gpumod.discovery.marks import is_ours, marked
from gpumod.discovery.preset_text import mode_text, preset_text, with_variables
from gpumod.discovery.presets import new_id, preset
from gpumod.discovery.sizing import Sized, Subject
from tests.discovery.made import BIG

FOOTPRINT = Footprint(
    (20 * GIB,),
    Source.ESTIMATED,
    resident=GIB,
    parts=(Part("KV cache", (4 * GIB,)), Part("weights", (16 * GIB,)), Part("projector", (0,))),
)
VARIABLES = {"MODELS": "/srv/models", "DEEP": "/srv/models/deep/"}


def file_of(spec, *, limit=131072, before=None, warnings=()):
    sized = Sized(spec, FOOTPRINT, BIG, 23 * GIB, limit, warnings)
    return preset_text(preset(Subject(before or spec, limit), sized, "Some model", 15 * GIB), VARIABLES)


def read_back(text, folder=Path("/config")):
    config = Settings(folder, folder, folder, folder / "s", variables=Variables(VARIABLES, {}))
    return load_catalog(config, {folder / "presets/a.yaml": text})


def service(engine=EngineKind.LLAMA_CPP, **keys):
    given = {"model": "/srv/models/m.gguf", "context": 131072, "slots": 1, **keys}
    return ServiceSpec(ServiceId("a"), PresetId("a"), engine, **given)


PATHS = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"))
    | st.sampled_from(" #:'\"{}[]&*!|>%@`,?-\\$~"),
    min_size=1,
    max_size=40,
).map(lambda text: f"/{text.strip() or 'x'}")


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    path=st.one_of(
        PATHS, PATHS.map(lambda path: f"/srv/models{path}"), PATHS.map(lambda path: f"/a${{X}}{path}")
    ),
    mmproj=st.none() | PATHS,
    task=st.sampled_from([Task.CHAT, Task.COMPLETION, Task.EMBEDDING, Task.RERANK]),
    draft=st.none() | st.just(Draft("mtp", n_max=2)) | PATHS.map(lambda path: Draft("model", path)),
    cards=st.integers(1, 8),
    llama=st.builds(
        LlamaOptions, cpu_moe_layers=st.none() | st.integers(1, 90), ubatch=st.none() | st.just(512)
    ),
    small=st.booleans(),
)
def test_a_preset_means_what_it_was_made_of(path, mmproj, task, draft, cards, llama, small):
    kv_cache = KvCache("q8_0", "q8_0") if small else None
    spec = service(
        model=path,
        mmproj=mmproj,
        task=task,
        draft=draft,
        cards=CardRequest(cards),
        llama=llama,
        kv_cache=kv_cache,
    )
    catalog = read_back(file_of(spec))
    assert catalog.problems == ()
    assert catalog.presets == (spec,)


def test_a_preset_of_vllm_too():
    spec = service(EngineKind.VLLM, model="/srv/models/Q", vllm=VllmOptions(gpu_memory_utilization=0.85))
    assert read_back(file_of(spec)).presets == (spec,)


def test_numbers_are_told_where_they_come_from():
    text = file_of(service(context=65536, kv_cache=KvCache("q8_0", "q8_0")), warnings=("slow here",))
    head, context = text.splitlines()[:4], next(line for line in text.splitlines() if "context:" in line)
    assert head[0] == "# Some model, 15.0 GiB on disk."
    assert "20.0 GiB of the 23.0 GiB that can be had on RTX 4090, and 1024 MiB of the host's memory" in text
    assert "weights 16.0 GiB, KV cache 4096 MiB)" in " ".join(text.split()).replace("# ", "")
    assert "# Mind: slow here" in text
    assert context.endswith(
        "# tokens; the largest power of two that fits, of 131072 that the model was trained on"
    )
    assert "all that the model was trained on" in file_of(service())
    assert "with f16, less context would fit" in text


def test_a_draft_that_was_left_out_is_told():
    assert "Without its draft" in file_of(service(), before=service(draft=Draft("mtp")))


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("/srv/models/a/b.gguf", "${MODELS}/a/b.gguf"),
        ("/srv/models/deep/b.gguf", "${DEEP}/b.gguf"),
        ("/srv/modelsaurus/b.gguf", "/srv/modelsaurus/b.gguf"),
        ("/srv/models/${X}.gguf", "${MODELS}/$${X}.gguf"),
    ],
)
def test_folders_are_told_by_their_variables(path, written):
    assert with_variables(path, VARIABLES) == written


@pytest.mark.parametrize(
    ("name", "taken", "made"),
    [
        ("Qwen3.6-35B-A3B-UD-IQ4_XS", (), "qwen3.6-35b-a3b-ud-iq4_xs"),
        ("__My Model (v2)!", (), "my-model-v2"),
        ("語", (), "model"),
        ("a", ("a", "a-2"), "a-3"),
        ("x" * 80, ("x" * 63,), "x" * 61 + "-2"),
    ],
)
def test_ids(name, taken, made):
    assert new_id(name, taken) == made


def test_a_mode_is_read_back():
    text = mode_text("main", "What: init # found", ["a"], "a", ["about"])
    folder = Path("/config")
    config = Settings(folder, folder, folder, folder / "s", variables=Variables(VARIABLES, {}))
    texts = {folder / "presets/a.yaml": file_of(service()), folder / "modes/main.yaml": text}
    catalog = load_catalog(config, texts)
    assert catalog.problems == ()
    _, mode = catalog.modes
    assert (mode.description, [one.id for one in mode.services]) == ("What: init # found", ["a"])


def test_a_file_is_ours_until_anything_in_it_changes():
    text = marked("id: a\ncontext: 4096\n")
    assert is_ours(text)
    assert not is_ours(text.replace("4096", "8192"))
    assert not is_ours(text + "# mine\n")
    assert not is_ours(text.partition("\n")[2])
    assert not is_ours("")
