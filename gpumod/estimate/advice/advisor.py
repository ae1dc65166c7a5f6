"""What would fit where a service does not: every suggestion is computed by the footprint's own code.

Pure: the footprint is a function that is passed in, and so is the memory that there is. Where the answer is a
number it is found by bisection, for a footprint never shrinks when the context, the slots, the layers on the
card or the utilisation grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from gpumod.core.cards import CardModel
from gpumod.core.footprint import Footprint
from gpumod.core.names import CardId
from gpumod.core.preflight import Advice, FittedContext
from gpumod.core.spec import CardRequest, EngineKind, ServiceSpec
from gpumod.estimate.advice.common import LONGEST_CONTEXT, fewer, largest, suggest
from gpumod.estimate.advice.llama import for_llama
from gpumod.estimate.advice.vllm import for_vllm
from gpumod.planner.spreading import divide

Predict = Callable[[ServiceSpec, int, CardModel], Footprint]
"""The footprint of a service on so many cards of a model."""

Works = Callable[[ServiceSpec, int, CardModel], bool]
"""Whether nothing is known that keeps a launch on so many cards of a model from working."""

CONTEXT_STEP: Final = 256
"""llama.cpp pads a context to that (src/llama-context.cpp, GGML_PAD of n_ctx); nothing is gained between."""
SMALLEST_CONTEXT: Final = 1024
"""With less, a chat model is of no use."""


@dataclass(frozen=True, slots=True)
class Room:
    """A card, and the bytes of it that a service could have."""

    card: CardId
    model: CardModel
    free: int


@dataclass(frozen=True, slots=True)
class Advisor:
    """Looks for settings with which one service fits.

    Args:
        predict: the footprint's code.
        rooms: every card that may be used, with what it has to give.
        host: bytes that the host has to give; None where that does not bind.
        trained: tokens of context that the model was trained for; None where that is not known.
        works: what is known not to work is not advised, whatever room there is for it.
    """

    predict: Predict
    rooms: tuple[Room, ...]
    host: int | None = None
    trained: int | None = None
    works: Works = lambda _spec, _count, _card: True

    def advice(self, spec: ServiceSpec) -> tuple[Advice, ...]:
        """What would do, the least loss first; empty where it fits, and where nothing alone would do."""
        if self.fits(spec) is not None:
            return ()
        found = [*self._cards(spec), *self._declared(spec)]
        if spec.vram is None and self._by_formula(spec):
            found += self._sizes(spec)
        return tuple(sorted(found, key=lambda one: one.loss))

    def fits(self, spec: ServiceSpec) -> Footprint | None:
        """The footprint on cards that have room for it and where it would serve; None without such cards."""
        found = (one for one, model in self._roomy(spec) if self._serves(spec, one, model))
        return next(found, None)

    def largest_context(self, spec: ServiceSpec) -> FittedContext:
        """The largest context per slot with which the service fits now, and within what it declares."""
        if spec.vram is not None:
            most = max(spec.vram.sizes)
            within = tuple(replace(room, free=min(room.free, most)) for room in self.rooms)
            return replace(self, rooms=within).largest_context(replace(spec, vram=None))
        limit = self.trained or LONGEST_CONTEXT
        smallest = min(SMALLEST_CONTEXT, limit)

        def at(context: int) -> Footprint | None:
            return self.fits(replace(spec, context=context))

        found = largest(limit, smallest, CONTEXT_STEP, at)
        if found is None:
            return FittedContext(None, reason=self._no_context(spec, smallest))
        context, footprint = found
        if footprint.formula is None:
            return FittedContext(None, reason="how its memory follows from its context is not known")
        if context < limit:
            reason = "more does not fit"
        elif self.trained:
            reason = "the model was trained for no more"
        else:
            reason = "nothing longer was tried: what the model was trained for is not known"
        return FittedContext(context, f"context: {context}", footprint.cards, reason)

    def _no_context(self, spec: ServiceSpec, smallest: int) -> str:
        if spec.engine is EngineKind.VLLM and self.has_room(replace(spec, context=smallest)) is None:
            return "vLLM's share of the card is more than there is, whatever the context"
        return f"not even a context of {smallest} tokens fits"

    def _by_formula(self, spec: ServiceSpec) -> bool:
        """Whether a change of its settings changes what is predicted, as it does not from files' sizes."""
        return any(footprint.formula is not None for footprint, _, _ in self._placements(spec))

    # --- room -------------------------------------------------------------------------------------

    def _placements(self, spec: ServiceSpec) -> Iterator[tuple[Footprint, CardModel, tuple[int, ...]]]:
        """Footprints by the cards' models, each with the room on the roomiest such cards."""
        rooms = [room for room in self.rooms if not spec.cards.exact or room.card in spec.cards.exact]
        count = len(spec.cards.exact) or spec.cards.count
        for model in {room.model.name: room.model for room in rooms}.values():
            free = sorted((room.free for room in rooms if room.model.name == model.name), reverse=True)
            if len(free) >= count:
                yield self.predict(spec, count, model), model, tuple(free[:count])

    def _roomy(self, spec: ServiceSpec) -> Iterator[tuple[Footprint, CardModel]]:
        for footprint, model, free in self._placements(spec):
            placed = self._placed(footprint, free)
            if placed is not None:
                yield placed, model

    def has_room(self, spec: ServiceSpec) -> Footprint | None:
        """The footprint on cards that have room for it, whether it would serve there or not."""
        return next((footprint for footprint, _ in self._roomy(spec)), None)

    def _serves(self, spec: ServiceSpec, footprint: Footprint, model: CardModel) -> bool:
        """Whether it would start: vLLM does not where its cache cannot hold one whole request."""
        if not self.works(spec, len(footprint.cards), model):
            return False
        wanted = spec.context or self.trained
        pool = footprint.pool
        return pool is None or wanted is None or pool.largest_context >= wanted

    def _placed(self, footprint: Footprint, free: tuple[int, ...]) -> Footprint | None:
        """The footprint as the cards would take it; None where they have no room for it."""
        if self.host is not None and footprint.resident + footprint.loading > self.host:
            return None
        needs = sorted(footprint.cards, reverse=True)
        if all(need <= there for need, there in zip(needs, free, strict=True)):
            return footprint
        counts = divide(footprint.spread, free) if footprint.spread is not None else None
        if footprint.spread is None or counts is None:
            return None
        return replace(footprint, cards=footprint.spread.cards(counts), split=counts)

    # --- what would do ----------------------------------------------------------------------------

    def _cards(self, spec: ServiceSpec) -> Iterator[Advice]:
        """Other cards, and more of them: nothing is lost."""
        if len(spec.cards.exact) == 1:
            for room in sorted(self.rooms, key=lambda room: -room.free):
                moved = replace(spec, cards=CardRequest(1, (room.card,)))
                footprint = self.fits(moved)
                if footprint is not None:
                    line = f"cards: [{room.card}]"
                    detail = f"{room.model.name} {room.card} has room"
                    yield suggest("cards", f"[{room.card}]", detail, footprint, 0.0, line)
                    break
        now = len(spec.cards.exact) or spec.cards.count
        for count in range(now + 1, len(self.rooms) + 1):
            wider = replace(spec, cards=CardRequest(count), split=None if now == 1 else spec.split)
            footprint = self.fits(wider)
            if footprint is not None:
                detail = f"on {count} cards of one model; nothing is lost but their room"
                yield suggest("cards", str(count), detail, footprint, 0.5 + count / 100)
                break

    def _declared(self, spec: ServiceSpec) -> Iterator[Advice]:
        if spec.vram is None:
            return
        footprint = self.fits(replace(spec, vram=None))
        if footprint is not None:
            detail = f"what is {footprint.source} is less than what is declared"
            yield suggest("vram", "auto", detail, footprint, 0.25)

    def _sizes(self, spec: ServiceSpec) -> Iterator[Advice]:
        if spec.engine is EngineKind.VLLM:
            yield from for_vllm(self, spec)
        elif spec.engine is EngineKind.LLAMA_CPP:
            yield from for_llama(self, spec)
        else:
            return
        yield from self._context(spec)
        yield from self._slots(spec)

    def _context(self, spec: ServiceSpec) -> Iterator[Advice]:
        before = spec.context or self.trained or LONGEST_CONTEXT
        found = self.largest_context(spec)
        if found.context is None or found.context >= before:
            return
        footprint = self.fits(replace(spec, context=found.context))
        if footprint is not None:
            lost = 1 - found.context / before
            detail = fewer(before, found.context)
            yield suggest("context", str(found.context), detail, footprint, 2 + 2 * lost)

    def _slots(self, spec: ServiceSpec) -> Iterator[Advice]:
        before = spec.slots or 1

        def at(slots: int) -> Footprint | None:
            return self.fits(replace(spec, slots=slots))

        found = largest(before - 1, 1, 1, at) if before > 1 else None
        if found is not None:
            slots, footprint = found
            detail = f"{slots} requests at once instead of {before}"
            yield suggest("slots", str(slots), detail, footprint, 2 + (before - slots) / before)
