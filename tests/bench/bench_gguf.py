"""How long it takes to read a header, and how much memory, beside the gguf package in the same run.

Run as a script; prints JSON. Each reader works in a process of its own; of several readings the best counts,
since whatever else runs on the machine only ever adds. Memory is what the process grew by, in MiB.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from gpumod.testing.shapes import shape

MERGES = 450_000
"""As many as the largest byte-pair vocabularies have."""
MODELS = {
    "128k tokens, SentencePiece (llama31-8b)": ("llama31-8b", 0),
    "262k tokens, SentencePiece (gemma3-12b)": ("gemma3-12b", 0),
    "248k tokens and 450k merges (qwen35-27b)": ("qwen35-27b", MERGES),
    "2 MB, tiny (tiny-llama)": ("tiny-llama", 0),
}
READER = """
import resource, sys, time
begun = time.perf_counter()
if sys.argv[1] == "gpumod":
    from gpumod.estimate.gguf.reader import read_gguf as read
else:
    from gguf import GGUFReader as read
imported = time.perf_counter() - begun
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
times = []
for _ in range(int(sys.argv[3])):
    begun = time.perf_counter()
    header = read(sys.argv[2])
    times.append(time.perf_counter() - begun)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(imported, min(times), (after - before) / 1024)
"""


def read_with(reader: str, path: Path, runs: int) -> tuple[float, float, float]:
    """Milliseconds to import, milliseconds to read, MiB that the process grew by."""
    done = subprocess.run(
        [sys.executable, "-c", READER, reader, str(path), str(runs)],
        capture_output=True,
        text=True,
        check=True,
    )
    imported, read, memory = map(float, done.stdout.split())
    return imported * 1000, read * 1000, memory


def write(name: str, merges: int, path: Path) -> Path:
    """A model's file, with merges in its vocabulary if asked."""
    model = shape(name)
    if merges:
        model.metadata["tokenizer.ggml.merges"] = [
            f"Ġt{number % 1000} ok{number}" for number in range(merges)
        ]
    return model.write(path)


def main():
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for what, (name, merges) in MODELS.items():
            path = write(name, merges, Path(folder) / "model.gguf")
            ours = read_with("gpumod", path, 15)
            theirs = read_with("gguf", path, 1)
            results.append(
                {
                    "header": what,
                    "gpumod_ms": round(ours[1], 2),
                    "gguf_ms": round(theirs[1], 1),
                    "times_faster": round(theirs[1] / ours[1]),
                    "gpumod_mib": round(ours[2], 1),
                    "gguf_mib": round(theirs[2], 1),
                    "import_ms": {"gpumod": round(ours[0], 1), "gguf": round(theirs[0], 1)},
                }
            )
    print(json.dumps({"header_reading": results}, indent=2))


if __name__ == "__main__":
    main()
