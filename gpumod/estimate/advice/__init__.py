"""What would fit where a service does not."""

from gpumod.estimate.advice.advisor import Advisor, Room

__all__ = ["Advisor", "Room"]
