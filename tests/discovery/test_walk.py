"""Walking folders: bounded, never twice, and never stopped by what is in them."""

import itertools
import os

from gpumod.discovery.values import Place
from gpumod.discovery.walk import Limits, walk


def look(*paths, limits=None, monotonic=lambda: 0.0):
    return walk([Place(str(path), given=True) for path in paths], limits or Limits(), monotonic)


def names(walked):
    return [file.name for file in walked.files]


def touch(path, text="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_only_files_that_may_belong_to_models_are_taken(tmp_path):
    for name in ("a.gguf", "b.gguf.part", "sub/c.safetensors", "sub/config.json", "readme.md", "notes.json"):
        touch(tmp_path / name)
    touch(tmp_path / ".hidden/d.gguf")
    assert names(look(tmp_path)) == ["a.gguf", "b.gguf.part", "c.safetensors", "config.json"]


def test_a_circle_of_links_ends(tmp_path):
    touch(tmp_path / "a/m.gguf")
    (tmp_path / "a/up").symlink_to(tmp_path)
    assert names(look(tmp_path)) == ["m.gguf"]


def test_a_file_is_found_once_whatever_links_there_are_to_it(tmp_path):
    first = touch(tmp_path / "a/m.gguf")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/link.gguf").symlink_to(first)
    os.link(first, tmp_path / "b/same.gguf")
    assert names(look(tmp_path, tmp_path / "b")) == ["m.gguf"]


def test_a_link_to_nothing_is_told(tmp_path):
    (tmp_path / "gone.gguf").symlink_to(tmp_path / "nowhere")
    (skipped,) = look(tmp_path).skipped
    assert skipped.path.endswith("gone.gguf")
    assert "not there" in skipped.reason


def test_depth_is_bounded(tmp_path):
    touch(tmp_path / "1/2/3/deep.gguf")
    touch(tmp_path / "1/shallow.gguf")
    walked = look(tmp_path, limits=Limits(depth=2))
    assert names(walked) == ["shallow.gguf"]
    assert walked.skipped[0].path == str(tmp_path / "1/2/3")


def test_the_number_of_files_is_bounded(tmp_path):
    for number in range(30):
        touch(tmp_path / f"{number}.gguf")
    walked = look(tmp_path, limits=Limits(entries=10))
    assert len(walked.files) == 10
    assert "more than 10 files" in walked.skipped[0].reason


def test_time_is_bounded_and_said_once(tmp_path):
    for number in range(5):
        touch(tmp_path / f"{number}/m.gguf")
    clock = itertools.count(0, 10)
    walked = look(tmp_path, limits=Limits(seconds=25), monotonic=lambda: float(next(clock)))
    assert len(walked.files) == 2
    assert len(walked.skipped) == 1


def test_a_folder_that_may_not_be_read_is_told_and_the_others_are_looked_at(tmp_path, monkeypatch):
    touch(tmp_path / "locked/a.gguf")
    touch(tmp_path / "open/b.gguf")
    scandir = os.scandir

    def refuse(path):
        if path.endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    walked = look(tmp_path)
    assert names(walked) == ["b.gguf"]
    assert walked.skipped[0].reason == "cannot be read: Permission denied"


def test_a_usual_place_may_be_missing_a_given_one_may_not(tmp_path):
    missing = str(tmp_path / "none")
    assert walk([Place(missing)], Limits(), lambda: 0.0).skipped == []
    assert walk([Place(missing, given=True)], Limits(), lambda: 0.0).skipped[0].path == missing


def test_a_file_can_be_named_itself(tmp_path):
    assert names(look(touch(tmp_path / "m.gguf"))) == ["m.gguf"]


def test_the_newest_revision_of_a_hubs_cache_has_the_files(tmp_path):
    repo = tmp_path / "models--org--m"
    blob = touch(repo / "blobs/abc")
    for age, revision in enumerate(("new", "old")):
        (repo / "snapshots" / revision).mkdir(parents=True)
        (repo / "snapshots" / revision / "m.gguf").symlink_to(blob)
        os.utime(repo / "snapshots" / revision, (1000 - age, 1000 - age))
    assert [file.path for file in look(tmp_path).files] == [str(repo / "snapshots/new/m.gguf")]
