"""Predicts what services take, before they run."""

from gpumod.estimate.files import model_files, size_on_disk
from gpumod.estimate.footprints import FileSizeFootprints, memory_fingerprint

__all__ = ["FileSizeFootprints", "memory_fingerprint", "model_files", "size_on_disk"]
