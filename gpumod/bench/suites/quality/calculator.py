"""Arithmetic of plain numbers, without `eval`."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from typing import Final

_LONGEST: Final = 200
_LARGEST_EXPONENT: Final = 64

_TWO: Final[dict[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def calculate(expression: str) -> float:
    """The value of an expression of numbers with + - * / // % ** and brackets.

    Raises:
        ValueError: it is something else, or has no finite value; the sentence says why.
    """
    if len(expression) > _LONGEST:
        raise ValueError("the expression is too long")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
        value = _value(tree.body)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError("not an arithmetic expression") from error
    except ZeroDivisionError as error:
        raise ValueError("division by zero") from error
    except OverflowError as error:
        raise ValueError("the value is too large") from error
    if not math.isfinite(value):
        raise ValueError("the value is not finite")
    rounded = round(value, 10)
    return int(rounded) if rounded == int(rounded) else rounded


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_value(inner)
        case ast.UnaryOp(op=ast.UAdd(), operand=inner):
            return _value(inner)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            base, exponent = _value(left), _value(right)
            if abs(exponent) > _LARGEST_EXPONENT or (base < 0 and exponent != int(exponent)):
                raise ValueError("that power is not calculated here")
            return float(base**exponent)
        case ast.BinOp(left=left, op=one, right=right) if type(one) in _TWO:
            return _TWO[type(one)](_value(left), _value(right))
        case _:
            raise ValueError("only numbers, + - * / // % ** and brackets")
