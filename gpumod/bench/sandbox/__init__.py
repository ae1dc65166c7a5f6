"""Runs programs that nobody has read: what a model wrote. There is no way to run them without the sandbox."""

from gpumod.bench.sandbox.execution import Ended, Execution, Limits, NoSandboxError, SandboxFailedError
from gpumod.bench.sandbox.opening import open_sandbox
from gpumod.bench.sandbox.process import Sandbox

__all__ = [
    "Ended",
    "Execution",
    "Limits",
    "NoSandboxError",
    "Sandbox",
    "SandboxFailedError",
    "open_sandbox",
]
