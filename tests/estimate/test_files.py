"""Which files hold a model, and their size."""

import pytest

from gpumod.core.names import PresetId, ServiceId
from gpumod.core.spec import Draft, EngineKind, ServiceSpec
from gpumod.estimate.files import model_files, on_disk


def spec(**fields):
    return ServiceSpec(id=ServiceId("s"), preset=PresetId("s"), engine=EngineKind.LLAMA_CPP, **fields)


def test_the_model_its_projector_and_its_drafter():
    found = model_files(spec(model="/m.gguf", mmproj="/p.gguf", draft=Draft("model", "/d.gguf")))
    assert found == ("/m.gguf", "/p.gguf", "/d.gguf")
    assert model_files(spec()) == ()


def test_all_shards_of_a_split_model():
    found = model_files(spec(model="/x/m-00002-of-00003.gguf"))
    assert found == tuple(f"/x/m-0000{number}-of-00003.gguf" for number in (1, 2, 3))


@pytest.mark.parametrize("name", ["/m-00001-of-00000.gguf", "/m-00001-of-99999.gguf", "/m-1-of-3.gguf"])
def test_what_only_looks_like_shards(name):
    assert model_files(spec(model=name)) == (name,)


def size_at(path) -> int:
    found = on_disk(str(path))
    assert found is not None
    return found.size


def test_sizes(tmp_path):
    (tmp_path / "m.gguf").write_bytes(b"x" * 7)
    assert size_at(tmp_path / "m.gguf") == 7
    assert on_disk(str(tmp_path / "missing")) is None
    assert on_disk("org/model") is None


def test_a_folder_has_the_size_of_its_weights(tmp_path):
    assert on_disk(str(tmp_path)) is None
    (tmp_path / "config.json").write_bytes(b"x" * 100)
    assert size_at(tmp_path) == 0
    (tmp_path / "a.bin").write_bytes(b"x" * 50)
    assert size_at(tmp_path) == 50
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / name).write_bytes(b"x" * 20)
    assert size_at(tmp_path) == 40


def test_a_file_is_the_same_under_another_name_and_another_one_once_it_is_replaced(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(b"x" * 7)
    first = on_disk(str(path))
    (tmp_path / "other.gguf").hardlink_to(path)
    assert on_disk(str(tmp_path / "other.gguf")) == first
    path.unlink()
    path.write_bytes(b"y" * 7)
    assert on_disk(str(path)) != first


def test_a_folder_is_another_one_once_its_configuration_changes(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"x" * 20)
    (tmp_path / "config.json").write_text("{}")
    first = on_disk(str(tmp_path))
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 1}')
    assert on_disk(str(tmp_path)) != first
