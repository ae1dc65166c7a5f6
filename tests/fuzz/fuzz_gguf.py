"""Looks for headers that the reader of GGUFs answers with anything but a header or a ModelFileError.

Guided by the coverage of the reader: `python tests/fuzz/fuzz_gguf.py CORPUS_FOLDER -max_total_time=300`.
Needs atheris, which is in no lock: its wheels are for Linux on x86-64 only, for each Python of another
version. What it finds becomes an example of tests/estimate/gguf/test_hostile.py.
"""

import contextlib
import os
import resource
import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]  # published without type information

with atheris.instrument_imports(include=["gpumod.estimate.gguf"]):
    from gpumod.estimate.errors import ModelFileError
    from gpumod.estimate.gguf.reader import read_gguf
    from gpumod.estimate.gguf.types import tensor_bytes
from tests.estimate.gguf.test_hostile import SAMPLE

ADDRESS_SPACE = 2 * 2**30
PATH = Path(f"/proc/self/fd/{os.memfd_create('fuzzed.gguf')}")


def once(data: bytes) -> None:
    """Read the data as a file."""
    PATH.write_bytes(data)
    with contextlib.suppress(ModelFileError):
        header = read_gguf(PATH)
        assert sum(map(tensor_bytes, header.tensors)) <= len(data)
        assert len(header.by_name) == len(header.tensors)


def main() -> None:
    """Seed the corpus and run until told otherwise."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    folders = [Path(one) for one in sys.argv[1:] if not one.startswith("-")]
    for folder in folders[:1]:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sample").write_bytes(SAMPLE)
    atheris.Setup(sys.argv, once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
