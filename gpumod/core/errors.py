"""Errors that a user may see: each with a stable code, a sentence and its numbers."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping


class ErrorCode(StrEnum):
    """Stable names of errors, the same in the API, the CLI and the log."""

    INTERNAL = "internal"
    INVALID_REQUEST = "invalid_request"
    NOT_FOUND = "not_found"
    REFUSED = "refused"
    SWITCH_RUNNING = "switch_running"
    NOT_ALLOWED = "not_allowed"
    UNAUTHENTICATED = "unauthenticated"
    STORE = "store_unavailable"
    CONFIG = "config_invalid"
    TIMED_OUT = "timed_out"
    UNREACHABLE = "daemon_unreachable"
    ALREADY_RUNNING = "daemon_already_running"
    NEWER_SCHEMA = "newer_schema"
    ILLEGAL_TRANSITION = "illegal_transition"
    START_FAILED = "start_failed"
    STOP_FAILED = "stop_failed"
    MEMORY_HELD = "memory_held"
    CANCELLED = "cancelled"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    TOO_MANY = "too_many"


class GpumodError(Exception):
    """Base of all errors that carry a message for the user.

    Attributes:
        detail: one sentence that says what is wrong and what to do.
        facts: the numbers and names behind the sentence, JSON-compatible.
    """

    code: ClassVar[ErrorCode] = ErrorCode.INTERNAL

    def __init__(self, detail: str, facts: Mapping[str, object] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts: dict[str, object] = dict(facts or {})


class InvalidRequestError(GpumodError):
    """The request cannot be understood or contradicts itself."""

    code = ErrorCode.INVALID_REQUEST


class NotFoundError(GpumodError):
    """No mode, service, switch, lease or card has that name."""

    code = ErrorCode.NOT_FOUND


class NotAllowedError(GpumodError):
    """The caller's key or origin does not permit this."""

    code = ErrorCode.NOT_ALLOWED


class UnauthenticatedError(GpumodError):
    """A key is needed and none, or a wrong one, was sent."""

    code = ErrorCode.UNAUTHENTICATED


class SwitchRunningError(GpumodError):
    """Another switch is under way; ``facts["switch"]`` is its id."""

    code = ErrorCode.SWITCH_RUNNING


class RefusedError(GpumodError):
    """The plan cannot be; ``facts["reasons"]`` has every refusal with its numbers."""

    code = ErrorCode.REFUSED


class TimedOutError(GpumodError):
    """An answer did not come in time; what was asked for may go on."""

    code = ErrorCode.TIMED_OUT


class UnreachableError(GpumodError):
    """No daemon answers where it was looked for."""

    code = ErrorCode.UNREACHABLE


class StoreError(GpumodError):
    """The database cannot be read or written; running services are left alone."""

    code = ErrorCode.STORE


class NewerSchemaError(GpumodError):
    """The database was written by a newer gpumod."""

    code = ErrorCode.NEWER_SCHEMA


class ConfigError(GpumodError):
    """Settings that prevent the daemon from starting."""

    code = ErrorCode.CONFIG


class AlreadyRunningError(GpumodError):
    """Another daemon owns this state directory."""

    code = ErrorCode.ALREADY_RUNNING


class StartFailedError(GpumodError):
    """A service did not become ready; the detail says why, with the engine's last words."""

    code = ErrorCode.START_FAILED


class StopFailedError(GpumodError):
    """A process of a service could not be killed."""

    code = ErrorCode.STOP_FAILED


class MemoryHeldError(GpumodError):
    """Memory did not come back in time; the detail names who holds it."""

    code = ErrorCode.MEMORY_HELD


class CancelledSwitchError(GpumodError):
    """The switch was cancelled, pre-empted, or ran past its deadline."""

    code = ErrorCode.CANCELLED


class IdempotencyMismatchError(GpumodError):
    """An idempotency key was used again with a different request."""

    code = ErrorCode.IDEMPOTENCY_MISMATCH


class TooManyError(GpumodError):
    """As much of this as there may be is there already."""

    code = ErrorCode.TOO_MANY


class IllegalTransitionError(GpumodError):
    """A state change that the transition table does not have: a defect in gpumod."""

    code = ErrorCode.ILLEGAL_TRANSITION

    def __init__(self, source: str, target: str) -> None:
        super().__init__(
            f"a service cannot go from {source} to {target}", {"source": str(source), "target": str(target)}
        )
