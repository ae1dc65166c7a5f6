from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from gpumod.estimate.errors import ModelFileError
from gpumod.estimate.vllm import checkpoint_files, find_model, read_checkpoint
from tests.estimate.vllm import models
from tests.estimate.vllm.models import write_safetensors

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def folder(path: Path, config: dict[str, Any] = models.LLAMA_8B) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    return path


def layers(count: int, *, start: int = 0) -> dict[str, tuple[str, list[int], int]]:
    return {f"model.layers.{start + n}.mlp.up_proj.weight": ("BF16", [8, 4], 64) for n in range(count)}


def test_tensors_of_equal_layers_are_counted_together(tmp_path: Path) -> None:
    write_safetensors(folder(tmp_path) / "model.safetensors", layers(32))
    found = read_checkpoint(str(tmp_path))
    (group,) = found.tensors
    assert (group.name, group.shape, group.count) == ("model.layers.#.mlp.up_proj.weight", (8, 4), 32)
    assert found.size == 32 * 64
    assert not found.has_drafter


def test_an_index_names_the_shards_and_the_missing_ones_are_counted(tmp_path: Path) -> None:
    names = [f"model-0000{part}-of-00002.safetensors" for part in (1, 2)]
    write_safetensors(folder(tmp_path) / names[0], layers(16))
    (tmp_path / "consolidated.safetensors").write_bytes(b"not in the index, so not read")
    index = {"metadata": {"total_size": 2048}, "weight_map": {"a": names[0], "b": names[1]}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    found = read_checkpoint(str(tmp_path))
    assert found.missing == (names[1],)
    assert found.size == 2048
    assert [Path(file).name for file, _ in found.files] == [names[0]]


@pytest.mark.parametrize(
    "index",
    [{}, {"weight_map": []}, {"weight_map": {"a": "../../etc/passwd"}}, {"weight_map": {"a": "/etc/passwd"}}],
)
def test_an_index_that_names_other_places(tmp_path: Path, index: dict[str, Any]) -> None:
    (folder(tmp_path) / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelFileError, match="weight_map"):
        read_checkpoint(str(tmp_path))


def test_layers_beyond_the_models_own_are_its_draft_module(tmp_path: Path) -> None:
    write_safetensors(folder(tmp_path) / "model.safetensors", layers(2, start=31))
    found = read_checkpoint(str(tmp_path))
    assert {group.name.startswith("mtp."): group.count for group in found.tensors} == {False: 1, True: 1}
    assert found.has_drafter


@pytest.mark.parametrize("module", ["model.mtp.fc", "model.mtp_layers.0.input_proj", "model.mtp_block.0.up"])
def test_a_draft_module_with_a_name_of_its_own(tmp_path: Path, module: str) -> None:
    write_safetensors(
        folder(tmp_path, models.QWEN36_27B) / "model.safetensors",
        {f"{module}.weight": ("BF16", [2, 2], 8)},
    )
    assert read_checkpoint(str(tmp_path)).has_drafter


def test_whether_files_that_were_not_read_have_a_draft_module_is_not_known(tmp_path: Path) -> None:
    (folder(tmp_path, models.QWEN36_27B) / "pytorch_model.bin").write_bytes(b"pickled")
    assert read_checkpoint(str(tmp_path)).has_drafter


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "model.safetensors.index.json"])
def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(tmp_path: Path, name: str) -> None:
    write_safetensors(folder(tmp_path) / "model.safetensors", layers(2))
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    if name == "config.json":
        with pytest.raises(ModelFileError, match="pipe"):
            read_checkpoint(str(tmp_path))
    else:
        # What is not a file is no weights and no index.
        assert read_checkpoint(str(tmp_path)).path == str(tmp_path)


@pytest.mark.parametrize(
    "config",
    [models.LLAMA_8B | {"num_hidden_layers": None, "n_layers": 32}, {"model_type": "t5", "d_model": 8}],
)
def test_a_configuration_of_other_words_is_not_a_broken_file(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError, match="does not know") as caught:
        read_checkpoint(str(folder(tmp_path, config)))
    assert not caught.value.broken


def test_mistrals_own_format_is_not_a_broken_file(tmp_path: Path) -> None:
    (tmp_path / "params.json").write_text("{}")
    with pytest.raises(ModelFileError, match="Mistral") as caught:
        read_checkpoint(str(tmp_path))
    assert not caught.value.broken


def test_a_type_of_tensors_that_is_new_is_not_a_broken_file(tmp_path: Path) -> None:
    write_safetensors(folder(tmp_path) / "model.safetensors", {"a": ("F2_E1", [8, 4], 8)})
    with pytest.raises(ModelFileError, match="F2_E1") as caught:
        read_checkpoint(str(tmp_path))
    assert not caught.value.broken


def test_a_single_gguf_is_not_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError) as caught:
        read_checkpoint(str(tmp_path / "m.gguf"))
    assert not caught.value.broken


def test_a_draft_module_that_the_files_do_not_have(tmp_path: Path) -> None:
    write_safetensors(folder(tmp_path, models.QWEN36_27B) / "model.safetensors", layers(2))
    assert not read_checkpoint(str(tmp_path)).has_drafter


def test_pickled_weights_count_by_their_size(tmp_path: Path) -> None:
    (folder(tmp_path) / "pytorch_model.bin").write_bytes(b"x" * 1000)
    assert read_checkpoint(str(tmp_path)).size == 1000


def test_a_configuration_alone_is_enough(tmp_path: Path) -> None:
    found = read_checkpoint(str(folder(tmp_path)))
    assert found.tensors == ()
    assert found.model.layers == 32


@pytest.mark.parametrize("name", ["/nowhere/at/all", "org/model", "../x", "a/../b", "org/model/extra", ""])
def test_no_such_model(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelFileError, match="no folder on this box"):
        read_checkpoint(name, [tmp_path])


def test_the_files_that_a_reading_depends_on(tmp_path: Path) -> None:
    write_safetensors(folder(tmp_path) / "model.safetensors", layers(1))
    assert [Path(file).name for file in checkpoint_files(str(tmp_path))] == [
        "config.json",
        "params.json",
        "model.safetensors",
    ]


@pytest.mark.parametrize("below", ["", "hub"])
def test_a_model_of_the_hub_by_its_name(tmp_path: Path, below: str) -> None:
    root = tmp_path / below / "models--org--Model-1.5"
    snapshot = folder(root / "snapshots" / COMMIT)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(COMMIT)
    assert find_model("org/Model-1.5", [tmp_path / "other", tmp_path]) == snapshot
    assert find_model("org/Model-1.5", [tmp_path], COMMIT) == snapshot
    assert read_checkpoint("org/Model-1.5", [tmp_path]).path == str(snapshot)


def test_without_a_ref_the_newest_snapshot_counts(tmp_path: Path) -> None:
    root = tmp_path / "models--org--model" / "snapshots"
    old, new = folder(root / "a"), folder(root / "b")
    os.utime(old / "config.json", (1000, 1000))
    os.utime(new / "config.json", (2000, 2000))
    (root / "c").mkdir()
    assert find_model("org/model", [tmp_path]) == new


def test_a_ref_cannot_lead_out_of_the_cache(tmp_path: Path) -> None:
    root = tmp_path / "models--org--model"
    folder(tmp_path / "elsewhere")
    (root / "snapshots").mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("../../elsewhere")
    assert find_model("org/model", [tmp_path]) is None
