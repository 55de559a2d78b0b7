"""Formulas have the value that Python's own arithmetic gives them, and nothing else can be written."""

import ast
import builtins
import math
import os

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from koopcast.errors import InvalidInput
from koopcast.numerics.formulas import FUNCTIONS, LONGEST, MOST_NODES, Formula

COUNT = int(os.environ.get("COUNT", "0"))
VALUES = {"t": 0.75, "u": -1.5, "wind_speed": 3.25}
PYTHON = {"abs": abs, "cos": math.cos, "exp": math.exp, "log": math.log, "sin": math.sin, "sqrt": math.sqrt}
ATOMS = st.one_of(
    st.sampled_from(sorted(VALUES)),
    st.floats(0, 1e3, allow_nan=False).map(lambda number: repr(round(number, 3))),
    st.sampled_from(["1.", ".5", "2.0", "1e-3", "0.0", "1_0.5"]),
)
FORMULAS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "**", " - ", " ** "]), inner).map("".join),
        st.tuples(st.sampled_from(["-", "+", "- -"]), inner).map("".join),
        inner.map("({})".format),
        st.tuples(st.sampled_from(sorted(PYTHON)), inner).map(lambda pair: f"{pair[0]}({pair[1]})"),
    ),
    max_leaves=12,
)


def power(base: float, exponent: float) -> float:
    """Return a power as it is among real numbers."""
    value = base**exponent
    if isinstance(value, complex):
        raise ValueError(f"{base}**{exponent} is no real number")
    return float(value)


class Real(ast.NodeTransformer):
    """Takes powers of real numbers, where Python's own become complex."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        if not isinstance(node.op, ast.Pow):
            return node
        return ast.Call(ast.Name("power", ast.Load()), [node.left, node.right], [])


@settings(
    max_examples=COUNT or 200, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(text=FORMULAS.filter(lambda text: len(text) <= LONGEST))
def test_a_formula_has_the_value_of_pythons_own_arithmetic(text: str) -> None:
    formula = Formula.parse(text)
    assert set(formula.names) <= set(VALUES)
    tensors = {name: torch.tensor([value], dtype=torch.float64) for name, value in VALUES.items()}
    value = float(formula.of(tensors))
    try:
        tree = ast.fix_missing_locations(Real().visit(ast.parse(text, mode="eval")))
        code = compile(tree, "formula", "eval")
        expected = builtins.eval(code, {"__builtins__": {}, "power": power, **PYTHON}, VALUES)  # noqa: S307
    except (ZeroDivisionError, OverflowError, ValueError):
        # Python refuses what has no finite value; a tensor says inf or NaN, which may vanish again in 1/inf.
        return
    assert math.isclose(value, expected, rel_tol=1e-9, abs_tol=1e-12) or abs(expected) > 1e12, text


def test_both_know_the_same_functions() -> None:
    assert set(PYTHON) == set(FUNCTIONS)


@pytest.mark.parametrize(
    "text",
    [
        "t.real", "t[0]", "t.__class__", "(lambda: t)()", "__import__('os')", "t if u else 1",
        "[t for t in u]", "t, u", "t < u", "not t", "t and u", "t // u", "t % u", "t @ u", "t << 2", "~t",
        "'t'", "f'{t}'", "b't'", "1j", "None", "True", "...", "t := 1", "*t", "sqrt()", "sqrt(t, u)",
        "sqrt(t, out=u)", "sqrt(*t)", "open(t)", "(abs)(t).x", "1e999", "await t", "yield t", "t;u",
        "t\nu", "#", "", "\x00",
    ],
)  # fmt: skip
def test_nothing_else_can_be_written(text: str) -> None:
    with pytest.raises(InvalidInput):
        Formula.parse(text)


def test_length_and_depth_are_bounded() -> None:
    for text in (
        "t" * (LONGEST + 1),
        "+".join("t" * (MOST_NODES // 2 + 1)),
        "(" * 150 + "t" + ")" * 150,
        "-" * 299 + "t",
    ):
        with pytest.raises(InvalidInput):
            Formula.parse(text)
    tower = Formula.parse("**".join(["9.0"] * 40) + "+ t")
    assert math.isinf(float(tower.of({"t": torch.ones(1, dtype=torch.float64)})))
