"""Boxes as short sentences: cards, services at work, targets and the facts about them. Sizes are GiB."""

from dataclasses import replace

from gpumod.core.cards import Card, CardHealth, CardProcess, CardsReading, DriverState, HostMemory
from gpumod.core.facts import Facts, RunningService, TargetFinding
from gpumod.core.footprint import Footprint, FootprintKey, Source
from gpumod.core.names import CardId, ModeId, PresetId, ServiceId
from gpumod.core.plan import Plan, Refused, StepKind, Target
from gpumod.core.service import Desired, Launch, ServiceRecord
from gpumod.core.spec import CardRequest, EngineKind, ServiceSpec
from gpumod.core.states import ServiceState
from gpumod.core.units import GIB

NOW = 1_000.0
MODEL = "RTX 4090"


def gib(size):
    return round(size * GIB)


def spec(name, *, cards=1, exact=(), needs=(), **fields):
    return ServiceSpec(
        id=ServiceId(name),
        preset=PresetId(fields.pop("preset", name)),
        engine=EngineKind.LLAMA_CPP,
        cards=CardRequest(count=cards, exact=tuple(map(str, exact))),
        depends_on=tuple(map(ServiceId, needs)),
        **fields,
    )


def footprint(*sizes, source=Source.DECLARED, resident=0, loading=0, **fields):
    return Footprint(tuple(map(gib, sizes)), source, resident=gib(resident), loading=gib(loading), **fields)


def running(service, cards, *sizes, state=ServiceState.READY, held=True, port=18000, host=(0, 0), **fields):
    """A service at work. `held` is True (it holds its footprint), None (not told) or GiB per card."""
    asked = service if isinstance(service, ServiceSpec) else spec(service)
    ids = tuple(map(CardId, cards))
    taken = footprint(*sizes, resident=host[0], loading=host[1])
    record = ServiceRecord(
        id=asked.id,
        state=state,
        generation=1,
        reason="",
        since=NOW,
        spec=asked,
        launch=Launch(EngineKind.LLAMA_CPP, (f"run-{asked.id}",), (), port, ids),
        footprint=taken,
        observed=tuple((CardId(card), gib(size)) for card, size in fields.pop("observed", {}).items()),
        admitting=fields.pop("admitting", state is ServiceState.READY),
    )
    seen = sizes if held is True else () if held is None else held
    return RunningService(
        record,
        held=tuple(zip(ids, map(gib, seen), strict=False)),
        host_held=fields.pop("host_held", 0),
        **fields,
    )


def card(name, total=24, *, free=None, index=None, model=MODEL, headroom=0, processes=(), **fields):
    """A card. Without `free` it is what `box` makes of the services on it and of `processes`."""
    index = int(name.rsplit("-", 1)[-1]) if index is None else index
    return Card(
        id=CardId(name),
        index=index,
        name=model,
        total=gib(total),
        free=-1 if free is None else gib(free),
        headroom=gib(headroom),
        processes=tuple(processes),
        **fields,
    )


def foreign(pid, size, command="python", user="alice"):
    return CardProcess(pid, None if size is None else gib(size), command, user)


def _filled(one, services):
    if one.free >= 0:
        return one
    used = sum(dict(service.held).get(one.id, 0) for service in services)
    used += sum(process.used or 0 for process in one.processes)
    return replace(one, free=one.total - one.reserved - used)


def box(cards, services=(), *, host=(256, 256), headroom=0, driver=DriverState.OK, reason="", **fields):
    """Facts without a target."""
    services = tuple(services)
    reading = CardsReading(
        at=NOW,
        driver=driver,
        cards=tuple(_filled(one, services) for one in cards),
        host=HostMemory(gib(host[0]), gib(host[1]), gib(headroom)),
        reason=reason,
    )
    return Facts(now=NOW, reading=reading, services=services, **fields)


def wanting(facts, *wishes, same=True, **findings):
    """Facts with findings and footprints for services: (spec, footprint) or (spec, {model: footprint}).

    A service that runs is found to have the same launch unless `same` is False or names others.
    """
    found, footprints = dict(facts.findings), dict(facts.footprints)
    for wish, taken in wishes:
        is_same = same if isinstance(same, bool) else wish.id in same
        one = facts.running(wish.id)
        port = one.record.launch.port if one else 18500 + len(found)
        default = TargetFinding(port=port, same_launch=bool(one) and is_same)
        found[wish.id] = replace(default, **findings.get(wish.id, {}))
        count = len(wish.cards.exact) or wish.cards.count
        models = {one.name for one in facts.reading.cards}
        by_model = taken if isinstance(taken, dict) else dict.fromkeys(models, taken)
        for model, one_footprint in by_model.items():
            footprints[FootprintKey(wish.id, count, model)] = one_footprint
    return replace(facts, findings=found, footprints=footprints)


def target(*specs, mode="m", **fields):
    return Target(mode=ModeId(mode), services=tuple(specs), **fields)


def in_mode(facts, mode="m", **fields):
    return replace(facts, desired=Desired(mode=mode, **fields))


def planned(decision):
    assert isinstance(decision, Plan), [one.detail for one in decision.reasons]
    return decision


def refused(decision):
    assert isinstance(decision, Refused), words(decision.steps)
    return decision.reasons


def codes(decision):
    return sorted({one.code.value for one in refused(decision)})


def words(steps):
    """Steps as 'kind service' words, in their order."""
    return [f"{step.kind} {step.service or ','.join(step.cards)}".strip() for step in steps]


def step(steps, kind, service):
    return next(one for one in steps if one.kind is StepKind(kind) and one.service == service)


def follows(steps, later, earlier):
    """Whether one step, as (kind, service), can only begin after another is done."""
    by_index = {one.index: one for one in steps}
    todo, seen = [step(steps, *later)], set()
    goal = step(steps, *earlier).index
    while todo:
        for index in todo.pop().after:
            if index == goal:
                return True
            if index not in seen:
                seen.add(index)
                todo.append(by_index[index])
    return False


def placed(plan):
    return {one.order.spec.id: one.order.cards for one in plan.steps if one.kind is StepKind.START}


LOST = CardHealth.LOST
