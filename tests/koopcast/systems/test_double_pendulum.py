import math

import numpy as np
import pytest
import torch

from koopcast.dynamics import Setting
from koopcast.integrators.rk4 import RK4Spec
from koopcast.systems.double_pendulum import DoublePendulumSpec, PendulumStart

UNEQUAL = DoublePendulumSpec(mass_upper=2.0, mass_lower=0.7, length_upper=0.8, length_lower=1.3)


def orbit(system, x, dt, count, setting=None):
    step = RK4Spec().build(system.problem(setting or Setting()), dt)
    for _ in range(count):
        x = step(x)
    return x


def energy(system, x):
    return system.invariants(x[..., None])["energy"]


def test_it_rests_where_both_rods_hang_or_stand():
    points = torch.tensor([[a, b, 0.0, 0.0] for a in (0, math.pi) for b in (0, math.pi)], dtype=torch.float64)
    assert UNEQUAL.problem().function(points).abs().max() < 1e-13


@pytest.mark.parametrize("system", [DoublePendulumSpec(), UNEQUAL])
def test_the_energy_has_no_rate_of_change_at_any_state(system):
    # dE/dt = ∇E · f(x) = 0: the equations of motion and the energy are each other's check.
    x = 3 * torch.randn(20, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x.requires_grad_()
    (slope,) = torch.autograd.grad(energy(system, x).sum(), x)
    f = system.problem().function(x.detach())
    assert float((slope * f).sum(1).abs().max()) < 1e-11 * float((slope * f).abs().max())


def test_the_equations_are_those_of_the_lagrangian():
    # d/dt ∂L/∂ω = ∂L/∂θ with L = T - V and the acceleration of the tendency.
    system = UNEQUAL
    theta, omega = torch.randn(2, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def lagrangian(theta, omega):
        still = energy(system, torch.cat((theta, torch.zeros_like(omega)))[None])[0]
        return energy(system, torch.cat((theta, omega))[None])[0] - 2 * still

    def momentum(theta, omega):
        return torch.autograd.functional.jacobian(lambda w: lagrangian(theta, w), omega, create_graph=True)

    rate = system.problem().function(torch.cat((theta, omega))[None])[0]
    _, change = torch.autograd.functional.jvp(momentum, (theta, omega), (rate[:2], rate[2:]))
    force = torch.autograd.functional.jacobian(lambda t: lagrangian(t, omega), theta)
    assert torch.allclose(change, force, atol=1e-12)


def test_rk4_keeps_the_energy_to_its_order():
    system = DoublePendulumSpec()
    start = system.initial(4, torch.Generator().manual_seed(3))[..., 0]
    drift = []
    for dt in (0.02, 0.01, 0.005):
        end = orbit(system, start, dt, round(1 / dt))
        drift.append(float((energy(system, end) - energy(system, start)).abs().max()))
    assert drift[-1] < 1e-5
    assert math.log2(drift[0] / drift[2]) / 2 == pytest.approx(4.5, abs=0.8)


def test_small_swings_have_the_two_frequencies_of_the_linear_pendulum():
    # Equal masses and lengths: ω² = (2 ± √2) g/ℓ, the modes (1, ∓√2).
    system = DoublePendulumSpec()
    for sign in (1, -1):
        omega = math.sqrt((2 + sign * math.sqrt(2)) * 9.81)
        mode = 1e-5 * torch.tensor([[1.0, -sign * math.sqrt(2), 0.0, 0.0]], dtype=torch.float64)
        period = 2 * math.pi / omega
        half = orbit(system, mode, period / 200, 100)
        assert torch.allclose(half, -mode, atol=1e-10)
        assert torch.allclose(orbit(system, half, period / 200, 100), mode, atol=1e-10)


def test_near_states_part_at_a_rate_that_means_chaos():
    start = DoublePendulumSpec(initial_state=PendulumStart(spread=0.0)).initial(1, torch.Generator())[..., 0]
    near = start + 1e-9
    parted = orbit(DoublePendulumSpec(), torch.cat((start, near)).numpy(), 0.01, 2500)
    assert np.linalg.norm(parted[0] - parted[1]) > 1e-3


def test_parameters_differ_from_sample_to_sample_and_arrays_step_the_same():
    gravity = torch.tensor([9.81, 1.62], dtype=torch.float64)
    start = torch.tensor([[1.0, 0.5, 0.1, 0.0]], dtype=torch.float64).expand(2, 4)
    setting = Setting(parameters={"gravity": gravity})
    together = orbit(DoublePendulumSpec(), start, 0.01, 20, setting)
    moon = orbit(DoublePendulumSpec(gravity=1.62), start, 0.01, 20)
    assert torch.allclose(together[1], moon[1], atol=1e-13)
    assert not torch.allclose(together[0], together[1], atol=1e-2)
    assert not DoublePendulumSpec().problem(setting).takes_arrays
    function = UNEQUAL.problem().function
    assert np.allclose(function(start.numpy()), function(start).numpy(), rtol=0, atol=1e-13)
