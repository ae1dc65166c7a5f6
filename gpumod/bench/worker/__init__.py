"""The life of a job: take it, switch, measure, put the box back, whatever comes between."""

from gpumod.bench.worker.parts import Pace, WorkerParts
from gpumod.bench.worker.worker import JobWorker

__all__ = ["JobWorker", "Pace", "WorkerParts"]
