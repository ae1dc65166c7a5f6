"""Headers are read once, until one of their files changes."""

import os
import threading

import pytest

from gpumod.estimate.cache import HeaderCache
from gpumod.estimate.errors import ModelFileError
from gpumod.estimate.gguf.reader import gguf_files, read_gguf
from gpumod.testing.shapes import write_shape
from tests.estimate.gguf.files import gguf_bytes


class Loads:
    """Counts what is loaded."""

    def __init__(self):
        self.paths = []

    def __call__(self, path):
        self.paths.append(path)
        return read_gguf(path)


@pytest.fixture
def loads():
    return Loads()


@pytest.fixture
def cache(loads):
    return HeaderCache(loads, gguf_files, most=3)


def written(path, content=None):
    path.write_bytes(gguf_bytes() if content is None else content)
    return str(path)


def test_a_header_is_read_once(cache, loads, tmp_path):
    path = written(tmp_path / "m.gguf")
    assert cache.get(path) is cache.get(path)
    assert loads.paths == [path]


def rewrite(path):
    path.write_bytes(gguf_bytes({"general.architecture": "gemma"}))


def replace(path):
    """A file of the same size and times in its place."""
    status = path.stat()
    other = path.with_name("other")
    other.write_bytes(gguf_bytes({"general.architecture": "gemma", "llama.block_count": 2}))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert other.stat().st_size == status.st_size
    other.rename(path)


def edit_in_place(path):
    """The same inode, size and time of modification."""
    status = path.stat()
    with path.open("r+b") as file:
        file.write(gguf_bytes({"general.architecture": "gemma", "llama.block_count": 2}))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("change", [rewrite, replace, edit_in_place])
def test_a_changed_file_is_read_again(cache, loads, tmp_path, change):
    path = tmp_path / "m.gguf"
    written(path, gguf_bytes({"general.architecture": "mamba", "llama.block_count": 2}))
    before = cache.get(str(path)).architecture
    change(path)
    assert cache.get(str(path)).architecture == "gemma" != before
    assert len(loads.paths) == 2


def test_a_changed_part_is_a_changed_model(cache, loads, tmp_path):
    first = str(write_shape("tiny-llama", tmp_path / "m.gguf", parts=2))
    second = first.replace("00001-of", "00002-of")
    cache.get(first)
    os.truncate(second, os.stat(second).st_size - 1)
    with pytest.raises(ModelFileError, match="1 byte short"):
        cache.get(first)
    assert len(loads.paths) == 2


def test_what_is_wrong_is_kept_too_until_it_is_mended(cache, loads, tmp_path):
    path = written(tmp_path / "m.gguf", gguf_bytes()[:-1])
    said = set()
    for _ in range(3):
        with pytest.raises(ModelFileError) as caught:
            cache.get(path)
        said.add(caught.value.detail)
    assert len(loads.paths) == 1
    assert len(said) == 1
    written(tmp_path / "m.gguf")
    assert cache.get(path).architecture == "llama"


def test_a_file_that_appears_is_found(cache, tmp_path):
    path = tmp_path / "m.gguf"
    with pytest.raises(ModelFileError, match="No such file"):
        cache.get(str(path))
    written(path)
    assert cache.get(str(path)).architecture == "llama"


def test_a_file_that_changes_while_it_is_read_is_not_kept(tmp_path):
    path = tmp_path / "m.gguf"
    written(path)
    found = []

    def load(name):
        found.append(read_gguf(name))
        if len(found) == 1:
            rewrite(path)
        return found[-1]

    cache = HeaderCache(load, gguf_files)
    assert cache.get(str(path)).architecture == "llama"
    assert cache.get(str(path)).architecture == "gemma"


def test_the_one_asked_for_the_longest_ago_goes_first(cache, loads, tmp_path):
    paths = [written(tmp_path / f"{number}.gguf") for number in range(4)]
    for number in (0, 1, 2, 0, 3, 0, 2, 3):
        cache.get(paths[number])
    assert loads.paths == paths
    cache.get(paths[1])
    assert loads.paths == [*paths, paths[1]]


def test_another_error_is_not_hidden(tmp_path):
    def broken(_):
        raise ZeroDivisionError

    cache = HeaderCache(broken, gguf_files)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            cache.get(written(tmp_path / "m.gguf"))


def test_many_threads_get_the_same_answers(cache, tmp_path):
    paths = [written(tmp_path / f"{number}.gguf", gguf_bytes({"n": number})) for number in range(5)]
    wrong = []

    def ask(start):
        for step in range(60):
            number = (start + step) % 5
            if cache.get(paths[number]).metadata != {"n": number}:
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(cache._kept) == 3
