"""gpumodd with something taken out of it, for tests that have to fail without it, or made to happen.

python odd_daemon.py ODDITY... --config DIR
"""

import sys
from unittest import mock

from gpumod.daemon import main
from gpumod.hardware.visibility import PidView
from gpumod.planner.release import ProofLevel, ReleaseVerdict


def without_barrier():
    """Memory counts as free at once."""
    free = ReleaseVerdict(True, ProofLevel.PID_AND_FREE)
    mock.patch("gpumod.supervisor.barrier.released", return_value=free).start()


def without_last_look():
    """A start does not look at the cards again."""
    mock.patch("gpumod.supervisor.launcher.fits_now", return_value=()).start()


def in_a_container():
    """The daemon takes itself to be in a PID namespace of its own."""
    mock.patch("gpumod.hardware.nvml.pid_view", return_value=PidView.UNCERTAIN).start()


def in_a_hurry():
    """A driver that does not work is tried again sooner."""
    mock.patch("gpumod.hardware.reader.RETRY", 0.2).start()


ODDITIES = {one.__name__: one for one in (without_barrier, without_last_look, in_a_container, in_a_hurry)}


if __name__ == "__main__":
    at = sys.argv.index("--config")
    for name in sys.argv[1:at]:
        ODDITIES[name]()
    sys.exit(main(sys.argv[at:]))
