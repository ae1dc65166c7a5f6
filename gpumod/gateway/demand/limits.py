"""What each key may use: requests at once, and requests in a time. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Bucket:
    """A token bucket: `count` requests at once, and as many again evenly over `seconds`."""

    count: int
    seconds: float
    tokens: float
    at: float

    def take(self, now: float) -> float:
        """Seconds until a request may come; 0.0 where it may now, and then it is counted."""
        self.tokens = min(float(self.count), self.tokens + (now - self.at) * self.count / self.seconds)
        self.at = now
        if self.tokens >= 1.0:
            self.tokens -= 1.0
            return 0.0
        return (1.0 - self.tokens) * self.seconds / self.count


@dataclass(frozen=True, slots=True)
class Exceeded:
    """Which limit a request exceeds. `after` is when one more may come, where that is known."""

    detail: str
    limit: int
    after: float | None = None


class Meter:
    """Counts the requests of one key, from when they are let in until they have ended, waiting included."""

    __slots__ = ("_bucket", "_concurrency", "inside")

    def __init__(self, concurrency: int | None, rate: tuple[int, float] | None, now: float) -> None:
        self._concurrency = concurrency
        self._bucket = Bucket(rate[0], rate[1], float(rate[0]), now) if rate else None
        self.inside = 0

    def enter(self, now: float) -> Exceeded | None:
        """Count a request in, unless the key has had all that it may."""
        if self._concurrency is not None and self.inside >= self._concurrency:
            limit = self._concurrency
            return Exceeded(f"{limit} requests of this key run at once, as many as may", limit)
        if self._bucket is not None and (after := self._bucket.take(now)):
            limit = self._bucket.count
            return Exceeded(f"this key may send {limit} requests in {self._bucket.seconds:g} s", limit, after)
        self.inside += 1
        return None

    def leave(self) -> None:
        """A request has ended."""
        self.inside -= 1
