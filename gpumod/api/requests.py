"""Routes on what models were asked through the gateway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from gpumod.api.context import Ctx, answer
from gpumod.api.document import reading
from gpumod.core.account import Account

router = APIRouter(tags=["requests"])


@dataclass(frozen=True, slots=True)
class RequestAnswer:
    """One request. Its `speed` is in tokens per second."""

    account: Account
    speed: float | None


class RequestQuery(BaseModel):
    """How many."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=1000)] = 50


@router.get("/requests", responses=reading(tuple[RequestAnswer, ...]))
async def requests(ctx: Ctx, query: Annotated[RequestQuery, Query()]) -> Response:
    """The latest requests to models that have ended, newest first: times, tokens, outcome, no contents."""
    return answer([RequestAnswer(one, one.speed) for one in ctx.deps.requests(query.limit)])
