"""Says which system packages are missing. Runs on any Python 3, so that it can say that Python is too old."""

import ctypes
import importlib.util
import shutil
import sys

missing = []
if sys.version_info < (3, 11):  # noqa: UP036 - it runs before anything has checked the version
    missing.append(("Python 3.11 or newer (this is %s)" % sys.version.split()[0], "python3"))  # noqa: UP031
if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
    missing.append(("the venv module with pip", "python3-venv"))
if shutil.which("make") is None:
    missing.append(("make", "make"))
try:
    ctypes.CDLL("libgomp.so.1")
except OSError:
    missing.append(("libgomp.so.1, which llama.cpp needs", "libgomp1"))

if shutil.which("bwrap") is None:
    print("no bubblewrap, so no coding benchmarks (Debian and Ubuntu: apt-get install bubblewrap)")
for what, package in missing:
    print("missing: %s (Debian and Ubuntu: apt-get install %s)" % (what, package))  # noqa: UP031
if not missing:
    print("the system has everything that is needed")
sys.exit(1 if missing else 0)
