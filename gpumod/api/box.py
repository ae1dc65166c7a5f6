"""Routes that tell what the box is like, and those on single services."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema
from starlette.responses import Response

from gpumod.api.begin import Ask, carry_out, duration
from gpumod.api.bodies import (
    NAME,
    ActBody,
    CardsAnswer,
    LogAnswer,
    Position,
    StartBody,
)
from gpumod.api.context import Context, Ctx, answer
from gpumod.api.document import reading, streaming, switching
from gpumod.api.idempotency import OnceOnly
from gpumod.api.streams import EventStream, event
from gpumod.api.wire import clean
from gpumod.core.errors import NotFoundError
from gpumod.core.names import PresetId, ServiceId
from gpumod.core.near import hint
from gpumod.core.service import ServiceRecord
from gpumod.core.switch import BoxStatus, SwitchRecord, SwitchRequest

router = APIRouter()
Id = Annotated[str, Path(pattern=NAME)]
LastEventId = Annotated[
    Position | SkipJsonSchema[None], Header(description="Where a broken stream is taken up again.")
]


@router.get("/status", responses=reading(BoxStatus), tags=["box"])
async def status(ctx: Ctx) -> Response:
    """What the box is like: mode, services, cards, leases, and the switch under way."""
    return answer(await ctx.read(ctx.deps.switching.status()))


@router.get("/cards", responses=reading(CardsAnswer), tags=["box"])
async def cards(ctx: Ctx) -> Response:
    """The cards and the host as last read, with their budgets."""
    box = await ctx.read(ctx.deps.switching.status())
    look = box.reading
    return answer(
        CardsAnswer(
            at=look.at,
            driver=look.driver,
            cards=look.cards,
            host=look.host,
            reason=look.reason,
            driver_version=look.driver_version,
            budgets=box.budgets,
            overcommitted=box.overcommitted,
        )
    )


@router.get("/services", responses=reading(tuple[ServiceRecord, ...]), tags=["services"])
async def services(ctx: Ctx) -> Response:
    """Every service that is known."""
    return answer((await ctx.read(ctx.deps.switching.status())).services)


@router.get("/services/{id}", responses=reading(ServiceRecord, 404), tags=["services"])
async def service(ctx: Ctx, id: Id) -> Response:
    """One service."""
    box = await ctx.read(ctx.deps.switching.status())
    found = next((record for record in box.services if record.id == id), None)
    if found is None:
        near = hint(id, (record.id for record in box.services))
        raise NotFoundError(f"no service {id} has run here; {near}", {"service": id})
    return answer(found)


@router.post(
    "/services/{id}/start",
    responses=switching(SwitchRecord),
    tags=["services"],
)
async def start(ctx: Ctx, once: OnceOnly, id: Id, body: StartBody) -> Response:
    """Start a service, on top of what runs."""
    preset = PresetId(body.preset) if body.preset else None
    ask = SwitchRequest(start=ServiceId(id), preset=preset, force=body.force, by=once.by)
    return await once(body, carry_out(ctx, Ask(ask, duration(ctx, wait=body.wait))))


@router.post(
    "/services/{id}/stop",
    responses=switching(SwitchRecord),
    tags=["services"],
)
async def stop(ctx: Ctx, once: OnceOnly, id: Id, body: ActBody) -> Response:
    """Stop a service; it stays stopped until something asks for it."""
    ask = SwitchRequest(stop=ServiceId(id), force=body.force, by=once.by)
    return await once(body, carry_out(ctx, Ask(ask, duration(ctx, wait=body.wait))))


@router.post(
    "/services/{id}/restart",
    responses=switching(SwitchRecord),
    tags=["services"],
)
async def restart(ctx: Ctx, once: OnceOnly, id: Id, body: ActBody) -> Response:
    """Stop and start a service."""
    ask = SwitchRequest(restart=ServiceId(id), force=body.force, by=once.by)
    return await once(body, carry_out(ctx, Ask(ask, duration(ctx, wait=body.wait))))


class LogQuery(BaseModel):
    """Which part of a log."""

    model_config = ConfigDict(extra="forbid")

    lines: Annotated[
        Annotated[int, Field(ge=1, le=10_000)] | SkipJsonSchema[None],
        Field(description="The last lines; 200, or none before a stream."),
    ] = None
    follow: Annotated[bool, Field(description="A stream of the lines to come.")] = False
    after: Annotated[
        Position | SkipJsonSchema[None],
        Field(description="A stream from this byte offset; 0 is the beginning."),
    ] = None


@router.get(
    "/services/{id}/logs",
    responses=streaming(LogAnswer, "The last lines; or a stream, each event's id a byte offset.", 404),
    tags=["services"],
)
async def logs(
    ctx: Ctx, request: Request, id: Id, query: Annotated[LogQuery, Query()], last_event_id: LastEventId = None
) -> Response:
    """The last lines of a service's log.

    With `follow`, `after` or `Accept: text/event-stream`: the lines to come.
    """
    name = ServiceId(id)
    after = query.after if last_event_id is None else last_event_id
    streamed = "text/event-stream" in request.headers.get("accept", "")
    if query.follow or streamed or after is not None:
        return _follow(ctx, name, after, query.lines or 0)
    lines = await ctx.read(ctx.deps.switching.log(name, query.lines or 200))
    return answer(LogAnswer(tuple(clean(line) for line in lines)))


def _follow(ctx: Context, service: ServiceId, after: int | None, lines: int) -> Response:
    switching = ctx.deps.switching
    # Called here, not in the stream: an unknown service is a 404, not a broken stream.
    upcoming = switching.follow_log(service, after)

    async def source() -> AsyncIterator[bytes]:
        if lines and after is None:
            for line in await ctx.read(switching.log(service, lines)):
                yield event(None, clean(line).encode())
        async for offset, line in upcoming:
            yield event(offset, clean(line).encode())

    return EventStream(ctx.streams, source())
