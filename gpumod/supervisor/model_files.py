"""Reading models' files, and not for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from gpumod.core.errors import TimedOutError
from gpumod.core.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpumod.supervisor.parts import Parts

T = TypeVar("T")


async def read_models(parts: Parts, services: Sequence[str], call: Callable[[], T]) -> T:
    """The result of a call that reads the models' files of these services.

    Raises:
        TimedOutError: it was not there in time. Whatever needs none of these files is not held up.
    """
    bound = parts.bounds.model_files
    try:
        return await parts.read_models.run(call, bound)
    except TimeoutError:
        raise TimedOutError(
            f"the models' files of {', '.join(services)} could not be read within {format_duration(bound)}: "
            "the disk does not answer, or is very slow",
            {"services": list(services), "seconds": bound},
        ) from None
