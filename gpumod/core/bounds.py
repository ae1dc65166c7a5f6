"""Every wait has a bound, and this is the one table of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long gpumod waits for what, in seconds unless the name says otherwise."""

    barrier: float = 15.0
    """Memory must be proven free this soon after the processes that held it were told to go."""
    barrier_interval: float = 0.010
    """Between two readings of the memory barrier."""
    barrier_readings: int = 3
    """Consecutive good readings that prove that memory is free."""
    driver_call: float = 2.0
    """One NVML call; after it the card is `unknown` and the last snapshot is shown with its age."""
    model_files: float = 30.0
    """Reading the headers of the models' files of one plan; a disk that hangs ends that plan alone."""
    probe: float = 2.0
    """One HTTP probe of an engine."""
    probe_interval: float = 0.005
    """Between two readiness probes of a starting engine."""
    warm_up: float = 120.0
    """The one warm-up request after an engine says it is ready."""
    drain_interval: float = 0.100
    """Between two questions about requests in flight."""
    startup: float = 600.0
    """From start to ready, unless the preset says otherwise."""
    after_kill: float = 10.0
    """After SIGKILL a process is gone this soon, or it is reported as unkillable."""
    gone_interval: float = 0.004
    """Between the first looks at whether a process tree has gone; later ones are further apart."""
    hung_probes: int = 3
    """A ready engine that fails this many probes in a row ..."""
    hung_window: float = 30.0
    """... over at least this long, with no progress, is hung."""
    watch_interval: float = 2.0
    """Between two looks of the watcher at cards, services and leases."""
    job_heartbeat: float = 10.0
    """Between two signs of life of the daemon that runs a job."""
    job_stale: float = 60.0
    """After so long without one, another daemon may take the job over."""
    store_locked: float = 5.0
    """A write waits this long for another process that holds the database."""
    store_upgrade: float = 300.0
    """Bringing the database to this version's schema, its copy included."""
    switch: float = 3600.0
    """A whole switch, its rollback not included."""


DEFAULT_BOUNDS = Bounds()
