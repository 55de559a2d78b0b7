"""By how much frames fail their equation: defects of one-step formulas between two records."""

from typing import Literal

from jaxtyping import Num
from torch import Tensor

from koopcast.dynamics import Semilinear

Rule = Literal["hermite_simpson", "midpoint"]
"""Order 4 and 2 in the time between the records."""


def tendency(problem: Semilinear, v: Num[Tensor, "*batch_and_mode"]) -> Num[Tensor, "*batch_and_mode"]:
    """Return F(v) = L v + N(v)."""
    return problem.linear * v + problem.nonlinear(v)


def defects(
    problem: Semilinear,
    v: Num[Tensor, "batch frame *mode"],
    dt: float,
    rule: Rule = "hermite_simpson",
) -> Num[Tensor, "batch interval *mode"]:
    """Return R between each frame and the next, coefficients that are zero on solutions but for O(dt^order).

    Midpoint: R = (v⁺ - v)/dt - F((v + v⁺)/2). Hermite-Simpson: R = (v⁺ - v)/dt - (F(v) + 4 F(m) + F(v⁺))/6
    with m = (v + v⁺)/2 + dt (F(v) - F(v⁺))/8, the middle of the cubic through both ends.
    """
    here, after = v[:, :-1], v[:, 1:]
    slope = (after - here) / dt
    if rule == "midpoint":
        return slope - tendency(problem, (here + after) / 2)
    F = tendency(problem, v)
    F_here, F_after = F[:, :-1], F[:, 1:]
    middle = tendency(problem, (here + after) / 2 + (dt / 8) * (F_here - F_after))
    return slope - (F_here + 4 * middle + F_after) / 6
