"""How long a plan takes: 1, 4 and 8 cards, 10 and 200 presets, a mode of eight services.

Run as a script; prints JSON. Times are milliseconds: the best, the median and the slowest of many runs.
"""

import json
import statistics
import time
from dataclasses import replace

from gpumod.core.cards import Card, CardsReading, DriverState, HostMemory
from gpumod.core.facts import Facts, RunningService, TargetFinding
from gpumod.core.footprint import Footprint, FootprintKey, Source
from gpumod.core.names import BLANK, CardId, ModeId, PresetId, ServiceId
from gpumod.core.plan import Plan, Target
from gpumod.core.service import Desired, Launch, ServiceRecord
from gpumod.core.spec import CardRequest, EngineKind, ServiceSpec
from gpumod.core.states import ServiceState
from gpumod.core.units import GIB
from gpumod.planner.switch import plan_switch

CARD_SIZE = 24 * GIB
MODEL = "NVIDIA GeForce RTX 4090"
RESIDENT_SERVICE = 2 * GIB
RUNS = 100


def spec(number, count=1):
    name = f"preset-{number}"
    return ServiceSpec(
        ServiceId(name), PresetId(name), EngineKind.LLAMA_CPP, cards=CardRequest(count), context=32768
    )


def size(number, cards):
    """Between a twentieth and a third of what eight services may have of all cards together."""
    share = CARD_SIZE * cards // 8
    return share // 2 + (number * 7919 % 97) * share // 250


def facts_for(cards, presets, running=()):
    """A box with every preset known: a finding and a footprint for one card and for two."""
    specs = [spec(number) for number in range(presets)]
    services = tuple(at_work(one, at, card) for at, (one, card) in enumerate(running))
    held = dict.fromkeys(range(cards), 0)
    for _, card in running:
        held[card] += RESIDENT_SERVICE
    return Facts(
        now=0.0,
        reading=CardsReading(
            0.0,
            DriverState.OK,
            tuple(
                Card(CardId(f"GPU-{at}"), at, MODEL, CARD_SIZE, CARD_SIZE - held[at], headroom=GIB // 2)
                for at in range(cards)
            ),
            HostMemory(256 * GIB, 200 * GIB),
        ),
        services=services,
        findings={one.id: TargetFinding(18000 + at, same_launch=True) for at, one in enumerate(specs)},
        footprints={
            FootprintKey(one.id, count, MODEL): Footprint(
                (min(size(at, cards) // count, CARD_SIZE * 2 // 3),) * count, Source.LEARNED, GIB, GIB
            )
            for at, one in enumerate(specs)
            for count in (1, 2)
        },
        desired=Desired(BLANK),
    )


def at_work(one, at, card):
    cards = (CardId(f"GPU-{card}"),)
    launch = Launch(EngineKind.LLAMA_CPP, ("llama-server",), (), 18000 + at, cards)
    taken = Footprint((RESIDENT_SERVICE,), Source.LEARNED, GIB)
    record = ServiceRecord(
        one.id, ServiceState.READY, 1, "", 0.0, one, launch, taken, runner="process", admitting=True
    )
    return RunningService(record, held=((cards[0], RESIDENT_SERVICE),))


def cases():
    """(name, facts, target) of each situation that is measured."""
    for cards in (1, 4, 8):
        for presets in (10, 200):
            mode = tuple(spec(number) for number in range(8))
            empty = facts_for(cards, presets)
            leaving = [(spec(9), at) for at in range(1)]
            half = facts_for(cards, presets, [(one, at % cards) for at, one in enumerate(mode[:4])] + leaving)
            name = f"{cards} cards, {presets} presets"
            yield f"{name}: blank to 8 services", empty, Target(ModeId("m"), mode)
            yield f"{name}: 4 kept, 1 leaves, 4 start", half, Target(ModeId("m"), mode)
    big = tuple(spec(number) for number in range(60))
    yield "8 cards, 200 presets: 60 services do not fit", facts_for(8, 200), Target(ModeId("m"), big)
    yield "8 cards, 200 presets: the search gives up", *tightest()


def tightest():
    """Cards of unequal room, and 16 services that would fill them to 99.5 %."""
    facts = facts_for(8, 200)
    cards = [replace(card, free=card.free - at * GIB * 7 // 9) for at, card in enumerate(facts.reading.cards)]
    mode = tuple(spec(number) for number in range(16))
    weights = [1 + number * 37 % 64 / 40 for number in range(16)]
    room = sum(card.free - card.headroom for card in cards)
    footprints = {
        FootprintKey(one.id, 1, MODEL): Footprint(
            (int(room * 0.995 * weight / sum(weights)),), Source.LEARNED
        )
        for one, weight in zip(mode, weights, strict=True)
    }
    reading = replace(facts.reading, cards=tuple(cards))
    return replace(facts, reading=reading, footprints=footprints), Target(ModeId("m"), mode)


def measure(facts, target):
    times = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        plan_switch(facts, target)
        times.append((time.perf_counter() - begun) * 1000)
    return plan_switch(facts, target), times


def main():
    results = []
    for name, facts, target in cases():
        decision, times = measure(facts, target)
        results.append(
            {
                "case": name,
                "decision": "plan" if isinstance(decision, Plan) else [one.code for one in decision.reasons],
                "steps": len(decision.steps) if isinstance(decision, Plan) else 0,
                "best_ms": round(min(times), 3),
                "median_ms": round(statistics.median(times), 3),
                "slowest_ms": round(max(times), 3),
            }
        )
    print(json.dumps({"plan_time": results}, indent=2))


if __name__ == "__main__":
    main()
