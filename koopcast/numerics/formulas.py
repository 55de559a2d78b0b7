"""Formulas that people write: a closed grammar over variable names, never executed as code."""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from koopcast.errors import InvalidInput

LONGEST, MOST_NODES = 300, 100
"""Characters and terms of a formula, at most."""
HUGE = 1e300
"""No number is as large."""
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "abs": torch.abs,
    "cos": torch.cos,
    "exp": torch.exp,
    "log": torch.log,
    "sin": torch.sin,
    "sqrt": torch.sqrt,
}
OPERATORS: dict[type, Callable[[Tensor, Tensor], Tensor]] = {
    ast.Add: torch.add,
    ast.Sub: torch.sub,
    ast.Mult: torch.mul,
    ast.Div: torch.div,
    ast.Pow: torch.pow,
}
ALLOWED = f"allowed are numbers, variables, + - * / **, brackets and {', '.join(FUNCTIONS)}"


@dataclass(frozen=True)
class Formula:
    """An expression over named tensors; differentiable."""

    text: str
    names: tuple[str, ...]
    """Variables that occur in it, in alphabetical order."""
    tree: ast.expr

    @classmethod
    def parse(cls, text: str) -> "Formula":
        """Return the formula of a text.

        Raises:
            InvalidInput: It holds something that the grammar does not know; the message says where.
        """
        if len(text) > LONGEST:
            raise InvalidInput(f"the formula has {len(text)} characters", f"write at most {LONGEST}")
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            place = getattr(error, "offset", None)
            raise _fault(text, place, "cannot be read here" if place else "cannot be read") from None
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.expr)]
        if len(nodes) > MOST_NODES:
            raise InvalidInput(f"the formula has {len(nodes)} terms", f"write at most {MOST_NODES}")
        found: set[str] = set()
        _check(tree, text, found)
        return cls(text, tuple(sorted(found)), tree)

    def of(self, values: Mapping[str, Tensor]) -> Tensor:
        """Return its value, of tensors that fit one another."""
        first = next(iter(values.values()))
        return _value(self.tree, values, torch.zeros_like(first))


def _check(node: ast.expr, text: str, found: set[str]) -> None:
    """Refuse what is not of the grammar, and gather the names of variables."""
    match node:
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            _check(left, text, found)
            _check(right, text, found)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            _check(operand, text, found)
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in FUNCTIONS:
            _check(argument, text, found)
        case ast.Call(func=ast.Name(id=name)):
            what = "takes one argument" if name in FUNCTIONS else "is no function that it knows"
            raise _fault(text, node.col_offset + 1, f"'{name}' {what}")
        case ast.Name(id=name):
            found.add(name)
        case ast.Constant(value=int() | float() as value) if (
            not isinstance(value, bool) and abs(value) < HUGE
        ):
            pass
        case _:
            part = ast.get_source_segment(text.strip(), node) or text
            raise _fault(text, node.col_offset + 1, f"'{part[:40]}' is not part of the grammar")


def _value(node: ast.expr, values: Mapping[str, Tensor], zero: Tensor) -> Tensor:
    match node:
        case ast.BinOp(left=left, op=op, right=right):
            return OPERATORS[type(op)](_value(left, values, zero), _value(right, values, zero))
        case ast.UnaryOp(op=op, operand=operand):
            inner = _value(operand, values, zero)
            return -inner if isinstance(op, ast.USub) else inner
        case ast.Call(func=ast.Name(id=name), args=[argument]):
            return FUNCTIONS[name](_value(argument, values, zero))
        case ast.Name(id=name):
            return values[name]
        case ast.Constant(value=number):
            assert isinstance(number, (int, float))
            return zero + float(number)
    raise AssertionError("`parse` lets nothing else through")


def _fault(text: str, place: int | None, what: str) -> InvalidInput:
    where = "" if place is None else f" at position {place}"
    return InvalidInput(f"the formula '{text[:80]}'{where}: {what}", ALLOWED)
