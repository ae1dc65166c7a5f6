"""How often Hypothesis tries something, in the profile that tests/conftest.py has loaded."""

from __future__ import annotations

from typing import Any

from hypothesis import settings

_IN_DEPTH = 20


def tries(examples: int, **other: Any) -> settings:
    """Settings of a test that is worth so many examples in every run, and more in a thorough one."""
    times = _IN_DEPTH if settings.get_current_profile_name() == "thorough" else 1
    return settings(max_examples=examples * times, **other)
