"""The synchronous client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import httpx2

from gpumod.client import calls, job_calls, transport
from gpumod.client.calls import Call, Cards, LogLine, Preflight, Verb

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from types import TracebackType

    from gpumod.client.address import Address
    from gpumod.client.job_calls import Compared, Job, ScheduledJob, Work
    from gpumod.core.events import Event
    from gpumod.core.job import JobState, Result, Sample
    from gpumod.core.lease import Lease
    from gpumod.core.plan import Plan
    from gpumod.core.service import ServiceRecord
    from gpumod.core.spec import Catalog, Mode, OnFailure, Problem, ServiceSpec
    from gpumod.core.switch import BoxStatus, SwitchRecord

T = TypeVar("T")


class Client:
    """gpumodd, from synchronous code.

    Use it as a context manager, or call `close`.

    Args:
        address: a host, `host:port`, a URL or the path of a Unix socket. Without one: `$GPUMOD_SOCKET`,
            `$GPUMOD_HOST`, then the default sockets, then 127.0.0.1:7780.
        key: without one: `$GPUMOD_KEY`, then the file `$GPUMOD_KEY_FILE`, then ~/.config/gpumod/key.

    Raises (all methods):
        UnreachableError: nobody answers at the address.
        TimedOutError: no answer in time.
        NotAllowedError, UnauthenticatedError: the key does not permit it.
        GpumodError: anything else that went wrong, by its subclass.
    """

    def __init__(self, address: Address | str | None = None, *, key: str | None = None) -> None:
        self.address = transport.where(address)
        self._http = httpx2.Client(
            base_url=self.address.url,
            headers=transport.headers(key),
            # A proxy from the environment has no business between this and a daemon on the same box.
            transport=httpx2.HTTPTransport(
                uds=self.address.socket, trust_env=False, verify=transport.trust(self.address)
            ),
            trust_env=False,
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _do(self, call: Call[T]) -> T:
        self.address.check()
        try:
            response = self._http.request(
                call.method,
                transport.url(call),
                params=transport.params(call),
                json=call.body,
                headers=call.headers,
                timeout=transport.timeout(call.seconds),
            )
        except httpx2.HTTPError as error:
            raise transport.failure(self.address, call, error) from error
        return transport.read(call, response)

    def _follow(self, call: Call[T]) -> Generator[T]:
        self.address.check()
        try:
            with self._http.sse(
                transport.url(call), params=transport.params(call), timeout=transport.stream_timeout()
            ) as source:
                if source.response.status_code >= 400:
                    source.response.read()
                    transport.read(call, source.response)
                for sse in source:
                    value = transport.event(call, sse)
                    if value is not None:
                        yield value
        except httpx2.HTTPError as error:
            raise transport.failure(self.address, call, error) from error

    def status(self) -> BoxStatus:
        """What the box is like."""
        return self._do(calls.status())

    def cards(self) -> Cards:
        """The cards and the host as last read, with their budgets."""
        return self._do(calls.cards())

    def services(self) -> tuple[ServiceRecord, ...]:
        """Every service that the daemon knows."""
        return self._do(calls.services())

    def service(self, id: str) -> ServiceRecord:
        """One service."""
        return self._do(calls.service(id))

    def start(
        self, id: str, *, preset: str | None = None, force: bool = False, wait: bool = True
    ) -> SwitchRecord:
        """Start a service, from another preset than its id names if one is given."""
        return self._do(calls.act("start", id, preset=preset, force=force, wait=wait))

    def stop(self, id: str, *, force: bool = False, wait: bool = True) -> SwitchRecord:
        """Stop a service; it stays stopped until something asks for it."""
        return self._do(calls.act("stop", id, preset=None, force=force, wait=wait))

    def restart(self, id: str, *, force: bool = False, wait: bool = True) -> SwitchRecord:
        """Stop and start a service."""
        return self._do(calls.act("restart", id, preset=None, force=force, wait=wait))

    def act(
        self, verb: Verb, id: str, *, preset: str | None = None, force: bool = False, wait: bool = True
    ) -> SwitchRecord:
        """Start, stop or restart a service."""
        return self._do(calls.act(verb, id, preset=preset, force=force, wait=wait))

    def modes(self) -> tuple[Mode, ...]:
        """Every mode in use."""
        return self._do(calls.modes())

    def mode(self, id: str) -> Mode:
        """One mode."""
        return self._do(calls.mode(id))

    def presets(self) -> tuple[ServiceSpec, ...]:
        """Every preset in use."""
        return self._do(calls.presets())

    def preset(self, id: str) -> ServiceSpec:
        """One preset."""
        return self._do(calls.preset(id))

    def switch(
        self,
        mode: str,
        *,
        wait: bool = True,
        force: bool = False,
        on_failure: OnFailure | str | None = None,
        deadline: float | None = None,
        idempotency_key: str | None = None,
    ) -> SwitchRecord:
        """Switch to a mode. A waited-for switch may have failed: look at the record's `state`.

        Args:
            mode: the mode's id.
            wait: answer when the switch has ended, instead of when it has begun.
            force: go past leases, and pre-empt a running switch when the mode is `blank`.
            on_failure: what a failed switch leaves: `restore`, `blank` or `keep`; the mode's own by default.
            deadline: seconds for the whole switch, after which it is undone.
            idempotency_key: repeating the request with the same key does nothing more.

        Raises:
            RefusedError: it could not be; `facts["reasons"]` says why.
            SwitchRunningError: a different switch is under way.
        """
        call = calls.switch(
            mode,
            wait=wait,
            force=force,
            on_failure=on_failure,
            deadline=deadline,
            idempotency_key=idempotency_key,
        )
        return self._do(call)

    def plan(self, mode: str, *, force: bool = False, on_failure: OnFailure | str | None = None) -> Plan:
        """What a switch would do.

        Raises:
            RefusedError: it could not be; `facts["reasons"]` says why.
        """
        return (self._do(calls.plan(mode, force=force, on_failure=on_failure))).plan

    def switches(self, limit: int = 50) -> tuple[SwitchRecord, ...]:
        """The latest switches, newest first, without their steps."""
        return self._do(calls.switches(limit))

    def switch_record(self, id: str, *, wait: float = 0) -> SwitchRecord:
        """One switch with its steps, once it has ended or `wait` seconds have passed."""
        return self._do(calls.switch_record(id, wait))

    def cancel(self, id: str) -> SwitchRecord:
        """Ask a switch to stop and undo itself; returns at once."""
        return self._do(calls.cancel(id))

    def preflight(self, name: str, *, fit_context: bool = False, oracle: bool = False) -> Preflight:
        """Whether a preset, on top of what runs, or a mode would start now, and what it takes.

        Args:
            name: of a preset or a mode.
            fit_context: also find the largest context with which each service fits now.
            oracle: also ask the engines' own estimators, where they have one.
        """
        return self._do(calls.preflight(name, fit_context=fit_context, oracle=oracle))

    def leases(self) -> tuple[Lease, ...]:
        """The leases that hold now."""
        return self._do(calls.leases())

    def take_lease(
        self, holder: str, seconds: float, *, services: Sequence[str] | None = None, purpose: str = ""
    ) -> Lease:
        """Claim services for so long; those of the present mode by default."""
        return self._do(calls.take_lease(holder, seconds, services, purpose))

    def renew_lease(self, id: str, seconds: float) -> Lease:
        """Move the end of a lease to `seconds` from now."""
        return self._do(calls.renew_lease(id, seconds))

    def release_lease(self, id: str) -> Lease:
        """Give a lease back."""
        return self._do(calls.release_lease(id))

    def submit_job(
        self,
        work: Work,
        *,
        after: Sequence[str] = (),
        not_before: float | None = None,
        dedupe: str = "",
        idempotency_key: str | None = None,
    ) -> Job:
        """Queue a benchmark job; returns at once.

        Args:
            work: what to run, on what.
            after: jobs that have to be done first; if one of them fails or is cancelled, this one fails.
            not_before: Unix time.
            dedupe: of the jobs with one key, at most one is queued or running: that one is answered.
            idempotency_key: repeating the request with the same key does nothing more.

        Raises:
            InvalidRequestError: the suite's parameters or the window make no sense.
            NotFoundError: no such suite, preset, mode or job to wait for.
        """
        call = job_calls.submit(
            work, after=after, not_before=not_before, dedupe=dedupe, idempotency_key=idempotency_key
        )
        return self._do(call)

    def jobs(self, states: Sequence[JobState | str] = (), *, limit: int = 50) -> tuple[Job, ...]:
        """The latest jobs in any of these states (none given: all), newest first."""
        return self._do(job_calls.jobs(states, limit))

    def job(self, id: str) -> Job:
        """One job: how far it is, and how long it still takes."""
        return self._do(job_calls.job(id))

    def cancel_job(self, id: str) -> Job:
        """Cancel a job; one that runs puts the box back first. Returns at once."""
        return self._do(job_calls.cancel(id))

    def retry_job(self, id: str, *, afresh: bool = False) -> Job:
        """Queue an ended job again, from where it was, or `afresh`."""
        return self._do(job_calls.retry(id, afresh=afresh))

    def samples(self, job: str) -> tuple[Sample, ...]:
        """What a job has measured so far, case by case."""
        return self._do(job_calls.samples(job))

    def report(
        self,
        job: str,
        format: Literal["json", "markdown", "html"] = "markdown",  # noqa: A002 - as in the query
    ) -> str:
        """The report on a job, ended or not: a JSON document, a card in Markdown, or one HTML file."""
        return self._do(job_calls.report(job, format))

    def report_schema(self) -> dict[str, Any]:
        """The JSON Schema of reports."""
        return self._do(job_calls.report_schema())

    def results(
        self, job: str | None = None, *, suite: str = "", target: str = "", limit: int = 100
    ) -> tuple[Result, ...]:
        """What jobs found out about each target, newest first; of one job, suite or target, if named."""
        return self._do(job_calls.results(job, suite, target, limit))

    def compare(self, *results: str | Mapping[str, object]) -> Compared:
        """Put results side by side: what they differ in, what is shown, what that says for modes.

        Args:
            results: `JOB`, all results of a job, `JOB/TARGET`, or a result as JSON, such as another box's;
                the others are compared with each suite's first.
        """
        return self._do(job_calls.compare(results))

    def schedules(self) -> tuple[ScheduledJob, ...]:
        """Every schedule, and when it fires next."""
        return self._do(job_calls.schedules())

    def schedule(self, id: str) -> ScheduledJob:
        """One schedule."""
        return self._do(job_calls.schedule(id))

    def save_schedule(
        self, id: str, cron: str, work: Work, *, timezone: str = "UTC", enabled: bool = True
    ) -> ScheduledJob:
        """Submit a job again and again; takes the place of the former schedule of that id.

        Args:
            id: its name.
            cron: five fields: minute, hour, day of month, month, day of week.
            work: what to run, on what.
            timezone: an IANA name.
            enabled: whether it fires.
        """
        return self._do(job_calls.save_schedule(id, cron, work, timezone=timezone, enabled=enabled))

    def delete_schedule(self, id: str) -> ScheduledJob:
        """Forget a schedule; the jobs that it has submitted stay."""
        return self._do(job_calls.delete_schedule(id))

    def events(self, after: int = 0) -> tuple[Event, ...]:
        """The events kept after a number, oldest first."""
        return self._do(calls.events(after))

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong in the daemon's files."""
        return self._do(calls.problems())

    def reload(self) -> Catalog:
        """Have the daemon read its files again; running services are not touched."""
        return self._do(calls.reload())

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the files that users write."""
        return self._do(calls.schema())

    def version(self) -> dict[str, Any]:
        """`version` of the daemon, of its `api`, and `config_dir`, the folder of its files."""
        return self._do(calls.version())

    def logs(self, id: str, lines: int = 200) -> tuple[str, ...]:
        """The last lines of a service's log."""
        return (self._do(calls.logs(id, lines))).lines

    def follow_logs(self, id: str) -> Generator[LogLine]:
        """The lines that a service writes from now on."""
        return self._follow(calls.follow_logs(id))

    def follow_events(self, after: int | None = None) -> Generator[Event]:
        """Events after a number, then those to come; without a number only those to come."""
        return self._follow(calls.follow_events(after))
