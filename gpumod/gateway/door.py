"""The door: decides where each request goes, counts it in and out, and lets it wait where it has to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gpumod.access import AccessRules
from gpumod.config.gateway import GatewaySettings, KeyLimits
from gpumod.core.errors import InvalidRequestError
from gpumod.core.names import ServiceId
from gpumod.core.ports import Admission, Clock, Switching
from gpumod.core.spec import OnDemand
from gpumod.gateway.demand import Demand, Meter, Verdict, Why, Wish, options
from gpumod.gateway.demand.verdicts import closing, lost
from gpumod.gateway.errors import code_of, error_answer, error_event, keep_alive
from gpumod.gateway.exchange import Answer, Ending, Head, Passage, Request, Transfer, Waiting
from gpumod.gateway.judging import Judge
from gpumod.gateway.naming import DEFAULT
from gpumod.gateway.reading import has_decided, looks_only, named_by, with_model
from gpumod.gateway.routes import is_gateway, route_of
from gpumod.gateway.shape import Named, reshape
from gpumod.gateway.targets import EngineKey, Target, Targets, read_engine_key
from gpumod.gateway.telling import (
    exceeded_answer,
    failed_answer,
    not_for_key,
    unknown_model,
    verdict_answer,
)

_log = logging.getLogger(__name__)
_NO_LIMITS = KeyLimits()
_RETRIES = 2
"""How often a request is sent again whose engine went away before it answered."""
_SUSPICION = 1.0
"""Seconds for which an engine that took no connection gets no request: long enough for the supervisor to see
that its process is gone, short enough for one whose backlog was full."""

Observe = Callable[[Request, Passage, Transfer], None]
Refused = Callable[[str, str, int, str], None]
"""Takes the route, the key's name, the status and the error's code."""


@dataclass(slots=True)
class _Key:
    """What a key may do, and its requests that have not ended."""

    name: str
    limits: KeyLimits
    meter: Meter


@dataclass(slots=True)
class _Inside:
    """A request on its way. It holds its passage, so that no other one can have the same identity."""

    passage: Passage
    key: _Key
    named: Named | None
    tries: int
    looks: bool


class GatewayDoor:
    """Implements the `Door` protocol.

    Args:
        switching: for the files that are in use.
        admission: the gates.
        demand: lets requests wait; it is started and closed with the door.
        access: keys and names of hosts.
        settings: the gateway's.
        limits: of each key, by its name; who has none may do everything that its policy lets it.
        clock: monotonic seconds.
        engine_key: the key that an engine itself asks for.
        observe: told of every request that was passed on, when it has ended.
        refused: told of every answer that the gateway gave itself, before any engine was asked.
    """

    def __init__(
        self,
        switching: Switching,
        admission: Admission,
        demand: Demand,
        access: AccessRules,
        settings: GatewaySettings,
        limits: Mapping[str, KeyLimits],
        clock: Clock,
        *,
        engine_key: EngineKey = read_engine_key,
        observe: Observe = lambda _request, _passage, _transfer: None,
        refused: Refused = lambda _route, _key, _status, _code: None,
    ) -> None:
        self._switching = switching
        self._admission = admission
        self._demand = demand
        self._judge = Judge(access, settings.body_limit)
        self._settings = settings
        self._limits = limits
        self._clock = clock
        self._observe = observe
        self._refused = refused
        self._targets = Targets(admission, switching.catalog, demand.usable, engine_key)
        self._keys: dict[str, _Key] = {}
        self._inside: dict[int, _Inside] = {}
        self._closing = False
        self._empty = asyncio.Event()
        self._unsubscribe = admission.subscribe(self._targets.forget)

    # --- life --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to let requests wait."""
        await self._demand.start()

    async def close(self, deadline: float) -> None:
        """Answer all who wait, let in nobody, and give those inside so many seconds. May be called again."""
        self._closing = True
        await self._demand.close()
        if self._inside:
            drained = asyncio.ensure_future(self._empty.wait())
            timer = asyncio.ensure_future(self._clock.sleep(deadline))
            await asyncio.wait({drained, timer}, return_when=asyncio.FIRST_COMPLETED)
            for one in (drained, timer):
                one.cancel()
            await asyncio.gather(drained, timer, return_exceptions=True)
        unsubscribe, self._unsubscribe = self._unsubscribe, lambda: None
        unsubscribe()

    @property
    def inside(self) -> int:
        """Requests that were passed on and have not ended."""
        return len(self._inside)

    # --- Door ----------------------------------------------------------------------------------------

    def mine(self, path: bytes) -> bool:
        """Whether a path is the gateway's."""
        return is_gateway(path)

    def judge(self, head: Head) -> Request | Answer:
        """Whether a request may go on, before its body is kept."""
        verdict = self._judge.judged(head)
        if isinstance(verdict, Answer):
            route = route_of(head.method, head.path)
            self._refused(route.name if route is not None else "", "", verdict.status, code_of(verdict))
        return verdict

    def open(self, request: Request) -> Passage | Answer | Waiting:
        """Where a request goes."""
        where = self._open(request)
        return self._told(request, where) if isinstance(where, Answer) else where

    def _open(self, request: Request) -> Passage | Answer | Waiting:
        dialect = request.route.dialect
        try:
            named = named_by(request)
        except InvalidRequestError as error:
            return error_answer(dialect, 400, str(error.code), error.detail, error.facts)
        if self._closing:
            return verdict_answer(dialect, closing())
        key = self._key(request.principal.name)
        if key.limits.models and (request.model or DEFAULT) not in key.limits.models:
            return not_for_key(dialect, key.name, request.model or DEFAULT)
        exceeded = key.meter.enter(self._clock.monotonic())
        if exceeded is not None:
            return exceeded_answer(dialect, exceeded)
        return self._place(request, key, named, tries=0)

    def again(self, request: Request, passage: Passage) -> Passage | Answer | Waiting:
        """The engine took no connection, or closed it before it answered: where else to send it."""
        inside = self._out(passage)
        if inside is None:
            return failed_answer(request.route.dialect, Ending.UNREACHABLE)
        if self._admission.generation(passage.service) == passage.generation:
            until = self._clock.monotonic() + _SUSPICION
            self._demand.suspect(passage.service, passage.generation, until)
        self._targets.forget()
        tries = inside.tries + 1
        if self._closing or tries > _RETRIES:
            inside.key.meter.leave()
            verdict = closing() if self._closing else lost(request.model, tries)
            return self._told(request, verdict_answer(request.route.dialect, verdict))
        where = self._place(request, inside.key, inside.named, tries=tries, queued=passage.queued)
        return self._told(request, where) if isinstance(where, Answer) else where

    def _told(self, request: Request, answer: Answer) -> Answer:
        """An answer of the gateway's own, which somebody counts."""
        self._refused(request.route.name, request.principal.name, answer.status, code_of(answer))
        return answer

    def finished(self, request: Request, passage: Passage, transfer: Transfer) -> None:
        """A request that was passed on has ended. A second call for it does nothing."""
        inside = self._out(passage)
        if inside is None:
            return
        inside.key.meter.leave()
        try:
            self._observe(request, passage, transfer)
        except Exception:  # noqa: BLE001 - what is written of a request must not harm it
            _log.exception("a request could not be accounted for")

    def failed(self, request: Request, ending: Ending) -> Answer:
        """What a client gets whose answer had not begun."""
        if self._closing:
            return verdict_answer(request.route.dialect, closing())
        return failed_answer(request.route.dialect, ending)

    def failed_event(self, request: Request, answer: Answer) -> bytes:
        """An error as an event of the client's stream, with its end mark."""
        return error_event(request.route.dialect, answer)

    def keep_alive(self, request: Request) -> bytes:
        """What a stream gets while it waits."""
        return keep_alive(request.route.dialect)

    def subscribe(self, on_change: Callable[[], None]) -> None:
        """Be told when services may have gone."""

        def shielded() -> None:
            try:
                on_change()
            except Exception:  # noqa: BLE001 - it is called amid the supervisor's steps, and must not fail them
                _log.exception("the gateway could not follow a change of the box")

        self._admission.subscribe(shielded)

    def current(self, service: ServiceId, generation: int) -> bool:
        """Whether connections to this attempt of a service are still of use.

        Not while it drains either: an engine that is told to end may wait until its clients have hung up.
        """
        return self._admission.admits(service) and not self.gone(service, generation)

    def gone(self, service: ServiceId, generation: int) -> bool:
        """Whether no process of this attempt is left."""
        return self._admission.generation(service) != generation

    # --- inside ----------------------------------------------------------------------------------------

    def _key(self, name: str) -> _Key:
        key = self._keys.get(name)
        if key is None:
            limits = self._limits.get(name, _NO_LIMITS)
            meter = Meter(limits.concurrency, limits.rate, self._clock.monotonic())
            key = self._keys[name] = _Key(name, limits, meter)
        return key

    def _place(
        self, request: Request, key: _Key, named: Named | None, *, tries: int, queued: float = 0.0
    ) -> Passage | Answer | Waiting:
        """The way to a service that admits, or the queue. The key has counted the request."""
        try:
            return self._find_place(request, key, named, tries=tries, queued=queued)
        except Exception:
            key.meter.leave()  # whoever asked answers it
            raise

    def _find_place(
        self, request: Request, key: _Key, named: Named | None, *, tries: int, queued: float
    ) -> Passage | Answer | Waiting:
        target = self._targets.of(request.model)
        if target is not None:
            return self._let_in(request, key, named, target, tries=tries, queued=queued)
        wish = self._wish(request, key)
        if wish is None:
            key.meter.leave()
            return unknown_model(request.route.dialect, request.model, self._switching.catalog())
        return self._wait(request, key, named, wish, tries=tries, queued=queued)

    def _let_in(
        self, request: Request, key: _Key, named: Named | None, target: Target, *, tries: int, queued: float
    ) -> Passage | Answer:
        body = request.body
        try:
            if named is not None and request.route.names_model:
                body = reshape(request.headers, body, named, target.served, target.shape)
        except InvalidRequestError as error:
            key.meter.leave()
            return error_answer(request.route.dialect, 400, str(error.code), error.detail, error.facts)
        if request.upgrade and request.route.names_model:
            request.query = with_model(request.query, target.served)
        passage = Passage(
            service=target.service,
            port=target.port,
            generation=target.generation,
            path=request.route.path,
            body=body,
            headers=target.headers,
            queued=queued,
        )
        self._demand.entered(target.service, key.limits.priority)
        self._inside[id(passage)] = _Inside(passage, key, named, tries, looks_only(request))
        return passage

    def _out(self, passage: Passage) -> _Inside | None:
        inside = self._inside.pop(id(passage), None)
        if inside is not None:
            self._demand.left(passage.service, inside.key.limits.priority, used=not inside.looks)
            if self._closing and not self._inside:
                self._empty.set()
        return inside

    def _wish(self, request: Request, key: _Key) -> Wish | None:
        """What is asked of the queue; None where nothing has that name."""
        catalog = self._switching.catalog()
        offered = options(
            catalog,
            request.model,
            OnDemand.NEVER if looks_only(request) else key.limits.on_demand,
            self._settings.on_demand,
            idled=self._demand.idled_mode,
            decided=has_decided(request),
        )
        if not offered and not self._admission.candidates(request.model or DEFAULT):
            return None
        starts = not looks_only(request)
        return Wish(request.model, key.name, key.limits.priority, offered, starts)

    def _settled(
        self,
        request: Request,
        key: _Key,
        named: Named | None,
        outcome: ServiceId | Verdict,
        *,
        tries: int,
        queued: float,
    ) -> Passage | Answer:
        """What the queue's word means for the one who waited."""
        if not isinstance(outcome, Verdict):
            target = self._targets.of(request.model)
            if target is not None:
                return self._let_in(request, key, named, target, tries=tries, queued=queued)
            outcome = Verdict(Why.LOST, f"{request.model} went away as the request was to be passed on")
        key.meter.leave()
        return verdict_answer(request.route.dialect, outcome)

    def _wait(
        self, request: Request, key: _Key, named: Named | None, wish: Wish, *, tries: int, queued: float
    ) -> Waiting | Answer:
        waiting: Waiting = asyncio.get_running_loop().create_future()
        since = self._clock.monotonic()
        asked = False  # what is settled while it is asked is answered, and told, by whoever asks

        def settle(outcome: ServiceId | Verdict) -> None:
            if waiting.done():
                return  # its client went away, and the queue is about to learn of it
            waited = queued + self._clock.monotonic() - since
            try:
                where = self._settled(request, key, named, outcome, tries=tries, queued=waited)
                if asked and isinstance(where, Answer):
                    self._told(request, where)
                waiting.set_result(where)
            except Exception as error:  # noqa: BLE001 - a defect must leave nobody waiting
                key.meter.leave()
                waiting.set_exception(error)

        ticket = self._demand.ask(wish, settle)
        asked = True
        if waiting.done():
            refused = waiting.result()
            return refused if isinstance(refused, Answer) else waiting

        def given_up(done: Waiting) -> None:
            if done.cancelled():
                key.meter.leave()
                self._demand.gone(ticket)

        waiting.add_done_callback(given_up)
        return waiting
