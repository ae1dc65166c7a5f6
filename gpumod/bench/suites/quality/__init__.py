"""150 scenarios in eight packs, each checked by code."""

from gpumod.bench.suites.quality.suite import QualitySuite, suite

__all__ = ["QualitySuite", "suite"]
