"""`init` on a box with NVIDIA cards, with files that have the shapes of real models."""

import json
import os
from dataclasses import replace

import pytest

from gpumod.config.catalog import check_files
from gpumod.core.cards import CardModel
from gpumod.core.spec import Task
from gpumod.discovery import Request, initialise
from gpumod.estimate import ModelFootprints
from gpumod.testing.hf import HfShape, write_hf
from gpumod.testing.shapes import write_shape
from tests.nvml.standin import GIB, MIB, card

_SERVER = """#!/bin/sh
case "$1" in
--version) echo 'version: 7000 (abc)' >&2 ;;
--help)
  printf '%s\\n' '--port N' '--ctx-size N' '--alias A' '--no-kv-unified' '--flash-attn on, off or auto'
  printf '%s\\n' '--spec-type none,draft-simple,draft-mtp' ;;
esac
"""

_CARD = CardModel("NVIDIA GeForce RTX 3090", 24 * GIB)
_ROOM = 24 * GIB - 512 * MIB
_TRAINED = {"llama31-8b": 131072, "qwen25-32b": 131072, "qwen3-30b-a3b": 40960, "gptoss-20b": 131072}


class Setup:
    """A home, a folder of models, engines that tell their builds, and cards."""

    def __init__(self, root, cards):
        self.home, self.models, self.cards = root / "home", root / "models", cards
        self._bin = root / "bin"
        for folder in (self.home, self.models, self._bin):
            folder.mkdir()
        self.engine("llama-server", _SERVER)
        (self._bin / "libggml-cuda.so").touch()

    def engine(self, name, text):
        (self._bin / name).write_text(text)
        (self._bin / name).chmod(0o755)

    def init(self, **options):
        env = {"HOME": str(self.home), "PATH": f"{self._bin}:/usr/bin:/bin", "GPUMOD_CARDS": "nvidia"}
        report = initialise(Request(folders=(str(self.models),), **options), env, lambda _: None)
        _, catalog, problems = check_files(None, env)
        assert [one for one in problems if not one.warning] == []
        return report, {str(spec.preset): spec for spec in catalog.presets}


@pytest.fixture
def box(tmp_path, nvml_here):
    """One card of 24 GiB."""
    nvml_here.set_cards([card(0)])
    return Setup(tmp_path, nvml_here)


def test_every_model_that_fits_gets_as_much_context_as_its_card_allows(box):
    for name in _TRAINED:
        write_shape(name, box.models / f"{name}.gguf")
    report, presets = box.init()
    assert set(presets) == set(_TRAINED)
    for model in report.models:
        spec = presets[model.preset]
        assert max(model.cards) <= _ROOM
        assert spec.context == model.context >= 32768
        more = ModelFootprints().footprint(replace(spec, context=2 * model.context), 1, _CARD)
        assert model.context == _TRAINED[model.preset] or more.cards[0] > _ROOM
    assert report.mode == "main"
    assert report.notes == ()


def test_a_model_for_two_cards_is_told_so_and_one_for_one_is_not(box):
    box.cards.set_cards([card(0), card(1)])
    write_shape("llama33-70b", box.models / "llama33-70b.gguf")
    write_shape("llama31-8b", box.models / "llama31-8b.gguf")
    _, presets = box.init()
    assert presets["llama33-70b"].cards.count == 2
    assert presets["llama31-8b"].cards.count == 1


def test_a_projector_goes_to_its_model_and_is_counted(box):
    write_shape("gemma3-4b", box.models / "gemma-3-4b-it-Q4_K_M.gguf")
    write_shape("gemma3-4b-projector", box.models / "mmproj-F16.gguf")
    write_shape("nomic-embed", box.models / "nomic-embed-text-v1.5.gguf")
    _, presets = box.init()
    assert {name: (spec.mmproj or "").rpartition("/")[2] for name, spec in presets.items()} == {
        "gemma-3-4b-it-q4_k_m": "mmproj-F16.gguf",
        "nomic-embed-text-v1.5": "",
    }
    embed = presets["nomic-embed-text-v1.5"]
    assert (embed.task, embed.context, embed.llama.ubatch) == (Task.EMBEDDING, 2048, 2048)
    parts = ModelFootprints().footprint(presets["gemma-3-4b-it-q4_k_m"], 1, _CARD).parts
    assert any(part.name == "projector" and part.size for part in parts)


def test_a_model_that_fits_nowhere_is_told_with_numbers(box):
    write_shape("llama33-70b", box.models / "llama33-70b.gguf")
    report, presets = box.init()
    assert presets == {}
    (skipped,) = report.skipped
    assert " with a context of 1024; there is 23.5 GiB" in skipped.reason


def test_its_own_layer_for_drafting_is_used_where_llama_cpp_can(box):
    write_shape("qwen35-9b", box.models / "qwen35-9b.gguf")
    _, presets = box.init()
    assert presets["qwen35-9b"].draft.type == "mtp"
    box.engine("llama-server", _SERVER.replace(",draft-mtp", ""))
    for path in (box.home / ".config/gpumod/presets").iterdir():
        path.unlink()
    _, presets = box.init()
    assert presets["qwen35-9b"].draft is None


def test_what_holds_the_card_now_is_told_and_not_counted(box):
    write_shape("llama31-8b", box.models / "llama31-8b.gguf")
    box.cards.hold(os.getpid(), 0, 20 * GIB)
    report, _ = box.init(dry_run=True)
    assert max(report.models[0].cards) > 4 * GIB
    (note,) = report.notes
    assert note.startswith("20.0 GiB of card 0 are held by")
    assert str(os.getpid()) in note


def test_a_llama_cpp_that_cannot_use_the_cards_is_told(box):
    (box.home.parent / "bin/libggml-cuda.so").unlink()
    write_shape("llama31-8b", box.models / "llama31-8b.gguf")
    report, _ = box.init()
    assert any("without CUDA" in note for note in report.notes)


def test_a_checkpoint_gets_a_share_of_the_card_where_there_is_vllm(box):
    folder = write_hf(box.models / "Small-Chat")
    embed = write_hf(box.models / "Small-Embedding")
    (embed / "modules.json").write_text("[]")
    report, presets = box.init()
    assert {one.reason.partition(":")[0] for one in report.skipped} == {"no vLLM was found"}
    box.engine("vllm", "#!/bin/sh\n")
    _, presets = box.init()
    chat, small = presets["small-chat"], presets["small-embedding"]
    assert (chat.model, chat.task, small.task) == (str(folder), Task.CHAT, Task.EMBEDDING)
    assert chat.context == json.loads((folder / "config.json").read_text())["max_position_embeddings"]
    assert 0.8 < chat.vllm.gpu_memory_utilization <= 0.92
    assert small.vllm.gpu_memory_utilization < 0.5
    assert small.context == chat.context


def test_what_vllm_gets_holds_a_request_of_the_whole_context(box):
    box.engine("vllm", "#!/bin/sh\n")
    for name in ("Small-Chat", "Small-Embedding"):
        write_hf(box.models / name, HfShape(layers=24, hidden=128, context=65536))
    _, presets = box.init()
    for spec in presets.values():
        pool = ModelFootprints().footprint(spec, 1, _CARD).pool
        assert pool is not None
        assert pool.largest_context >= spec.context
