"""The presets and modes that come with gpumod."""

from pathlib import Path

import pytest

from gpumod.config.documents import read_document
from gpumod.config.sources import shipped_files
from gpumod.core.names import ModeId, PresetId
from gpumod.core.spec import EngineKind, Task

PRESETS = {
    "gemma4-26b-a4b-qat-q4",
    "gemma4-26b-a4b-q4",
    "gemma4-26b-a4b-q4-multi",
    "qwen36-35b-a3b-mtp-iq4xs-preserve",
    "qwen36-35b-a3b-mtp-iq4xs",
    "qwen35-35b-a3b-heretic-mtp-q3kl-preserve",
    "qwen36-27b-autoround-int4-tp2",
    "qwen36-35b-a3b-awq-tp2",
    "embedding-code",
}
MODES = {"hermes-agent", "code", "chat", "big"}


@pytest.fixture
def catalog(folder):
    """Everything shipped, in use."""
    folder.write(
        "config.yaml",
        f"vars: {{MODELS: /models}}\npresets: [{', '.join(PRESETS)}]\nmodes: [{', '.join(MODES)}]\n",
    )
    return folder.catalog()


def test_the_lists_are_complete():
    assert set(shipped_files("presets")) == PRESETS
    assert set(shipped_files("modes")) == MODES


def test_all_load_without_a_word(catalog):
    assert catalog.problems == ()
    assert catalog.disabled == ()
    assert {spec.preset for spec in catalog.presets} == PRESETS
    assert {mode.id for mode in catalog.modes} == MODES | {"blank"}


def test_every_file_is_named_after_its_id():
    for name, path in (shipped_files("presets") | shipped_files("modes")).items():
        value = read_document(path).value
        assert isinstance(value, dict)
        assert value["id"] == name


def test_services_of_modes_are_shipped_presets_with_a_default_route(catalog):
    for name in MODES:
        mode = catalog.mode(ModeId(name))
        assert mode.services
        assert mode.description
        assert all(spec.preset in PRESETS for spec in mode.services)
        assert "default" in dict(mode.routes)


def test_models_are_found_by_variable_and_nothing_secret_is_in_them():
    for path in shipped_files("presets").values():
        text = path.read_text()
        assert "model: ${MODELS}/" in text
        assert not any(word in text.lower() for word in ("token:", "api-key", "password", "/home/"))


def test_what_the_rigs_run(catalog):
    def preset(name):
        return catalog.preset(PresetId(name))

    for name in PRESETS - {"embedding-code"}:
        spec = preset(name)
        assert spec.context
        assert spec.slots
        assert spec.sampler
    assert preset("gemma4-26b-a4b-q4-multi").slots == 3
    assert preset("gemma4-26b-a4b-qat-q4").mmproj
    for name in PRESETS:
        if "mtp" in name:
            assert (preset(name).draft.type, preset(name).draft.n_max) == ("mtp", 2)
        if name.endswith("preserve"):
            assert '{"preserve_thinking": true}' in preset(name).args
    for name, slots in (("qwen36-27b-autoround-int4-tp2", 4), ("qwen36-35b-a3b-awq-tp2", 16)):
        spec = preset(name)
        assert (spec.engine, spec.cards.count, spec.slots, spec.context) == (
            EngineKind.VLLM,
            2,
            slots,
            262144,
        )
        assert (spec.vllm.gpu_memory_utilization, spec.vllm.kv_cache_dtype) == (0.92, "fp8_e5m2")
        assert (spec.vllm.max_num_batched_tokens, spec.vllm.mamba_cache_mode) == (8192, "align")
    assert preset("qwen36-27b-autoround-int4-tp2").draft.n_max == 3
    embedding = preset("embedding-code")
    assert (embedding.task, embedding.vllm.gpu_memory_utilization) == (Task.EMBEDDING, 0.085)


def test_templates_are_inactive_until_they_are_named(folder):
    catalog = folder.catalog()
    assert catalog.presets == ()
    assert [mode.id for mode in catalog.modes] == ["blank"]


def test_a_mode_of_the_users_brings_the_presets_that_it_names(folder):
    folder.write("config.yaml", "vars: {MODELS: /models}\n")
    folder.mode("m", "id: m\nservices: [{id: e, preset: embedding-code}]\n")
    catalog = folder.catalog()
    assert [spec.preset for spec in catalog.presets] == ["embedding-code"]
    assert [mode.id for mode in catalog.modes] == ["blank", "m"]


def test_a_listed_mode_brings_its_presets(folder):
    folder.write("config.yaml", "vars: {MODELS: /models}\nmodes: [code]\n")
    assert [spec.preset for spec in folder.catalog().presets] == ["qwen36-35b-a3b-mtp-iq4xs-preserve"]


def test_a_file_of_the_users_comes_first_even_a_bad_one(folder):
    folder.write("config.yaml", "vars: {MODELS: /models}\nmodes: [code]\n")
    folder.preset("mine", "id: qwen36-35b-a3b-mtp-iq4xs-preserve\nengine: vllm\nmodel: mine\n")
    (spec,) = folder.catalog().mode(ModeId("code")).services
    assert spec.model == "mine"
    folder.preset("mine", "id: qwen36-35b-a3b-mtp-iq4xs-preserve\nengine: vllm\n")
    assert folder.catalog().mode(ModeId("code")) is None


def test_a_template_whose_variable_has_no_value_says_which(folder):
    folder.write("config.yaml", "modes: [code]\n")
    problem = folder.catalog().problems[-1]
    assert Path(problem.file).name == "qwen36-35b-a3b-mtp-iq4xs-preserve.yaml"
    assert problem.detail == "${MODELS} has no value"


def test_a_near_miss_of_a_template_is_suggested(folder):
    folder.mode("m", "id: m\nservices: [embedding-cod]\n")
    assert folder.problem().suggestion == "did you mean 'embedding-code'?"
