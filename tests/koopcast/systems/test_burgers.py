import math

import pytest
import torch
from pydantic import ValidationError

from koopcast.dynamics import Setting
from koopcast.integrators.etdrk4 import ETDRK4Spec
from koopcast.systems.burgers import BurgersSpec


def advance(problem, fields, dt, count):
    step, v = ETDRK4Spec().build(problem, dt), problem.to_spectral(fields)
    for _ in range(count):
        v = step(v)
    return problem.to_physical(v)


def test_burgers_agrees_with_the_cole_hopf_solution():
    system = BurgersSpec()
    start = system.initial(3, torch.Generator().manual_seed(0)) + 0.3
    end = advance(system.problem(), start, 1e-3, 500)
    assert (end - system.exact(start, 0.5)).abs().max() < 3e-9


def test_the_cole_hopf_solution_is_near_the_series_of_fay_once_a_shock_has_formed():
    # From sin 2πx with ν small: u = 4πν Σ (-1)^(k+1) sin(2πkx)/sinh(4π²νk(t + 1/2π)), up to terms in ν.
    nu, t = 0.02, 1.0
    system = BurgersSpec(viscosity=nu)
    x = torch.arange(256, dtype=torch.float64) / 256
    k = torch.arange(1, 60, dtype=torch.float64)
    weights = (
        4 * math.pi * nu * (-1) ** (k + 1) / torch.sinh(4 * math.pi**2 * nu * k * (t + 1 / (2 * math.pi)))
    )
    series = torch.sin(2 * math.pi * k * x[:, None]) @ weights
    exact = system.exact(torch.sin(2 * math.pi * x)[None, :, None], t)[0, :, 0]
    assert (exact - series).norm() < 0.05 * exact.norm()


def test_the_exact_solution_is_not_offered_where_round_off_spoils_it():
    system = BurgersSpec(viscosity=1e-4)
    assert system.exact(system.initial(1, torch.Generator().manual_seed(0)), 0.1) is None


def test_the_mean_is_kept_and_energy_falls():
    system = BurgersSpec(points=128)
    fields = system.initial(2, torch.Generator().manual_seed(1)) + 0.5
    mean, energies = system.invariants(fields)["mean"], [fields.square().mean(dim=(1, 2))]
    for _ in range(20):
        fields = advance(system.problem(), fields, 2e-3, 10)
        energies.append(fields.square().mean(dim=(1, 2)))
    assert (system.invariants(fields)["mean"] - mean).abs().max() < 1e-12
    assert (torch.stack(energies).diff(dim=0) < 0).all()


def test_each_sample_decays_with_its_own_viscosity():
    # An infinitesimal wave: e^{-ν (2π)² t}.
    viscosities = torch.tensor([0.1, 0.01], dtype=torch.float64)
    problem = BurgersSpec(points=16).problem(Setting(parameters={"viscosity": viscosities}))
    x = torch.arange(16, dtype=torch.float64) / 16
    start = 1e-9 * torch.cos(2 * math.pi * x)[None, :, None].repeat(2, 1, 1)
    factors = advance(problem, start, 0.1, 5)[:, 0, 0] / 1e-9
    assert torch.allclose(factors, torch.exp(-viscosities * 4 * math.pi**2 * 0.5), rtol=1e-6)


def test_default_fields_are_resolved():
    system = BurgersSpec()
    assert system.tail_energy(system.initial(20, torch.Generator().manual_seed(2))).max() < 1e-6


@pytest.mark.parametrize("state", ["gaussian_series", {"kind": "wave_sum"}, "random_cosines"])
def test_initial_states_of_the_family_are_drawn_and_hold_kept_modes_alone(state):
    system = BurgersSpec.model_validate({"points": 64, "initial_state": state})
    fields = system.initial(2, torch.Generator().manual_seed(3))
    assert fields.shape == (2, 64, 1)
    assert torch.fft.rfft(fields[..., 0])[:, 22:].abs().max() < 1e-12


@pytest.mark.parametrize(
    "options",
    [{"points": 63}, {"points": 6}, {"viscosity": 0}, {"dealias": "3/4"}, {"initial_state": "white2"},
     {"points": 16, "initial_state": "wave_sum"}, {"initial_state": "cosine_gaussian"}],
)  # fmt: skip
def test_burgers_refuses_options_it_cannot_compute_with(options):
    with pytest.raises(ValidationError):
        BurgersSpec.model_validate(options)
