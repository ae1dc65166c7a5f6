"""What would fit where a service does not."""

from gpumod.estimate.advice.advisor import SMALLEST_CONTEXT, Advisor, Room
from gpumod.estimate.advice.common import LONGEST_CONTEXT

__all__ = ["LONGEST_CONTEXT", "SMALLEST_CONTEXT", "Advisor", "Room"]
