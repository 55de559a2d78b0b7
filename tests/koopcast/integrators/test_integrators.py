import math
from itertools import pairwise

import pytest
import torch

from koopcast.dynamics import Semilinear, Tendency
from koopcast.errors import ShapeMismatch
from koopcast.integrators.etdrk4 import ETDRK4Spec
from koopcast.integrators.rk4 import RK4Spec
from koopcast.systems.kuramoto_sivashinsky import KuramotoSivashinskySpec
from koopcast.systems.lorenz63 import Lorenz63Spec

CPU = torch.device("cpu")


def orders(errors):
    return [math.log2(a / b) for a, b in pairwise(errors)]


def run(step, x, count):
    for _ in range(count):
        x = step(x)
    return x


def test_rk4_has_fourth_order_on_a_rotation_whose_solution_is_known():
    # x' = i ω x as a real pair: after one period the state is back.
    J = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    x = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    counts = (40, 80, 160)
    errors = [
        (run(RK4Spec().build(Tendency(lambda s: s @ J.T), 2 * math.pi / n), x, n) - x).norm().item()
        for n in counts
    ]
    assert orders(errors) == pytest.approx([4, 4], abs=0.1)


def test_rk4_multiplies_a_linear_state_by_its_stability_polynomial():
    # x' = λx: one step is 1 + z + z²/2 + z³/6 + z⁴/24, also for a right-hand side that returns its argument.
    step = RK4Spec().build(Tendency(lambda s: s), 0.5)
    assert step(torch.ones(1, dtype=torch.float64)).item() == pytest.approx(
        1 + 0.5 + 0.125 + 0.125 / 6 + 0.0625 / 24
    )


def test_rk4_has_fourth_order_on_lorenz63():
    x = torch.tensor([[1.0, 1.0, 25.0]], dtype=torch.float64)
    problem = Lorenz63Spec().problem()
    exact = run(RK4Spec().build(problem, 0.2 / 1024), x, 1024)
    errors = [(run(RK4Spec().build(problem, 0.2 / n), x, n) - exact).norm().item() for n in (32, 64, 128)]
    assert orders(errors) == pytest.approx([4, 4], abs=0.2)


def test_etdrk4_solves_a_linear_equation_exactly():
    L = torch.tensor([-2000.0, -1.0, 0.0, 1e-9, 3.0j], dtype=torch.complex128)
    still = Semilinear(L, torch.zeros_like, lambda v: v, lambda v: v)
    v = ETDRK4Spec().build(still, 0.3)(torch.ones(5, dtype=torch.complex128))
    assert torch.allclose(v, torch.exp(0.3 * L), rtol=1e-14, atol=0)


def test_etdrk4_weights_sum_to_those_of_a_constant_forcing():
    # v' = Lv + 1 from 0: v(h) = (e^{Lh} - 1)/L, h where L = 0; also for stiff and tiny L.
    L = torch.tensor([-1e4, -1.0, -1e-8, 0.0, 2.0j], dtype=torch.complex128)
    forced = Semilinear(L, torch.ones_like, lambda v: v, lambda v: v)
    v = ETDRK4Spec().build(forced, 0.1)(torch.zeros(5, dtype=torch.complex128))
    z = 0.1 * L
    exact = torch.where(z.abs() < 1e-6, 0.1 * (1 + z / 2), torch.expm1(z) / torch.where(L == 0, 1, L))
    assert torch.allclose(v, exact, rtol=1e-12, atol=1e-14)


def test_integrators_refuse_problems_of_the_other_form():
    with pytest.raises(ShapeMismatch, match="rk4"):
        ETDRK4Spec().build(Lorenz63Spec().problem(), 0.01)
    with pytest.raises(ShapeMismatch, match="etdrk4"):
        RK4Spec().build(KuramotoSivashinskySpec().problem(), 0.01)
    assert RK4Spec().takes("tendency")
    assert not RK4Spec().takes("semilinear")
    assert ETDRK4Spec().takes("semilinear")
    assert not ETDRK4Spec().takes("tendency")
