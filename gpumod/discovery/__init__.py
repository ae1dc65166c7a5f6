"""Finds cards, engines and models of a box, and writes the first presets and a mode for them.

Judging is pure: what a file is, what belongs together, what fits, what a preset says. Around it is a thin
shell that walks folders, reads headers and asks programs. It needs no daemon.
"""

from gpumod.discovery.initialise import Request, initialise
from gpumod.discovery.report import Report

__all__ = ["Report", "Request", "initialise"]
