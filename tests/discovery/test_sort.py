"""What files are by their names alone."""

import pytest

from gpumod.discovery.sort import repository, sort
from tests.discovery.made import file


def reasons(candidates):
    return {one.path: one.reason for one in candidates.skipped}


def test_a_split_gguf_is_one_model():
    parts = [file(f"/m/big-0000{number}-of-00003.gguf", 10) for number in (2, 1, 3)]
    (model,) = sort(parts).ggufs
    assert (model.path, model.size, model.name) == ("/m/big-00001-of-00003.gguf", 30, "big")


def test_a_split_gguf_without_all_its_parts_is_none():
    found = sort([file("/m/big-00002-of-00004.gguf"), file("/m/big-00001-of-00004.gguf")])
    assert found.ggufs == ()
    assert reasons(found)["/m/big-00001-of-00004.gguf"] == "of its 4 parts these are missing: 3, 4"


@pytest.mark.parametrize("count", ["00000", "99999"])
def test_a_name_that_claims_any_number_of_parts_takes_no_time(count):
    found = sort([file(f"/m/x-00001-of-{count}.gguf")])
    assert found.ggufs == ()
    assert len(found.skipped) == 1


@pytest.mark.parametrize(
    "name", ["a.gguf.part", "a.gguf.crdownload", "a.gguf.downloadInProgress", "a.gguf.aria2", "a.gguf.tmp"]
)
def test_a_download_that_is_not_complete_is_told(name):
    assert reasons(sort([file(f"/m/{name}")])) == {f"/m/{name}": "a download that is not complete"}


def test_aria2_writes_into_the_file_itself():
    found = sort([file("/m/a.gguf"), file("/m/a.gguf.aria2"), file("/m/b.gguf")])
    assert [one.name for one in found.ggufs] == ["b"]


def test_downloads_in_a_hubs_cache_are_told_by_repository():
    found = sort([file(f"/hub/models--o--m/blobs/{number}.incomplete") for number in range(3)])
    assert reasons(found) == {"/hub/models--o--m/blobs": "3 downloads that are not complete"}


def test_a_checkpoint_is_a_folder():
    snapshot = "/hub/models--Qwen--Qwen3-8B-AWQ/snapshots/abc"
    found = sort([file(f"{snapshot}/{name}") for name in ("config.json", "a.safetensors", "b.safetensors")])
    (folder,) = found.folders
    assert (folder.path, folder.size, folder.name) == (snapshot, 200, "Qwen3-8B-AWQ")
    assert repository(snapshot) == "Qwen/Qwen3-8B-AWQ"


def test_two_revisions_with_the_same_weights_are_one_checkpoint():
    found = sort(
        file(f"/hub/models--o--m/snapshots/{revision}/{name}", inode=inode)
        for revision in ("a", "b")
        for name, inode in (("config.json", 1), ("m.safetensors", 2))
    )
    assert len(found.folders) == 1


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("x.safetensors", "y.safetensors"), "2 safetensors files without config.json"),
        (("model_index.json", "config.json", "m.safetensors"), "a diffusion pipeline"),
        (("adapter_config.json", "adapter_model.safetensors"), "a LoRA adapter"),
    ],
)
def test_safetensors_that_are_no_checkpoint(names, reason):
    found = sort(file(f"/m/{name}") for name in names)
    assert found.folders == ()
    assert reasons(found)["/m"].startswith(reason)


def test_parts_of_a_pipeline_are_none_either():
    found = sort([file("/m/model_index.json"), file("/m/unet/config.json"), file("/m/unet/x.safetensors")])
    assert "diffusion" in reasons(found)["/m/unet"]


def test_a_name_that_cannot_be_written_into_a_file_is_told():
    found = sort([file("/m/bad-\udcff.gguf"), file("/m/new\nline.gguf")])
    assert found.ggufs == ()
    assert all("UTF-8" in one.reason for one in found.skipped)
    "".join(one.path for one in found.skipped).encode()
