"""The largest setting of a model that fits: context, cache types, cards, layers on the host. Pure.

Every candidate is judged by the footprint's own code and by the landmines, as a preflight judges it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from gpumod.core.cards import CardModel
from gpumod.core.footprint import Footprint
from gpumod.core.landmine import Landmine
from gpumod.core.spec import CardRequest, EngineKind, KvCache, ServiceSpec, Task
from gpumod.core.units import format_size
from gpumod.discovery.box import Box
from gpumod.estimate.advice import LONGEST_CONTEXT, SMALLEST_CONTEXT, Advisor, Room

Landmines = Callable[[ServiceSpec, int, CardModel], tuple[Landmine, ...]]
"""Known traps of such a launch."""

WANTED: Final = 32768
"""A setting that allows so much context costs nothing else to get more."""
LITTLE: Final = 8192
"""With less on the cards alone, experts go to the host."""
LONGEST_INPUT: Final = 8192
"""For embedding and ranking: one input is computed in one batch, whose buffers grow with it."""
SMALLER_CACHE: Final = KvCache("q8_0", "q8_0")
_MOST_SHARE: Final = 92
_LEAST_SHARE: Final = 3
"""vLLM's share of a card, in percent: no more than its own default, which leaves room for the uncounted."""


@dataclass(frozen=True, slots=True)
class Sized:
    """A setting that fits.

    Args:
        spec: the service with it.
        footprint: what it takes.
        model: the cards' model.
        room: bytes that were there on the roomiest such card.
        limit: tokens of context that the model allows; None where it does not say.
        warnings: what a preflight would warn of.
    """

    spec: ServiceSpec
    footprint: Footprint
    model: CardModel
    room: int
    limit: int | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to be sized.

    Args:
        spec: the service with everything that memory does not decide.
        trained: the context that the model was trained on.
        quantisable_cache: its cache can be q8_0.
        expert_blocks: layers whose experts could stay on the host; 0 for a dense model.
    """

    spec: ServiceSpec
    trained: int | None
    quantisable_cache: bool = True
    expert_blocks: int = 0

    @property
    def limit(self) -> int | None:
        """The longest context worth having."""
        if self.spec.task in {Task.EMBEDDING, Task.RERANK}:
            return min(self.trained or LONGEST_INPUT, LONGEST_INPUT)
        return self.trained


@dataclass(frozen=True, slots=True)
class Sizer:
    """Sizes models for one box.

    Args:
        box: its cards.
        predict: the footprint of a service on so many cards of a model.
        landmines: its traps there.
    """

    box: Box
    predict: Callable[[ServiceSpec, int, CardModel], Footprint]
    landmines: Landmines

    def size(self, subject: Subject) -> Sized | str:
        """The best setting that fits, or a phrase that says why there is none."""
        best: Sized | None = None
        trap = ""
        for trial in self._trials(subject):
            found = self._largest(subject, trial)
            if isinstance(found, str):
                trap = trap or found
            elif found is not None and (best is None or _context(found) > _context(best)):
                best = found
            if best is not None and _context(best) >= min(WANTED, subject.limit or WANTED):
                return best
        least = min(LITTLE, subject.limit or LITTLE)
        if subject.expert_blocks and (best is None or _context(best) < least):
            best = self._with_experts_on_host(subject) or best
        return best or trap or self._why_not(subject)

    # --- llama.cpp and vLLM alike -----------------------------------------------------------------

    def _trials(self, subject: Subject) -> Iterator[_Trial]:
        """Settings in the order in which they are wanted; the context is looked for in each."""
        kinds = [self.box.of_model(model) for model in self.box.models]
        for count in range(1, max(map(len, kinds), default=0) + 1):
            for rooms in (rooms for rooms in kinds if len(rooms) >= count):
                trial = _Trial(replace(subject.spec, cards=CardRequest(count)), rooms)
                if trial.spec.engine is EngineKind.VLLM:
                    yield from self._with_share(subject, trial)
                else:
                    yield from _with_cache_types(subject, trial)

    def _largest(self, subject: Subject, trial: _Trial) -> Sized | str | None:
        """With the largest context that fits; a fatal trap's sentence; None where nothing fits."""
        advisor = self._advisor(subject, trial)
        known: dict[int, Footprint] = {}

        def fits(context: int) -> bool:
            footprint = advisor.fits(with_context(trial.spec, context))
            if footprint is not None:
                known[context] = footprint
            return footprint is not None

        context = largest(contexts_up_to(subject.limit), fits)
        if context is None:
            return None
        spec, room = with_context(trial.spec, context), trial.rooms[0]
        traps = self.landmines(spec, spec.cards.count, room.model)
        if fatal := next((trap for trap in traps if trap.fatal), None):
            return fatal.sentence
        warnings = tuple(trap.sentence for trap in traps)
        return Sized(spec, known[context], room.model, room.free, subject.limit, warnings)

    def _advisor(self, subject: Subject, trial: _Trial) -> Advisor:
        return Advisor(self.predict, trial.rooms, self.box.host, subject.limit)

    def _why_not(self, subject: Subject) -> str:
        if not self.box.rooms:
            return "no card can be used"
        room = self.box.rooms[0]
        context = contexts_up_to(subject.limit)[0]
        need = self.predict(with_context(subject.spec, context), 1, room.model)
        size, host = max(need.cards), need.resident + need.loading
        if size <= room.free and host > self.box.host:
            there = format_size(self.box.host)
            return f"needs {format_size(host)} of the host's memory, which has {there} to give"
        there = " + ".join(format_size(one.free) for one in self.box.rooms)
        return f"needs {format_size(size)} with a context of {context}; there is {there}"

    # --- experts on the host ----------------------------------------------------------------------

    def _with_experts_on_host(self, subject: Subject) -> Sized | None:
        """As few layers' experts on the host as allow a context that is worth it."""
        if self.box.on_host or not self.box.rooms:
            return None
        rooms = self.box.of_model(self.box.models[0])
        wanted = min(WANTED, subject.limit or WANTED)
        # The host counts at the end: what it cannot hold with the fewest layers it cannot hold with more.
        cards = Advisor(self.predict, rooms, None, subject.limit)

        def with_blocks(on_cards: int) -> ServiceSpec:
            llama = replace(subject.spec.llama, cpu_moe_layers=subject.expert_blocks - on_cards)
            return replace(subject.spec, llama=llama, draft=None)

        def fits(on_cards: int) -> bool:
            return cards.fits(with_context(with_blocks(on_cards), wanted)) is not None

        on_cards = largest(tuple(range(subject.expert_blocks)), fits)
        found = None if on_cards is None else self._largest(subject, _Trial(with_blocks(on_cards), rooms))
        return found if isinstance(found, Sized) else None

    # --- vLLM's share of the card -----------------------------------------------------------------

    def _with_share(self, subject: Subject, trial: _Trial) -> Iterator[_Trial]:
        """For chats the largest share there is room for, else the smallest that holds the context."""
        advisor = self._advisor(subject, trial)
        contexts = contexts_up_to(subject.limit)
        steps = range(_MOST_SHARE, _LEAST_SHARE, -1)
        small = subject.spec.task in {Task.EMBEDDING, Task.RERANK}
        for step in reversed(steps) if small else steps:
            options = replace(trial.spec.vllm, gpu_memory_utilization=step / 100)
            spec = replace(trial.spec, vllm=options)
            if advisor.fits(replace(spec, context=contexts[-1 if small else 0])) is not None:
                yield _Trial(spec, trial.rooms)
                return


class _Trial(NamedTuple):
    """A setting without its context, and cards of one model to put it on."""

    spec: ServiceSpec
    rooms: tuple[Room, ...]


def _with_cache_types(subject: Subject, trial: _Trial) -> Iterator[_Trial]:
    """First as the model is; then with a smaller cache; then without its draft."""
    spec = trial.spec
    for draft in dict.fromkeys((spec.draft, None)):
        yield _Trial(replace(spec, draft=draft), trial.rooms)
        if subject.quantisable_cache and spec.task in {Task.CHAT, Task.COMPLETION}:
            yield _Trial(replace(spec, draft=draft, kv_cache=SMALLER_CACHE), trial.rooms)


def contexts_up_to(limit: int | None) -> tuple[int, ...]:
    """Powers of two from the smallest context of any use, and the limit itself."""
    most = limit or LONGEST_CONTEXT
    powers = (1 << exponent for exponent in range(SMALLEST_CONTEXT.bit_length() - 1, most.bit_length()))
    return (*(power for power in powers if power < most), most)


def largest(values: tuple[int, ...], fits: Callable[[int], bool]) -> int | None:
    """The largest of ascending values that fits, where what fits does so with less as well."""
    # Most models fit as they are: one question is enough for them.
    if fits(values[-1]):
        return values[-1]
    if not fits(values[0]):
        return None
    low, high = 0, len(values) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(values[middle]) else (low, middle)
    return values[low]


def with_context(spec: ServiceSpec, context: int) -> ServiceSpec:
    """The service with a context; where one input is one batch, with batches of that length."""
    if spec.engine is EngineKind.LLAMA_CPP and spec.task in {Task.EMBEDDING, Task.RERANK}:
        llama = replace(spec.llama, batch=context, ubatch=context)
        return replace(spec, context=context, llama=llama)
    return replace(spec, context=context)


def _context(sized: Sized) -> int:
    return sized.spec.context or 0
