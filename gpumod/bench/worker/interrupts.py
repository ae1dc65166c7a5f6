"""What stops a job in the middle of something."""

from __future__ import annotations


class Interrupted(Exception):
    """What was under way is given up; what to do instead is decided afresh."""


class Lost(Exception):
    """The job has another owner now, or is gone: nothing may be touched any more."""
