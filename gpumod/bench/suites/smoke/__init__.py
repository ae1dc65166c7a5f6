"""The suite `smoke`: one coding level, tried afresh a number of times; how often is it right?"""

from gpumod.bench.suites.smoke.suite import SmokeSuite

__all__ = ["suite"]


def suite() -> SmokeSuite:
    """The suite."""
    return SmokeSuite()
