import math

import pytest
import torch
from pydantic import ValidationError

from koopcast.dynamics import Setting
from koopcast.integrators.crank_nicolson import CrankNicolsonSpec
from koopcast.integrators.etdrk4 import ETDRK4Spec
from koopcast.numerics.fourier_2d import PeriodicSquare
from koopcast.systems.navier_stokes import NavierStokesSpec


def advance(problem, fields, dt, count, method=None):
    step, v = (method or ETDRK4Spec()).build(problem, dt), problem.to_spectral(fields)
    for _ in range(count):
        v = step(v)
    return problem.to_physical(v)


def mesh(points, length=1.0):
    side = torch.arange(points, dtype=torch.float64) * length / points
    return torch.meshgrid(side, side, indexing="ij")


def test_a_taylor_green_vortex_decays_and_keeps_its_shape():
    # ω = cos κx + cos κy is a function of ψ, so u·∇ω = 0 and ω falls as e^{-ν κ² t}.
    system = NavierStokesSpec(points=16, viscosity=0.01, forcing="none")
    y, x = mesh(16)
    start = (torch.cos(4 * math.pi * x) + torch.cos(4 * math.pi * y))[None, ..., None]
    end = advance(system.problem(), start, 0.05, 20)
    assert torch.allclose(end, start * math.exp(-0.01 * 16 * math.pi**2), atol=1e-13)


def test_the_nonlinear_term_is_that_of_the_flow_by_hand():
    # ω = cos x + cos 2y on (0, 2π)²: ψ = cos x + cos(2y)/4, u = (-sin(2y)/2, sin x), and
    # -u·∇ω = -sin(2y) sin(x)/2 + 2 sin(x) sin(2y) = 3/2 sin(x) sin(2y).
    system = NavierStokesSpec(points=16, length=2 * math.pi, forcing="none")
    y, x = mesh(16, 2 * math.pi)
    problem = system.problem()
    w = problem.to_spectral((torch.cos(x) + torch.cos(2 * y))[..., None])
    result = problem.to_physical(problem.nonlinear(w))[..., 0]
    assert torch.allclose(result, 1.5 * torch.sin(x) * torch.sin(2 * y), atol=1e-14)


def test_advection_makes_no_energy_and_no_enstrophy_to_round_off():
    system = NavierStokesSpec(points=32, forcing="none")
    problem, square = system.problem(), PeriodicSquare(32, 1.0)
    w = problem.to_spectral(system.initial(4, torch.Generator().manual_seed(0)))
    psi = w / torch.where(square.mask == 0, 1.0, -square.laplacian)
    N, omega, stream = (problem.to_physical(v)[..., 0] for v in (problem.nonlinear(w), w, psi))
    for field in (omega, stream):
        product = (N * field).mean((1, 2)).abs()
        assert (product < 1e-15 * N.square().mean((1, 2)).sqrt() * field.square().mean((1, 2)).sqrt()).all()


def test_ideal_flow_keeps_energy_and_enstrophy_and_the_mean_stays_zero():
    system = NavierStokesSpec(points=32, viscosity=0, forcing="none")
    start = system.initial(2, torch.Generator().manual_seed(1))
    end = advance(system.problem(), start, 0.02, 50)
    before, after = system.invariants(start), system.invariants(end)
    assert (after["mean"] - before["mean"]).abs().max() < 1e-12
    for name in ("energy", "enstrophy"):
        assert torch.allclose(after[name], before[name], rtol=1e-8)
    assert set(NavierStokesSpec().invariants(start)) == {"mean"}


def test_forced_flow_keeps_its_mean_at_zero():
    for preset in ("fno", "kolmogorov"):
        system = NavierStokesSpec(preset=preset, points=32)
        start = system.initial(2, torch.Generator().manual_seed(2)) + 0.5
        end = advance(system.problem(), start, 0.01, 50)
        assert system.invariants(end)["mean"].abs().max() < 1e-12


def test_from_rest_the_forcing_drives_its_own_stationary_flow():
    # Kolmogorov: f = -4 cos 4y and u·∇ω = 0 give ω = f (1 - e^{-ν κ² t})/(ν κ²).
    system = NavierStokesSpec(preset="kolmogorov", points=16, viscosity=0.1)
    y, _ = mesh(16, 2 * math.pi)
    end = advance(system.problem(), torch.zeros(1, 16, 16, 1, dtype=torch.float64), 0.1, 10)
    expected = -4 * torch.cos(4 * y) * (1 - math.exp(-1.6)) / 1.6
    assert torch.allclose(end[0, ..., 0], expected, atol=1e-12)


def test_the_forcing_of_the_fno_data_is_the_published_one():
    # With N = 0 from rest, one short Euler step gives dt f: 0.1 (sin 2π(x + y) + cos 2π(x + y)).
    y, x = mesh(16)
    end = advance(
        NavierStokesSpec(points=16, viscosity=0).problem(),
        torch.zeros(1, 16, 16, 1, dtype=torch.float64), 1e-3, 1, CrankNicolsonSpec(),
    )  # fmt: skip
    angle = 2 * math.pi * (x + y)
    assert torch.allclose(end[0, ..., 0] / 1e-3, 0.1 * (angle.sin() + angle.cos()), atol=1e-13)


def test_each_sample_decays_with_its_own_viscosity():
    viscosities = torch.tensor([1e-2, 1e-3], dtype=torch.float64)
    system = NavierStokesSpec(points=16, forcing="none")
    problem = system.problem(Setting(parameters={"viscosity": viscosities}))
    y, _ = mesh(16)
    start = torch.cos(2 * math.pi * y)[None, ..., None].repeat(2, 1, 1, 1)
    end = advance(problem, start, 0.1, 5)
    assert torch.allclose(end[:, 0, 0, 0], torch.exp(-viscosities * 4 * math.pi**2 * 0.5), rtol=1e-12)


def test_the_tail_is_the_share_of_kinetic_energy_of_the_highest_modes():
    # 32 points keep |k| <= 10; the highest tenth is mode 10. Energies |ω|²/k²: 1/1 and 1/100.
    y, x = mesh(32)
    fields = (torch.cos(2 * math.pi * x) + torch.cos(20 * math.pi * y))[None, ..., None]
    tail = NavierStokesSpec(points=32).tail_energy(fields)
    assert tail.item() == pytest.approx(0.01 / 1.01)


def test_the_preset_fills_in_what_is_not_given():
    flow = NavierStokesSpec.model_validate({"preset": "kolmogorov", "viscosity": 0.01})
    assert (flow.length, flow.viscosity, flow.forced_mode) == (2 * math.pi, 0.01, 4)
    assert NavierStokesSpec.model_validate_json(flow.model_dump_json()) == flow
    assert NavierStokesSpec().spin_up_time() == 0
    assert flow.spin_up_time() == 100


@pytest.mark.parametrize(
    "options",
    [{"points": 33}, {"points": 4}, {"viscosity": -1}, {"points": 16, "forced_mode": 6},
     {"initial_state": "gaussian_series"}, {"initial_state": {"kind": "periodic_gaussian", "alpha": 1.0}}],
)  # fmt: skip
def test_navier_stokes_refuses_options_it_cannot_compute_with(options):
    with pytest.raises(ValidationError):
        NavierStokesSpec.model_validate(options)
