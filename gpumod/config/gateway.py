"""Settings of the gateway: what config.yaml may say under `gateway:` and of each key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import Field

from gpumod.config.fields import RATE_PATTERN, CountOrNone, Duration, LongerThanZero, Size, Strict
from gpumod.core.spec import OnDemand
from gpumod.core.units import MIB

_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}


class GatewayFile(Strict):
    """How requests to models are let in, wait, and are passed on."""

    on_demand: Annotated[OnDemand, Field(strict=False)] | None = None
    queue: CountOrNone | None = None
    queue_per_key: CountOrNone | None = None
    wait: LongerThanZero | None = None
    residency: Duration | None = None
    ageing: LongerThanZero | None = None
    keep_alive: LongerThanZero | None = None
    drain: Duration | None = None
    body_limit: Size | None = None
    head_timeout: LongerThanZero | None = None
    idle_timeout: LongerThanZero | None = None
    client_stall: LongerThanZero | None = None
    engine_stall: LongerThanZero | None = None


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """How requests to models are let in, wait, and are passed on. Seconds and bytes.

    Args:
        on_demand: whether a request may start a switch to a mode that does not say.
        queue: requests that may wait at once.
        queue_per_key: of these, of one key.
        wait: how long a request waits at most.
        residency: how long a mode that requests asked for stays at least.
        ageing: a request that has waited so long comes before all that are younger.
        keep_alive: a stream that waits is sent a comment so often.
        drain: how long running requests may take once the daemon is told to end.
        body_limit: bytes that the body of a request may have.
        head_timeout: how long the head of a request may take; its body has 1 s more for each 64 KiB of it.
        idle_timeout: how long a connection is kept for its next request.
        client_stall: how long a client may take nothing of its answer.
        engine_stall: how long an engine may say nothing.
    """

    on_demand: OnDemand = OnDemand.ASK
    queue: int = 256
    queue_per_key: int = 64
    wait: float = 600.0
    residency: float = 60.0
    ageing: float = 120.0
    keep_alive: float = 10.0
    drain: float = 30.0
    body_limit: int = 64 * MIB
    head_timeout: float = 15.0
    idle_timeout: float = 75.0
    client_stall: float = 120.0
    engine_stall: float = 3600.0


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What a key may do at the gateway.

    Args:
        models: names of services, aliases and routes; empty: all.
        concurrency: requests at once; None: no limit.
        rate: requests, and the seconds in which they may come; None: no limit.
        priority: larger ones wait less.
        on_demand: what its requests may do at most.
    """

    models: frozenset[str] = frozenset()
    concurrency: int | None = None
    rate: tuple[int, float] | None = None
    priority: int = 0
    on_demand: OnDemand = OnDemand.AUTO


Rate = Annotated[str, Field(pattern=RATE_PATTERN)]


def parse_rate(text: str) -> tuple[int, float]:
    """`60/m` as requests and seconds.

    Raises:
        ValueError: it is not a rate.
    """
    if not re.fullmatch(RATE_PATTERN, text):
        raise ValueError(f"{text!r} is not a rate: write it as 60/m")
    count, _, unit = text.partition("/")
    return int(count), _SECONDS[unit]


def gateway_settings(file: GatewayFile | None) -> GatewaySettings:
    """The settings, with defaults for what the file does not say."""
    given: dict[str, Any] = {name: value for name, value in dict(file or {}).items() if value is not None}
    return GatewaySettings(**given)
