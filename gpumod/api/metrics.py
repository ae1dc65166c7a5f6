"""What /metrics tells: the box as it is, and how long switches and their steps took."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from gpumod.core.cards import DriverState
from gpumod.core.metrics import Histogram, Metric, Sample
from gpumod.core.states import ServiceState
from gpumod.core.switch import BoxState, StepState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from gpumod.core.names import CardId, SwitchId
    from gpumod.core.switch import BoxStatus, SwitchRecord


class Metrics:
    """Counts switches that end from now on, once each, from their records.

    Earlier ones are left out: counting them again after a restart would look like new ones.
    """

    def __init__(self, since: float) -> None:
        self._since = since
        self._counting = asyncio.Lock()
        self._counted: set[SwitchId] = set()
        self._ends: Counter[str] = Counter()
        self._switches = Histogram("state")
        self._steps = Histogram("step")

    async def count(
        self, latest: Iterable[SwitchRecord], read: Callable[[SwitchId], Awaitable[SwitchRecord]]
    ) -> None:
        """Count the switches among the latest that have ended since the last time."""
        latest = tuple(latest)
        async with self._counting:
            for record in latest:
                if self._is_new(record):
                    self._count(await read(record.id))
            # Older ones do not come again.
            self._counted &= {record.id for record in latest}

    def _is_new(self, record: SwitchRecord) -> bool:
        ended = record.ended if record.state.ended else None
        return ended is not None and ended >= self._since and record.id not in self._counted

    def _count(self, record: SwitchRecord) -> None:
        self._counted.add(record.id)
        self._ends[record.state] += 1
        if record.ended is not None:
            self._switches.observe(record.ended - record.started, record.state)
        for step in record.steps:
            if step.seconds is not None and step.state in {StepState.DONE, StepState.FAILED}:
                self._steps.observe(step.seconds, step.kind)

    def switches(self) -> tuple[Metric, ...]:
        """What was counted."""
        ends = tuple(Sample(count, {"state": state}) for state, count in sorted(self._ends.items()))
        return (
            Metric("gpumod_switches_total", "Switches that have ended, by how.", "counter", ends),
            Metric(
                "gpumod_switch_duration_seconds",
                "How long switches took.",
                "histogram",
                self._switches.samples(),
            ),
            Metric(
                "gpumod_switch_step_duration_seconds",
                "How long the steps of switches took.",
                "histogram",
                self._steps.samples(),
            ),
        )


def of_box(status: BoxStatus) -> tuple[Metric, ...]:
    """The box as it is."""
    return (
        _gauge("gpumod_info", "Version of the daemon.", Sample(1, {"version": status.version})),
        _one_of("gpumod_box_state", "What the box is like.", "state", BoxState, status.state),
        _gauge("gpumod_mode_info", "The mode in place.", Sample(1, {"mode": status.mode})),
        _one_of("gpumod_driver_state", "The driver.", "state", DriverState, status.reading.driver),
        _gauge("gpumod_leases", "Leases that hold.", Sample(len(status.leases))),
        *_cards(status),
        *_services(status),
    )


def of_api(answers: Mapping[tuple[str, int], int], streams: int) -> tuple[Metric, ...]:
    """The API itself."""
    counts = tuple(
        Sample(count, {"method": method, "status": str(status)})
        for (method, status), count in sorted(answers.items())
    )
    return (
        Metric("gpumod_http_requests_total", "Answers of the API.", "counter", counts),
        _gauge("gpumod_http_streams", "Open streams.", Sample(streams)),
    )


def _cards(status: BoxStatus) -> tuple[Metric, ...]:
    labels: dict[CardId, dict[str, str]] = {
        card.id: {"card": card.id, "index": str(card.index), "name": card.name}
        for card in status.reading.cards
    }
    budgets = [(labels.get(budget.card, {"card": budget.card}), budget) for budget in status.budgets]
    over = set(status.overcommitted)
    host = status.reading.host
    return (
        _bytes("total", "What the card has", ((labels[c.id], c.total) for c in status.reading.cards)),
        _bytes(
            "free", "What the driver says is free", ((labels[c.id], c.free) for c in status.reading.cards)
        ),
        _bytes("headroom", "What gpumod leaves alone", ((label, b.headroom) for label, b in budgets)),
        _bytes("charged", "What services are charged", ((label, b.charged) for label, b in budgets)),
        _bytes(
            "foreign", "What processes that are not ours hold", ((label, b.foreign) for label, b in budgets)
        ),
        _bytes("available", "What is left to plan with", ((label, b.available) for label, b in budgets)),
        _gauge(
            "gpumod_card_usable",
            "Whether anything may be planned onto the card.",
            *(Sample(int(c.usable), labels[c.id]) for c in status.reading.cards),
        ),
        _gauge(
            "gpumod_card_overcommitted",
            "Whether foreign processes took what services were promised.",
            *(Sample(int(c.id in over), labels[c.id]) for c in status.reading.cards),
        ),
        _gauge("gpumod_host_memory_total_bytes", "Memory of the host or its cgroup.", Sample(host.total)),
        _gauge("gpumod_host_memory_available_bytes", "What of it is available.", Sample(host.available)),
    )


def _services(status: BoxStatus) -> tuple[Metric, ...]:
    services = status.services
    states = (
        Sample(int(service.state is state), {"service": service.id, "state": state})
        for service in services
        for state in ServiceState
    )
    return (
        _gauge("gpumod_service_state", "1 for the state that the service is in.", *states),
        _gauge(
            "gpumod_service_generation",
            "Starts of the service so far.",
            *(Sample(one.generation, {"service": one.id}) for one in services),
        ),
        _gauge(
            "gpumod_service_recent_restarts",
            "Restarts that its restart policy counts at present.",
            *(Sample(len(one.restarts), {"service": one.id}) for one in services),
        ),
    )


def _gauge(name: str, text: str, *samples: Sample) -> Metric:
    return Metric(name, text, "gauge", samples)


def _bytes(name: str, text: str, values: Iterable[tuple[Mapping[str, str], int]]) -> Metric:
    samples = (Sample(value, labels) for labels, value in values)
    return _gauge(f"gpumod_card_memory_{name}_bytes", f"{text}.", *samples)


def _one_of(
    name: str, text: str, label: str, states: type[BoxState | DriverState], present: BoxState | DriverState
) -> Metric:
    return _gauge(name, f"{text} 1 for what it is.", *(Sample(int(s is present), {label: s}) for s in states))
