import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from koopcast.dynamics import Flow, Tendency
from koopcast.errors import ShapeMismatch
from koopcast.integrators.ssprk3 import SSPRK3Spec


def upwind(u):
    """u_t + u_x = 0 on a ring with cells of size 1: an Euler step dt ≤ 1 is an average of neighbours."""
    return u.roll(1, -1) - u


def minmod_slopes(u):
    left, right = u - u.roll(1, -1), u.roll(-1, -1) - u
    return torch.where(left * right > 0, torch.sign(left) * torch.minimum(left.abs(), right.abs()), 0.0)


def limited(u):
    """The same with limited slopes: total variation falls in an Euler step up to dt = 2/3."""
    face = u + 0.5 * minmod_slopes(u)
    return face.roll(1, -1) - face


def variation(u):
    return (u - u.roll(1, -1)).abs().sum(-1)


def test_ssprk3_multiplies_a_linear_state_by_its_stability_polynomial():
    # x' = λx: one step is 1 + z + z²/2 + z³/6, also for a right-hand side that returns its argument.
    step = SSPRK3Spec().build(Tendency(lambda x: x), 0.5)
    assert step(torch.ones(1, dtype=torch.float64)).item() == pytest.approx(
        1.5 + 0.125 + 0.125 / 6, rel=1e-15
    )


def test_ssprk3_has_third_order_on_a_nonlinear_equation_whose_solution_is_known():
    # x' = -x² from 1: x(t) = 1/(1 + t).
    errors = []
    for n in (20, 40, 80):
        step, x = SSPRK3Spec().build(Tendency(lambda x: -x * x), 1 / n), torch.ones(1, dtype=torch.float64)
        for _ in range(n):
            x = step(x)
        errors.append(abs(x.item() - 0.5))
    assert [math.log2(a / b) for a, b in pairwise(errors)] == pytest.approx([3, 3], abs=0.1)


@pytest.mark.parametrize(("rate", "longest"), [(upwind, 1.0), (limited, 2 / 3)])
def test_ssprk3_never_raises_total_variation_up_to_the_step_of_euler(rate, longest):
    u = torch.randn(50, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u[:10] = torch.sign(u[:10])
    step = SSPRK3Spec().build(Tendency(rate), longest)
    for _ in range(30):
        after = step(u)
        assert (variation(after) <= variation(u) * (1 + 1e-13)).all()
        assert (after.amax(-1) <= u.amax(-1) + 1e-13).all()
        u = after


def test_the_longest_step_that_keeps_total_variation_is_that_of_euler():
    # One step of the upwind scheme with Courant number c weighs the cell two to the left by c² (1 - c)/2, the
    # only weight that turns negative, at c = 1. The weights sum to 1, so each of two jumps then grows by
    # c² (c - 1).
    u = torch.zeros(40, dtype=torch.float64)
    u[5:20] = 1.0
    for courant, growth in ((1.0, 0.0), (1.05, 1.05**2 * 0.05)):
        after = SSPRK3Spec().build(Tendency(upwind), courant)(u)
        assert variation(after).item() == pytest.approx(2 * (1 + growth), abs=1e-13)


def test_ssprk3_conserves_a_sum_that_the_tendency_conserves():
    u = torch.rand(3, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    step, total = SSPRK3Spec().build(Tendency(limited), 0.5), u.sum(-1)
    for _ in range(200):
        u = step(u)
    assert (u.sum(-1) - total).abs().max() < 1e-12


def test_arrays_give_what_tensors_give():
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    step = SSPRK3Spec().build(Tendency(lambda x: -x * x, takes_arrays=True), 0.1)
    assert np.array_equal(step(x), step(torch.from_numpy(x)).numpy())


def test_ssprk3_refuses_problems_of_another_form():
    with pytest.raises(ShapeMismatch):
        SSPRK3Spec().build(Flow(lambda x, time: x), 0.1)
    assert SSPRK3Spec().takes("tendency")
    assert not SSPRK3Spec().takes("semilinear")
