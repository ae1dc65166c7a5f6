"""Which projector and which draft belong to which model."""

import pytest

from gpumod.core.spec import Task
from gpumod.discovery.pairing import pair
from gpumod.discovery.values import GgufKind
from tests.discovery.made import gguf

PROJECTOR, DRAFT = GgufKind.PROJECTOR, GgufKind.DRAFT


def paired(*found):
    """Each model's projector and draft by the models' names, and what is left over."""
    models, skipped = pair(found)
    names = {
        one.model.files.name: tuple(part and part.files.name for part in (one.projector, one.draft))
        for one in models
    }
    return names, {one.path: one.reason for one in skipped}


def test_a_projector_goes_to_every_quantisation_of_its_model():
    names, left = paired(
        gguf("/m/gemma-4-26B-Q4_K_XL.gguf", architecture="gemma4"),
        gguf("/m/gemma-4-26B-IQ4_XS.gguf", architecture="gemma4"),
        gguf("/m/mmproj-F16.gguf", PROJECTOR, projector="gemma4v"),
    )
    assert names == {
        "gemma-4-26B-Q4_K_XL": ("mmproj-F16", None),
        "gemma-4-26B-IQ4_XS": ("mmproj-F16", None),
    }
    assert left == {}


def test_in_one_folder_for_all_names_decide():
    names, left = paired(
        gguf("/m/gemma-4-26B-A4B-it-Q4_K_XL.gguf", architecture="gemma4", embedding=2816, blocks=30),
        gguf("/m/gemma-4-31B-it-Q4_K_XL.gguf", architecture="gemma4", embedding=2816, blocks=60),
        gguf("/m/gemma-4-26B-A4B-mmproj-BF16.gguf", PROJECTOR, embedding=2816, projector="gemma4v"),
        gguf("/m/gemma-4-31B-mmproj-BF16.gguf", PROJECTOR, embedding=2816, projector="gemma4v"),
    )
    assert names["gemma-4-26B-A4B-it-Q4_K_XL"][0] == "gemma-4-26B-A4B-mmproj-BF16"
    assert names["gemma-4-31B-it-Q4_K_XL"][0] == "gemma-4-31B-mmproj-BF16"
    assert left == {}


@pytest.mark.parametrize(
    "projector",
    [
        {"embedding": 2048},
        {"projector": "qwen2.5vl_merger"},
        {"path": "/elsewhere/mmproj-F16.gguf"},
    ],
)
def test_strangers_are_not_paired(projector):
    path = projector.pop("path", "/m/mmproj-F16.gguf")
    names, left = paired(gguf("/m/qwen-text.gguf", architecture="qwen2"), gguf(path, PROJECTOR, **projector))
    assert names == {"qwen-text": (None, None)}
    assert left == {path: "a projector without its model beside it"}


def test_a_nameless_projector_among_strangers_goes_to_nobody():
    names, _ = paired(
        gguf("/m/llama-3-8b.gguf", architecture="llama", blocks=32),
        gguf("/m/mistral-24b.gguf", architecture="mistral3", blocks=40),
        gguf("/m/mmproj-F16.gguf", PROJECTOR, projector="pixtral"),
    )
    assert set(names.values()) == {(None, None)}


def test_of_several_copies_the_one_with_16_bits_is_taken_and_the_others_are_told():
    names, left = paired(
        gguf("/m/a.gguf"),
        gguf("/m/mmproj-F32.gguf", PROJECTOR),
        gguf("/m/mmproj-BF16.gguf", PROJECTOR),
        gguf("/m/mmproj-Q8_0.gguf", PROJECTOR),
    )
    assert names == {"a": ("mmproj-BF16", None)}
    assert left["/m/mmproj-F32.gguf"] == "a projector; mmproj-BF16 beside it is used"
    assert set(left) == {"/m/mmproj-F32.gguf", "/m/mmproj-Q8_0.gguf"}


def test_a_projector_above_folders_of_sizes_is_found():
    names, _ = paired(gguf("/m/Q4/a-00001-of-00002.gguf"), gguf("/m/mmproj-F16.gguf", PROJECTOR))
    assert names["a-00001-of-00002"][0] == "mmproj-F16"


def test_revisions_of_a_repository_are_one_folder():
    names, _ = paired(
        gguf("/hub/models--o--m/snapshots/old/a.gguf"),
        gguf("/hub/models--o--m/snapshots/new/mmproj-F16.gguf", PROJECTOR),
    )
    assert names == {"a": ("mmproj-F16", None)}


def test_a_manifest_has_the_last_word():
    names, _ = paired(
        gguf("/o/blobs/sha256-1", projector_path="/o/blobs/sha256-2"),
        gguf("/o/blobs/sha256-2", PROJECTOR, embedding=7),
        gguf("/o/blobs/sha256-3", PROJECTOR),
    )
    assert names == {"sha256-1": ("sha256-2", None)}


def test_embedding_models_take_no_projector():
    names, _ = paired(gguf("/m/e.gguf", task=Task.EMBEDDING), gguf("/m/mmproj-F16.gguf", PROJECTOR))
    assert names == {"e": (None, None)}


def test_a_draft_speaks_its_models_vocabulary():
    names, left = paired(
        gguf("/m/qwen3-32b.gguf", size=20, vocabulary=151936),
        gguf("/m/qwen3-0.6b-draft.gguf", DRAFT, size=1, draft="model", vocabulary=151936 + 128),
        gguf("/m/llama-draft.gguf", DRAFT, size=1, draft="model", vocabulary=128256),
    )
    assert names == {"qwen3-32b": (None, "qwen3-0.6b-draft")}
    assert left == {"/m/llama-draft.gguf": "a draft model without its model beside it"}


@pytest.mark.parametrize(
    "draft", [{"tokenizer": "llama/default"}, {"vocabulary": None}, {"vocabulary": 32129}, {"size": 11}]
)
def test_what_could_not_draft_is_not_paired(draft):
    names, _ = paired(
        gguf("/m/a.gguf", size=20), gguf("/m/a-draft.gguf", DRAFT, **{"size": 1, "draft": "model", **draft})
    )
    assert names == {"a": (None, None)}


def test_a_head_in_a_file_of_its_own_reads_its_models_hidden_state():
    head = {"architecture": "gemma4-assistant", "embedding": 256, "target": 2816, "draft": "mtp"}
    names, _ = paired(
        gguf("/m/gemma-4-26b.gguf", architecture="gemma4", embedding=2816),
        gguf("/m/gemma-4-31b.gguf", architecture="gemma4", embedding=5376),
        gguf("/m/mtp-gemma-4.gguf", DRAFT, **head),
    )
    assert names == {"gemma-4-26b": (None, "mtp-gemma-4"), "gemma-4-31b": (None, None)}


def test_a_model_with_its_own_head_takes_no_draft():
    names, _ = paired(
        gguf("/m/a.gguf", size=20, mtp=True), gguf("/m/a-draft.gguf", DRAFT, size=1, draft="model")
    )
    assert names == {"a": (None, None)}
