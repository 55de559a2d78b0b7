import math
from itertools import pairwise

import pytest
import torch

from koopcast.dynamics import Semilinear, Setting
from koopcast.errors import ShapeMismatch
from koopcast.integrators.crank_nicolson import CrankNicolsonSpec
from koopcast.integrators.etdrk4 import ETDRK4Spec
from koopcast.integrators.ifrk4 import IFRK4Spec
from koopcast.integrators.imex_heun import IMEXHeunSpec
from koopcast.systems.burgers import BurgersSpec
from koopcast.systems.kdv import KdVSpec
from koopcast.systems.kuramoto_sivashinsky import KuramotoSivashinskySpec
from koopcast.systems.lorenz63 import Lorenz63Spec

METHODS = [CrankNicolsonSpec(), ETDRK4Spec(), IFRK4Spec(), IMEXHeunSpec()]
all_methods = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.kind)


def advanced(method, problem, fields, dt, count):
    step, v = method.build(problem, dt), problem.to_spectral(fields)
    for _ in range(count):
        v = step(v)
    return problem.to_physical(v)


def orders(errors):
    return [math.log2(a / b) for a, b in pairwise(errors)]


@all_methods
def test_the_order_is_the_stated_one_on_an_exact_solution_of_burgers(method):
    system = BurgersSpec.model_validate(
        {"points": 64, "viscosity": 0.05, "initial_state": {"kind": "random_cosines", "modes": 2}}
    )
    start = system.initial(2, torch.Generator().manual_seed(2))
    exact = system.exact(start, 0.25)
    # The fourth-order methods reach round-off soon: longer steps for them.
    counts = (40, 80) if method.order == 4 else (128, 256)
    errors = [(advanced(method, system.problem(), start, 0.25 / n, n) - exact).norm().item() for n in counts]
    assert orders(errors) == pytest.approx([method.order], abs=0.15)


@pytest.mark.parametrize("method", [ETDRK4Spec(), IFRK4Spec()], ids=lambda method: method.kind)
def test_a_kdv_soliton_moves_to_fourth_order(method):
    # With the real parts of the weights of etdrk4 alone the order is 1 and errors are above 1e-3.
    system = KdVSpec(points=128, slowest=0.25, fastest=0.25)
    start = system.initial(1, torch.Generator().manual_seed(0))
    exact = system.exact(start, 1.0)
    errors = [(advanced(method, system.problem(), start, 1 / n, n) - exact).norm().item() for n in (250, 500)]
    assert errors[-1] < 2e-6 * exact.norm()
    assert orders(errors) == pytest.approx([4.3], abs=0.5)


@pytest.mark.claim
def test_a_kdv_soliton_comes_back_after_a_period_as_accurately_as_stated():
    # The errors at dt = 4, 2, 1, 0.5 e-3 that a whole period, 2 / speed, should not exceed.
    system = KdVSpec(points=192, slowest=0.25, fastest=0.25)
    start, problem = system.initial(1, torch.Generator().manual_seed(0)), system.problem()
    for method, steps, limits in (
        (ETDRK4Spec(), (4e-3, 2e-3, 1e-3, 5e-4), (5.0e-6, 2.7e-7, 1.6e-8, 9.4e-10)),
        (IFRK4Spec(), (5e-4,), (3.6e-9,)),
    ):
        for dt, limit in zip(steps, limits, strict=True):
            end = advanced(method, problem, start, dt, round(8 / dt))
            assert (end - start).norm() < limit * start.norm()
            before, after = system.invariants(start), system.invariants(end)
            assert abs(after["mass"] / before["mass"] - 1) < 1e-12
            if dt <= 1e-3:
                assert abs(after["momentum"] / before["momentum"] - 1) < 1e-9


def test_imex_heun_keeps_a_kdv_soliton_to_second_order():
    system = KdVSpec(points=128, slowest=0.25, fastest=0.25)
    start = system.initial(1, torch.Generator().manual_seed(0))
    exact = system.exact(start, 0.25)
    errors = [
        (advanced(IMEXHeunSpec(), system.problem(), start, 0.25 / n, n) - exact).norm().item()
        for n in (512, 1024)
    ]
    assert orders(errors) == pytest.approx([2], abs=0.2)


def test_etdrk4_is_several_hundred_times_as_accurate_as_ifrk4_on_ks():
    # L = 22, t = 10, dt = 1/16, from cos(2πx/L)(1 + sin(2πx/L)): 4.2e-7 beside 1.7e-4.
    problem = KuramotoSivashinskySpec().problem()
    angle = 2 * math.pi * torch.arange(64, dtype=torch.float64) / 64
    start = (angle.cos() * (1 + angle.sin()))[None, :, None]
    exact = advanced(ETDRK4Spec(), problem, start, 1 / 256, 2560)
    etd, factor = (
        ((advanced(method, problem, start, 1 / 16, 160) - exact).norm() / exact.norm()).item()
        for method in (ETDRK4Spec(), IFRK4Spec())
    )
    assert etd == pytest.approx(4.2e-7, rel=0.05)
    assert factor == pytest.approx(1.7e-4, rel=0.05)


@all_methods
def test_a_linear_equation_is_multiplied_by_the_stability_function(method):
    # Exact methods: e^z. Those with the trapezoidal rule: (1 + z/2)/(1 - z/2).
    L = torch.tensor([-200.0, -1.0, 0.0, 3.0j], dtype=torch.complex128)
    still = Semilinear(L, torch.zeros_like, lambda v: v, lambda v: v)
    v = method.build(still, 0.3)(torch.ones(4, dtype=torch.complex128))
    z = 0.3 * L
    expected = torch.exp(z) if method.order == 4 else (1 + z / 2) / (1 - z / 2)
    assert torch.allclose(v, expected, rtol=1e-13, atol=0)


@all_methods
def test_one_linear_part_a_sample_equals_samples_on_their_own(method):
    viscosities = torch.tensor([0.1, 0.02, 0.005], dtype=torch.float64)
    system = BurgersSpec(points=32)
    start = system.initial(3, torch.Generator().manual_seed(4))
    together = advanced(
        method, system.problem(Setting(parameters={"viscosity": viscosities})), start, 0.01, 5
    )
    for i, viscosity in enumerate(viscosities.tolist()):
        alone = BurgersSpec(points=32, viscosity=viscosity)
        assert torch.allclose(advanced(method, alone.problem(), start[i : i + 1], 0.01, 5)[0], together[i])


@all_methods
def test_single_precision_stays_single_and_near_to_double(method):
    system = KuramotoSivashinskySpec()
    start = system.initial(2, torch.Generator().manual_seed(5))
    single = advanced(method, system.problem(Setting(dtype=torch.float32)), start, 0.05, 20)
    double = advanced(method, system.problem(), start, 0.05, 20)
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), double, atol=2e-5)


@all_methods
def test_real_coefficients_stay_real_and_agree_with_complex_ones(method):
    # Coefficients of sines or cosines are real; N couples them.
    L = torch.tensor([-5.0, -0.5, 0.25], dtype=torch.float64)
    step, v = {}, torch.tensor([[1.0, -0.5, 0.3]], dtype=torch.float64)
    for name, linear in (("real", L), ("complex", L.to(torch.complex128))):
        step[name] = method.build(
            Semilinear(linear, lambda v: v * v.roll(1, -1), lambda v: v, lambda v: v), 0.1
        )
    result = step["real"](v)
    assert result.dtype == torch.float64
    assert torch.allclose(result, step["complex"](v.to(torch.complex128)).real, rtol=1e-13)


@all_methods
def test_gradients_through_steps_are_those_of_finite_differences(method):
    system = BurgersSpec(points=16)
    problem = system.problem()
    start = system.initial(1, torch.Generator().manual_seed(6))
    direction = torch.randn(start.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    weight = torch.randn(start.shape, generator=torch.Generator().manual_seed(8), dtype=torch.float64)

    def value(fields):
        return (weight * advanced(method, problem, fields, 0.02, 3)).sum()

    x = start.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(x), x)
    numeric = (value(start + 1e-5 * direction) - value(start - 1e-5 * direction)) / 2e-5
    assert (gradient * direction).sum().item() == pytest.approx(numeric.item(), rel=1e-7)


@all_methods
def test_problems_without_a_linear_part_are_refused(method):
    assert [method.takes(form) for form in ("semilinear", "tendency", "flow")] == [True, False, False]
    with pytest.raises(ShapeMismatch, match=f"{method.kind} solves v' = L v"):
        method.build(Lorenz63Spec().problem(), 0.1)
