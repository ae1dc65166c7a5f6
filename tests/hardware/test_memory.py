"""The host's budget from files as kernels write them."""

from pathlib import Path

import pytest

from gpumod.core.cards import HostMemory
from gpumod.hardware.memory import HostMemoryReader, machine_limit

GIB = 1024**3
MEMINFO = "MemTotal:       67108864 kB\nMemFree:        10485760 kB\nMemAvailable:   41943040 kB\n"
V2 = "25 1 0:22 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "24 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "26 24 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
    "35 24 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
)
HYBRID = V1 + "41 24 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"


class Box:
    """A directory that looks like a system's root."""

    def __init__(self, root: Path, mountinfo: str, cgroup: str) -> None:
        self.root = root
        self.write("/proc/meminfo", MEMINFO)
        self.write("/proc/self/mountinfo", mountinfo)
        self.write("/proc/self/cgroup", cgroup)

    def write(self, path: str, text: str | int) -> None:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(f"{text}\n" if isinstance(text, int) else text)

    def v2(self, folder: str, limit: int | str, used: int, cache: int = 0, high: int | str = "max\n") -> None:
        self.write(f"{folder}/memory.max", limit)
        self.write(f"{folder}/memory.high", high)
        self.write(f"{folder}/memory.current", used)
        self.write(f"{folder}/memory.stat", f"anon 1\ninactive_file {cache}\nactive_file 0\nsock 0\n")

    def v1(self, folder: str, limit: int, used: int, cache: int = 0) -> None:
        self.write(f"{folder}/memory.limit_in_bytes", limit)
        self.write(f"{folder}/memory.usage_in_bytes", used)
        self.write(f"{folder}/memory.stat", f"cache 0\ntotal_inactive_file {cache}\ntotal_active_file 0\n")

    def read(self, headroom: int = 0) -> HostMemory:
        return HostMemoryReader(str(self.root), headroom).read()


def test_without_limits_the_machine_s_memory_is_the_budget(tmp_path):
    box = Box(tmp_path, V2, "0::/user.slice/a.scope\n")
    box.v2("/sys/fs/cgroup/user.slice/a.scope", "max\n", 5 * GIB)
    assert box.read(headroom=GIB) == HostMemory(64 * GIB, 40 * GIB, headroom=GIB, limited_by="")


def test_a_v2_limit_counts_less_its_use_but_for_the_page_cache(tmp_path):
    box = Box(tmp_path, V2, "0::/user.slice/a.scope\n")
    box.v2("/sys/fs/cgroup/user.slice/a.scope", 16 * GIB, 10 * GIB, cache=4 * GIB)
    assert box.read() == HostMemory(16 * GIB, 10 * GIB, limited_by="/sys/fs/cgroup/user.slice/a.scope")


def test_the_tightest_of_all_ancestors_limits(tmp_path):
    box = Box(tmp_path, V2, "0::/user.slice/a.scope\n")
    box.v2("/sys/fs/cgroup/user.slice/a.scope", 16 * GIB, 1 * GIB)
    box.v2("/sys/fs/cgroup/user.slice", 20 * GIB, 18 * GIB)
    assert box.read() == HostMemory(16 * GIB, 2 * GIB, limited_by="/sys/fs/cgroup/user.slice")


def test_a_throttling_limit_is_a_limit(tmp_path):
    box = Box(tmp_path, V2, "0::/a\n")
    box.v2("/sys/fs/cgroup/a", "max\n", GIB, high=8 * GIB)
    assert box.read() == HostMemory(8 * GIB, 7 * GIB, limited_by="/sys/fs/cgroup/a")


def test_a_group_over_its_limit_has_nothing_left_rather_than_less(tmp_path):
    box = Box(tmp_path, V2, "0::/a\n")
    box.v2("/sys/fs/cgroup/a", GIB, 2 * GIB)
    assert box.read().available == 0


@pytest.mark.parametrize("mountinfo", [V1, HYBRID])
def test_version_1_limits_also_beside_version_2(tmp_path, mountinfo):
    box = Box(tmp_path, mountinfo, "4:memory:/box\n1:cpu:/\n0::/\n")
    box.v1("/sys/fs/cgroup/memory", 9223372036854771712, 30 * GIB)
    box.v1("/sys/fs/cgroup/memory/box", 12 * GIB, 8 * GIB, cache=3 * GIB)
    assert box.read() == HostMemory(12 * GIB, 7 * GIB, limited_by="/sys/fs/cgroup/memory/box")


def test_in_a_container_the_mounted_top_is_what_limits(tmp_path):
    # Without a cgroup namespace the path is the host's, and only the container's part is mounted.
    mounted = "25 1 0:22 /machine/c1 /sys/fs/cgroup ro - cgroup2 cgroup rw\n"
    box = Box(tmp_path, mounted, "0::/machine/c1/engine\n")
    box.v2("/sys/fs/cgroup", 8 * GIB, 0)
    box.v2("/sys/fs/cgroup/engine", 4 * GIB, 0)
    assert box.read() == HostMemory(4 * GIB, 4 * GIB, limited_by="/sys/fs/cgroup/engine")
    outside = Box(tmp_path, mounted, "0::/machine/other\n")
    assert outside.read() == HostMemory(8 * GIB, 8 * GIB, limited_by="/sys/fs/cgroup")


def test_a_kernel_without_memavailable(tmp_path):
    limit = machine_limit("MemTotal: 1024 kB\nMemFree: 100 kB\nCached: 50 kB\n")
    assert (limit.total, limit.available) == (1024 * 1024, 150 * 1024)


def test_a_root_without_proc_has_no_memory_rather_than_an_error(tmp_path):
    assert HostMemoryReader(str(tmp_path)).read() == HostMemory(0, 0)


def test_this_machine_s_own_files_can_be_read():
    host = HostMemoryReader().read()
    assert 0 < host.available <= host.total
