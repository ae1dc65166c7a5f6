"""The rig of the systemd runner; only for use inside a box."""

import os

from gpumod.core.ports import Runner
from gpumod.runners.systemd import SystemdRunner
from tests.runners.rigs import RealRig


class SystemRig(RealRig):
    """The box's system manager, or its user manager where the tests are not root."""

    def make(self) -> Runner:
        return SystemdRunner("user" if os.geteuid() else "system", "the-tests")
