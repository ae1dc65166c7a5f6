"""Jobs, results and samples as the worker keeps them, for reports."""

import itertools

from gpumod.bench import formulas
from gpumod.bench.suites.speed.formulas import FORMULAS
from gpumod.core.job import JobId, JobRecord, JobRequest, JobState, Metric, Outcome, Result, Sample

HOSTILE = (
    "</td><script>alert(1)</script> | a\\| `b` <img src=x onerror=alert(2)> [c](javascript:alert(3))\n"
    "# d\n| e | f |\n```\n&lt; \x1b[31m \u202e "
    "@everyone #1 https://evil.example www.evil.example \ud800 *g* _h_ ~i~"
)
"""What a model, a label or a process could be called or say, so that a report becomes something else."""

PROVENANCE = {
    "gpumod": "0.1",
    "asked": "chat",
    "services": [
        {
            "id": "chat",
            "preset": "chat",
            "engine": "llama.cpp",
            "build": "b6789 (0123abcd)",
            "argv": [
                "llama-server",
                "-m",
                "/m/gemma.gguf",
                "--api-key",
                "sesame",
                "--hf-token=hf_x",
                "-c",
                "8192",
            ],
            "fingerprint": "f00d",
            "files": [
                {"path": "/m/mmproj-BF16.gguf", "size": 1024, "modified_ns": 1},
                {
                    "path": "/m/gemma-4-26B-A4B-it-qat-UD-Q4_K_XL.gguf",
                    "size": 17_000_000_000,
                    "modified_ns": 1,
                },
            ],
            "cards": ["GPU-1"],
            "context": 8192,
            "slots": 1,
            "kv_cache": {"k": "q8_0", "v": "q8_0"},
            "sampler": {},
        }
    ],
    "cards": [
        {
            "id": "GPU-1",
            "name": "NVIDIA RTX 4090",
            "total": 24 * 1024**3,
            "compute_capability": [8, 9],
            "power_watts": 71.4,
            "power_limit_watts": 450.0,
            "temperature": 41,
        }
    ],
    "driver": "580.95",
    "host": {"system": "Linux-6.18", "memory": 64 * 1024**3, "load": [0.5, 0.4, 0.3], "cpus": 16},
    "host_load_at_end": {"load": [1.5, 1.0, 0.5]},
    "memory": {"GPU-1": {"first": 17 * 1024**3, "peak": 18 * 1024**3}},
    "displays": [],
}


def job(**more: object) -> JobRecord:
    asked = {
        "suite": "speed",
        "targets": ("chat",),
        "parameters": {"repeats": 3},
        "label": "nightly",
        "by": "me",
    }
    request = JobRequest(**asked | more)  # type: ignore[arg-type] # names are tested by what comes out
    return JobRecord(
        JobId("J1"), request, JobState.DONE, 1.7e9, attempt=1, started=1.7e9 + 60, ended=1.7e9 + 200
    )


def speed_samples(target: str = "chat") -> list[Sample]:
    """Three rounds at two depths: decode falls with the depth, and a little with time."""
    found: list[Sample] = []
    for number, depth in itertools.product(range(3), (512, 16384)):
        decode = (100.0 if depth == 512 else 60.0) - number
        numbers = {
            f"speed.decode.client.v1@{depth}": decode,
            f"speed.ttft.v1@{depth}": depth / 5000,
            f"speed.prefill.client.v1@{depth}": 5000.0 + number,
            "speed.memory.peak.v1": 18.0 * 1024**3 + number,
            "speed.draft.drafted.v1": 100.0,
            "speed.draft.accepted.v1": 80.0 + number,
        }
        details = {"request": {"model": "chat", "temperature": 0.0, "top_k": 1}, "sampler_left_out": []}
        at = 1.7e9 + 60 + 10 * len(found)
        found.append(Sample(target, f"depth-{depth}-{number}", Outcome.OK, None, numbers, details, at, 4.0))
    return found


def result(target: str = "chat", **more: object) -> Result:
    samples = speed_samples(target)
    given = {
        "job": JobId("J1"),
        "target": target,
        "suite": "speed",
        "suite_version": "1",
        "suite_hash": "ab" * 32,
        "parameters": {"repeats": 3, "sampler": "GREEDY"},
        "provenance": PROVENANCE,
        "metrics": formulas.metrics(FORMULAS, samples),
        "outcomes": {"ok": len(samples)},
        "started": 1.7e9 + 60,
        "ended": 1.7e9 + 190,
    }
    return Result(**given | more)  # type: ignore[arg-type] # as above


def hostile() -> tuple[JobRecord, list[Result], list[Sample]]:
    """Every text that a user, a model, an engine or a process can choose is hostile."""
    asked = job(targets=(HOSTILE,), label=HOSTILE, by=HOSTILE, suite=HOSTILE, parameters={HOSTILE: HOSTILE})
    service = {**PROVENANCE["services"][0], "id": HOSTILE, "argv": [HOSTILE], "build": HOSTILE}  # type: ignore[index]
    service["files"] = [{"path": HOSTILE, "size": 1}]
    metric = Metric(f"x.y.v1@{HOSTILE}", 1.0, HOSTILE, 0.5, 1.5, 2, True, {HOSTILE: 1.0, "b": 2.0})
    found = result(
        HOSTILE,
        suite=HOSTILE,
        suite_version=HOSTILE,
        suite_hash=HOSTILE,
        parameters={HOSTILE: HOSTILE},
        provenance={**PROVENANCE, "services": [service], "driver": HOSTILE, "displays": [HOSTILE]},
        metrics=(metric,),
        outcomes={HOSTILE: 2},
        integrity=(HOSTILE,),
    )
    details = {
        "answer": HOSTILE,
        HOSTILE: [HOSTILE],
        "sent": {HOSTILE: HOSTILE},
        "sampler_left_out": [HOSTILE],
    }
    samples = [
        Sample(
            HOSTILE,
            f"{HOSTILE}{number}",
            Outcome.WRONG,
            0.0,
            {f"x.y.v1@{HOSTILE}": 1.0 + number},
            details,
            5.0,
            1.0,
        )
        for number in range(2)
    ]
    return asked, [found], samples
