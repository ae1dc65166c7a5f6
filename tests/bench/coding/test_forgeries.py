"""Solutions that want points for something else than solving the task."""

import asyncio
import textwrap
from pathlib import Path

import pytest

from gpumod.bench.suites.coding.grading import grade
from gpumod.bench.suites.coding.hidden.checking import Background, raises, same
from gpumod.bench.suites.coding.hidden.gate import ALLOWED, complaint
from gpumod.bench.suites.coding.levels import LEVELS
from gpumod.core.job import Outcome

HERE = Path(__file__).parent
REACHING_OUT = {
    "writes the test's report": "import os\nfor n in range(3, 30):\n try: os.write(n, b'{\"passed\": 1}')\n"
    " except OSError: pass\nos._exit(0)",
    "writes the runner's report": "import os, sys\nopen('/proc/1/fd/1', 'w').write(sys.argv[-1])",
    "prints": "import sys\nprint('x {\"over\": true}')\nsys.exit(0)",
    "changes the tests": "import gpumod.bench.suites.coding.hidden.queue as q\nq.same = print",
    "changes the loaded tests": "import threading\nthreading._sys.modules.clear()",
    "changes the built-in functions": "import logging\nlogging.sys.modules['builtins'].len = lambda x: 1",
    "walks frames": "try: 1 / 0\nexcept Exception as e: e.__traceback__.tb_frame.f_back.f_globals.clear()",
    "asks for a generator's frame": "g = (x for x in ())\ng.gi_frame.f_back",
    "asks for globals": "def retry(function, **k): function.__globals__.clear()",
    "computes a name": "def retry(function, **k): getattr(function, '__glo' + 'bals__').clear()",
    "hands on getattr": "import functools\nf = functools.partial(getattr, print)",
    "names a refused attribute": "def retry(f, **k): return getattr(f, '__globals__')",
    "matches": "def retry(f, **k):\n  match f:\n    case object(__globals__=g): g.clear()",
    "runs text": "exec('x = 1')",
    "imports by a function": "__import__('os')",
    "imports from": "from threading import _sys",
    "imports everything": "from threading import *",
    "reads the hidden tests": "text = open('gpumod/bench/suites/coding/hidden/queue.py').read()",
    "finds objects": "import gc\ngc.get_objects()",
    "goes through C": "import ctypes",
    "takes subclasses": "print.__class__.__base__.__subclasses__()",
    "changes code": "def retry(f, **k): f.__code__ = (lambda: 1).__code__",
    "has text evaluated": "import typing\ntyping.get_type_hints(print)",
}  # fmt: skip


@pytest.mark.parametrize("code", REACHING_OUT.values(), ids=list(REACHING_OUT))
def test_what_reaches_out_is_not_run(code):
    assert "which the task does not allow" in complaint(code.encode(), ())


PLAIN = """\
from __future__ import annotations
import collections.abc, dataclasses, logging, threading, time
from typing import Any, Callable
from dataclasses import dataclass, field

log = logging.getLogger(__name__)
__all__ = ["Queue"]

@dataclass(order=True)
class Entry:
    priority: float
    item: Any = field(compare=False, default=None)
    __slots__ = ("priority", "item")

class Queue:
    '''As `__init__` says.'''
    def __init__(self, io=None): self.types, self.name = type(self).__name__, getattr(io, "name", None)
    def __enter__(self): return self
    def __exit__(self, *error): log.warning("%s", error[0].__name__)
    def open(self): return self.open()

if __name__ == "__main__":
    with Queue() as queue:
        print(queue, "{}".format(1), hasattr(queue, "item"), isinstance(queue, Queue))
"""


def test_ordinary_code_is_run():
    assert complaint(PLAIN.encode(), ()) == ""
    assert complaint(b"from ranked import Ranked\n", ("ranked",)) == ""
    assert "ranked" in complaint(b"from ranked import Ranked\n", ())
    for name in LEVELS:
        assert complaint((HERE / f"references/{name}.txt").read_bytes(), LEVELS[name].given) == ""


def test_models_are_told_what_is_not_run():
    assert all(f"`{name}`" in level.prompt for level in LEVELS.values() for name in ALLOWED)


class Agreeable:
    def __eq__(self, other):
        return True

    __hash__ = object.__hash__


@pytest.mark.parametrize(
    ("found", "expected", "answer"),
    [
        (Agreeable(), 1, False), ([Agreeable()], [1], False), ((Agreeable(), "x"), (1, "x"), False),
        ({"a": Agreeable()}, {"a": 1}, False), (Agreeable(), None, False), (Agreeable(), "x", False),
        (type("Text", (str, Agreeable), {})("y"), "x", False),
        (type("Many", (list, Agreeable), {})(), [1], False),
        (1, 1.0, True), (True, 1, True), ([1, (2, None)], [1, (2, None)], True), ({"a": 1}, {"a": 1}, True),
        ([1], (1,), False), ({1, 2}, {2, 1}, True), (2, 1, False),
    ],
)  # fmt: skip
def test_an_object_that_equals_everything_equals_nothing(found, expected, answer):
    assert same(found, expected) is answer


def test_an_exception_of_another_kind_is_none_of_the_right_kind():
    class Pretending(Exception):
        __class__ = ValueError  # type: ignore[assignment]

    with pytest.raises(Pretending), raises(ValueError):
        raise Pretending
    with pytest.raises(AssertionError, match="was not raised"), raises(ValueError):
        pass
    with raises(LookupError) as caught:
        raise KeyError("x")
    assert isinstance(caught[0], KeyError)


def test_a_call_in_the_background_says_what_it_raised():
    with pytest.raises(ZeroDivisionError):
        Background(lambda: 1 // 0).end()


EMPTY_HANDED = """
import contextlib, threading, time, random, weakref, warnings
class Any:
    def __eq__(self, other): return True
    def __ne__(self, other): return True
    def __lt__(self, other): return True
    def __hash__(self): return 1
    def __bool__(self): return True
    def __iter__(self): return iter([self] * 3)
    def __len__(self): return 1
    def __index__(self): return 1
    def __add__(self, other): return self
    __radd__ = __add__
    def __call__(self, *a, **k): return self
    def wait(self, *a): return True
    def get(self, *a, **k): return self
    put = push = pop = peek = cancel = change = close = get
    deposit = withdraw = transfer = total = balance = submit = run = get
contextlib._GeneratorContextManager.__exit__ = lambda *a: True
contextlib.suppress.__exit__ = lambda *a: True
threading.Thread.join = threading.Thread.start = lambda *a: None
threading.Thread = threading.Barrier = threading.Event = lambda *a, **k: Any()
threading.active_count = lambda: 1
time.monotonic = time.process_time = time.sleep = lambda *a: 1e9
random.Random = lambda *a: Any()
Empty = Full = Closed = Exception
JobQueue = PriorityQueue = Ledger = Dispatcher = lambda *a, **k: Any()
retry = lambda function, **k: Any()
"""


async def test_one_that_changes_what_the_tests_might_use_gets_nothing_for_it(sandbox):
    graded = await asyncio.gather(
        *(grade(sandbox, level, EMPTY_HANDED, seconds=3) for level in LEVELS.values())
    )
    for level, one in zip(LEVELS.values(), graded, strict=True):
        assert one.outcome is Outcome.WRONG
        assert one.passed == (), (level.key, one.passed)


WRAPPED = """
import functools
class Catch:
    def __setattr__(self, name, value):
        if isinstance(value, dict) and "same" in value:
            value["same"] = lambda *both: True
def retry(function, **more):
    lines = chr(95) * 2
    functools.wraps(more.get("random", function), assigned=(lines + "globals" + lines,), updated=())(Catch())
"""


async def test_a_computed_name_is_not_copied_from_a_tests_function(sandbox):
    one = await grade(sandbox, LEVELS["retry"], WRAPPED)
    without = await grade(sandbox, LEVELS["retry"], "def retry(function, **more): pass")
    assert one.passed == without.passed


async def test_the_sandbox_refuses_what_is_not_run(sandbox):
    code = textwrap.dedent(REACHING_OUT["writes the test's report"])
    one = await grade(sandbox, LEVELS["queue"], code)
    assert (one.outcome, one.passed, one.points(LEVELS["queue"])) == (Outcome.WRONG, (), 0)
    assert one.note == "line 1 has import os, which the task does not allow"


async def test_even_without_the_gate_a_report_cannot_be_forged(sandbox, monkeypatch):
    """The second wall: what a test's process says counts only with the word of its test."""
    files = LEVELS["queue"].files
    open_gate = {
        "gpumod/bench/suites/coding/hidden/gate.py": "def complaint(source, given):\n    return ''\n"
    }
    monkeypatch.setattr(type(LEVELS["queue"]), "files", lambda self, solution: files(solution) | open_gate)
    one = await grade(sandbox, LEVELS["queue"], REACHING_OUT["writes the test's report"])
    assert one.passed == ()
    assert {why for _, why in one.failed} == {"it wrote the report itself"}
