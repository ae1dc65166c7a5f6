"""What a solution may contain. It shares a process with its tests, so it must have no way to reach them.

It is read here and not run: the names in its syntax tree are looked at. What is left over, plain code for
threads, times and containers, gets no frame, no file and no other module's globals into its hands.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from typing import Final

ALLOWED: Final = (
    *("abc", "bisect", "collections", "contextlib", "copy", "dataclasses", "datetime", "decimal", "enum"),
    *("functools", "heapq", "itertools", "logging", "math", "numbers", "random", "threading", "time"),
    *("typing", "uuid", "warnings", "weakref"),
)
"""Modules of the standard library that a solution may import."""
RULES: Final = f"""
The module may import nothing but {", ".join(f"`{name}`" for name in ALLOWED)} and what this task gives. \
If it imports something else, opens files, runs text as code, or looks at frames, at the globals of others \
or at attributes whose names it computes, it is not run and gets no points.
"""
"""What a model is told about it, at the end of every task."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PLAIN: Final = _words("""
    abs add aenter aexit aiter all and anext annotations author await bool bytes call ceil class
    class_getitem cmp complex contains copy debug deepcopy del delete delitem divmod doc enter eq exit
    float floor floordiv format future ge getitem getstate gt hash iadd imul index init init_subclass
    int invert isub iter le len length_hint lshift lt main match_args matmul missing mod mul name ne neg
    new next or pos post_init pow qualname radd reduce repr reversed rmul round rsub rshift set set_name
    setitem setstate slots sizeof str sub truediv trunc version weakref wrapped xor
""")
"""Names between two underscores on each side that show nothing but what is the solution's own."""
_BUILTINS: Final = _words("exec eval compile open globals locals vars breakpoint")
_BY_NAME: Final = _words("getattr setattr hasattr delattr")
_MODULES: Final = _words("sys os io builtins inspect gc importlib modules linecache traceback ctypes")
_BEHIND: Final = _words("""
    attrgetter methodcaller get_type_hints ForwardRef make_dataclass update_wrapper FunctionType
    CodeType LambdaType settrace setprofile gettrace getprofile settrace_all_threads
    setprofile_all_threads tb_frame tb_next f_back f_builtins f_code f_globals f_locals f_trace gi_frame
    gi_code cr_frame cr_code ag_frame ag_code co_consts co_code co_names format_map currentframe
    findCaller handlers WRAPPER_ASSIGNMENTS
""")
"""Attributes that lead to frames, code, and attributes by computed names."""
_DUNDER: Final = re.compile(r"__(\w+?)__")


def complaint(source: bytes, given: Collection[str]) -> str:
    """Why a solution is not run; empty where nothing is against it.

    Args:
        source: of the solution; its syntax is right.
        given: modules that its task gives.
    """
    may = {*ALLOWED, *given, "__future__"}
    tree = ast.parse(source)
    # An attribute by a name that is written out is like any other.
    written = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_written(node)}
    for node in ast.walk(tree):
        if id(node) in written:
            continue
        for what in (*_imports(node, may), *_names(node)):
            return f"line {getattr(node, 'lineno', 0)} has {what[:80]}, which the task does not allow"
    return ""


def _is_written(call: ast.Call) -> bool:
    """Whether it is `getattr(x, "name")` or the like."""
    if not isinstance(call.func, ast.Name) or call.func.id not in _BY_NAME or len(call.args) < 2:
        return False
    name = call.args[1]
    return isinstance(name, ast.Constant) and isinstance(name.value, str) and not _leads_out(name.value)


def _imports(node: ast.AST, may: Collection[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (f"import {one.name}" for one in node.names if one.name.partition(".")[0] not in may)
    elif isinstance(node, ast.ImportFrom):
        if node.level or (node.module or "").partition(".")[0] not in may:
            yield f"import {'.' * node.level}{node.module or ''}"
        yield from (one.name for one in node.names if one.name == "*" or _leads_out(one.name))


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Attribute) and _leads_out(node.attr):
        yield node.attr
    elif isinstance(node, ast.MatchClass):
        yield from filter(_leads_out, node.kwd_attrs)
    elif isinstance(node, ast.Name) and (node.id in _BUILTINS | _BY_NAME or not _plain(node.id)):
        yield node.id
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not _plain(node.value):
        yield node.value


def _plain(text: str) -> bool:
    return all(name in _PLAIN for name in _DUNDER.findall(text))


def _leads_out(name: str) -> bool:
    return name in _BEHIND or name.lstrip("_") in _MODULES or not _plain(name)
