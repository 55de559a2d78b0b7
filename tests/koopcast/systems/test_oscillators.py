"""Van der Pol and Duffing: limit cycle, harmonic limit, Hamiltonian, force as an autonomous system."""

import math

import numpy as np
import pytest
import torch

from koopcast.dynamics import Setting, Tendency
from koopcast.integrators.rk4 import RK4Spec
from koopcast.systems.duffing import DuffingSpec, PeriodicForce
from koopcast.systems.van_der_pol import VanDerPolSpec


def orbit(system, x, dt, count, setting=None):
    step = RK4Spec().build(system.problem(setting or Setting()), dt)
    states = [x]
    for _ in range(count):
        states.append(step(states[-1]))
    return torch.from_numpy(np.stack(states)) if isinstance(x, np.ndarray) else torch.stack(states)


def row(*numbers):
    return torch.tensor([numbers], dtype=torch.float64)


def crossings(x, dt):
    """Return the times at which x rises through 0, by linear interpolation."""
    rises = ((x[:-1] < 0) & (x[1:] >= 0)).nonzero()[:, 0]
    return dt * (rises + x[rises] / (x[rises] - x[rises + 1]))


def test_van_der_pol_at_mu_1_has_the_known_amplitude_and_period():
    x = orbit(VanDerPolSpec(), row(0.5, 0.0).numpy(), 0.02, 3500)[1500:, 0, 0]
    assert float(x.max()) == pytest.approx(2.00862, abs=1.5e-4)
    assert float(crossings(x, 0.02).diff().mean()) == pytest.approx(6.66329, abs=2e-4)


def test_van_der_pol_leaves_its_origin_and_is_harmonic_without_damping():
    # x(t) = cos t, y(t) = -sin t; the energy stays to the order of the scheme.
    system = VanDerPolSpec(mu=0.0)
    energies = []
    for dt in (0.1, 0.05):
        states = orbit(system, row(1.0, 0.0), dt, round(10 / dt))
        energies.append(abs(float(system.invariants(states[-1][..., None])["energy"][0]) - 0.5))
    assert states[-1, 0].tolist() == pytest.approx([math.cos(10), -math.sin(10)], abs=1e-6)
    # RK4 loses energy at the fifth power over a fixed time.
    assert math.log2(energies[0] / energies[1]) == pytest.approx(5, abs=0.1)
    assert VanDerPolSpec().invariants(states[-1][..., None]) == {}


def test_van_der_pol_takes_a_damping_for_each_sample():
    mu = torch.tensor([0.5, 3.0], dtype=torch.float64)
    start = row(1.0, 0.5).expand(2, 2)
    together = orbit(VanDerPolSpec(), start, 0.02, 50, Setting(parameters={"mu": mu}))[-1]
    for index, value in enumerate(mu.tolist()):
        assert torch.allclose(together[index], orbit(VanDerPolSpec(mu=value), start, 0.02, 50)[-1, index])
    single = Setting(dtype=torch.float32, parameters={"mu": mu})
    assert orbit(VanDerPolSpec(), start.float(), 0.02, 1, single).dtype == torch.float32


def test_duffing_rests_in_its_wells_and_has_the_published_tendency():
    problem = DuffingSpec().problem()
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    assert problem.function(points).abs().max() == 0
    # y = 2, v = 3: y' = 3, v' = 2 - 8 = -6.
    assert problem.function(row(2.0, 3.0)).tolist() == [[3.0, -6.0]]


def test_duffing_keeps_its_hamiltonian_to_the_order_of_the_scheme():
    system = DuffingSpec()
    start = system.initial(50, torch.Generator().manual_seed(1))[..., 0]
    assert float(start.abs().max()) <= 2
    drift = []
    for dt in (0.1, 0.05):
        states = orbit(system, start, dt, round(5 / dt))
        energy = [system.invariants(state[..., None])["energy"] for state in (states[0], states[-1])]
        drift.append(float((energy[1] - energy[0]).abs().max()))
    assert drift[1] < 1e-4
    # The energy error of RK4 is of order 4 at least; it is 5 where the leading term averages out.
    assert 3.8 < math.log2(drift[0] / drift[1]) < 5.3


def test_a_forced_duffing_without_springs_has_the_solution_of_a_driven_mass():
    # v' = γ cos(Ωt + φ): v = (γ/Ω) (sin(Ωt + φ) - sin φ).
    system = DuffingSpec(stiffness=0.0, hardening=0.0, force=PeriodicForce(amplitude=0.7, frequency=2.0))
    start = system.initial(3, torch.Generator().manual_seed(2))[..., 0]
    end = orbit(system, start, 0.01, 100)[-1]
    phase = torch.atan2(start[:, 3], start[:, 2])
    expected = start[:, 1] + 0.35 * ((2.0 + phase).sin() - phase.sin())
    assert torch.allclose(end[:, 1], expected, atol=1e-8)
    assert torch.allclose(
        system.invariants(end[..., None])["phase_radius"], torch.ones(3).double(), atol=1e-8
    )


def test_a_damped_duffing_falls_into_a_well():
    system = DuffingSpec(damping=0.5)
    end = orbit(system, system.initial(20, torch.Generator().manual_seed(3))[..., 0], 0.1, 600)[-1]
    assert torch.allclose(end[:, 0].abs(), torch.ones(20).double(), atol=1e-4)
    assert {float(sign) for sign in end[:, 0].sign()} == {-1.0, 1.0}
    assert "measure_preserving" in DuffingSpec().describe().properties - system.describe().properties


@pytest.mark.parametrize("system", [VanDerPolSpec(), DuffingSpec(force=PeriodicForce())])
def test_arrays_and_tensors_have_the_same_tendency(system):
    problem = system.problem()
    assert isinstance(problem, Tendency)
    assert problem.takes_arrays
    x = system.initial(4, torch.Generator().manual_seed(4))[..., 0]
    assert np.array_equal(problem.function(x.numpy()), problem.function(x).numpy())
