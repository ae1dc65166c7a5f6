"""The route of events."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema
from starlette.responses import Response

from gpumod.api.bodies import Position
from gpumod.api.box import LastEventId
from gpumod.api.context import Ctx, answer
from gpumod.api.document import streaming
from gpumod.api.streams import EventStream, event
from gpumod.api.wire import dumps
from gpumod.core.events import Event

router = APIRouter(tags=["events"])


class EventQuery(BaseModel):
    """Which events."""

    model_config = ConfigDict(extra="forbid")

    after: Annotated[
        Position | SkipJsonSchema[None],
        Field(description="Events with a larger number; without it, new ones."),
    ] = None
    once: Annotated[bool, Field(description="The kept events as a list instead of a stream.")] = False
    limit: Annotated[int, Field(ge=1, le=1000, description="At most so many, with `once`.")] = 1000


@router.get(
    "/events",
    responses=streaming(tuple[Event, ...], "A stream, each event's id its number; with `once` a list."),
)
async def events(
    ctx: Ctx, query: Annotated[EventQuery, Query()], last_event_id: LastEventId = None
) -> Response:
    """What happens, as a stream of server-sent events that `Last-Event-ID` resumes.

    A reader that is too slow is cut off, and may resume.
    """
    after = query.after if last_event_id is None else last_event_id
    if query.once:
        return answer(await ctx.read(ctx.deps.store.events(after or 0, query.limit)))
    source = ctx.deps.events.follow(after)
    return EventStream(ctx.streams, (event(one.seq, dumps(one)) async for one in source))
