"""The suite `coding`: five modules to write, tested in the sandbox by tests that the model does not see."""

from gpumod.bench.suites.coding.suite import CodingSuite

__all__ = ["suite"]


def suite() -> CodingSuite:
    """The suite."""
    return CodingSuite()
