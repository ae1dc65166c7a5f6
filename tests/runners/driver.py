"""A daemon that dies while it starts a service: `driver.py FOLDER events|delays COUNT`.

For each number below COUNT a process of its own starts generation NUMBER of `chat` and is killed with
SIGKILL: at its NUMBERth act on the system (`events`: opening, making, locking, spawning, ... as Python audits
them), or NUMBER milliseconds after it began (`delays`). Prints `NUMBER killed` or
`NUMBER unharmed` the moment each has ended; `events` stops at the first unharmed.
"""

import asyncio
import os
import signal
import sys
import threading
import time
from pathlib import Path

from gpumod.core.names import ServiceId
from gpumod.core.ports import RunRequest
from gpumod.core.service import RunKey
from gpumod.runners.process import ProcessRunner

# What Python does of its own accord, and often, between the acts.
_NOISE = (
    "import",
    "compile",
    "exec",
    "object.",
    "marshal.",
    "sys._getframe",
    "code.",
    "_thread.",
    "builtins.",
)


def kill_myself():
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at_event(number):
    left = number

    def hook(event, _arguments):
        nonlocal left
        if event.startswith(_NOISE):
            return
        left -= 1
        if left == -1:  # once: killing is an event as well
            kill_myself()

    return lambda: sys.addaudithook(hook)


def kill_after(milliseconds):
    def arm():
        def wait():
            time.sleep(milliseconds / 1000)
            kill_myself()

        threading.Thread(target=wait, daemon=True).start()

    return arm


async def start(folder, number, arm):
    runner = ProcessRunner(folder / "state")
    mark = f"{folder}/{number}"
    argv = ("/bin/sh", "-c", "sleep 600 & sleep 600; wait", mark)
    env = (("PATH", os.defpath), ("GPUMOD_TEST_MARK", mark))
    arm()
    await runner.start(RunRequest(RunKey(ServiceId("chat"), number), argv, env, f"{folder}/chat.log"))
    await runner.close()


def main():
    folder, how, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    arms = {"events": kill_at_event, "delays": kill_after}
    for number in range(count):
        child = os.fork()
        if child == 0:
            asyncio.run(start(folder, number, arms[how](number)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(number, "killed" if status else "unharmed", flush=True)
        if status == 0 and how == "events":
            return


if __name__ == "__main__":
    main()
