"""Predicts what services take, before they run."""

from gpumod.estimate.footprints import ModelFootprints

__all__ = ["ModelFootprints"]
