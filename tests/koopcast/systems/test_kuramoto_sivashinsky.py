import math
from itertools import pairwise

import pytest
import torch
from pydantic import ValidationError

from koopcast.integrators.etdrk4 import ETDRK4Spec
from koopcast.numerics.fourier import kept_modes
from koopcast.systems.kuramoto_sivashinsky import KuramotoSivashinskySpec

CPU = torch.device("cpu")


def integrate(system, dt, time, seed=0, samples=2):
    problem = system.problem()
    step = ETDRK4Spec().build(problem, dt)
    v = problem.to_spectral(system.initial(samples, torch.Generator().manual_seed(seed)))
    for _ in range(round(time / dt)):
        v = step(v)
    return problem.to_physical(v)


def test_ks_linear_growth_matches_its_dispersion_relation():
    # Infinitesimal cos(kx) grows as exp((k² - k⁴) t).
    system = KuramotoSivashinskySpec()
    k, problem = 2 * math.pi * 3 / 22, system.problem()
    x = torch.arange(64, dtype=torch.float64) * 22 / 64
    u = 1e-9 * torch.cos(k * x)[None, :, None]
    v = ETDRK4Spec().build(problem, 0.5)(problem.to_spectral(u))
    growth = problem.to_physical(v)[0, 0, 0] / 1e-9
    assert growth == pytest.approx(math.exp(0.5 * (k**2 - k**4)), rel=1e-7)


def test_ks_nonlinear_term_is_minus_u_ux():
    # u = cos(kx): -u u_x = k/2 sin(2kx).
    system = KuramotoSivashinskySpec()
    k, problem = 2 * math.pi * 2 / 22, system.problem()
    x = torch.arange(64, dtype=torch.float64) * 22 / 64
    flux = problem.to_physical(problem.nonlinear(problem.to_spectral(torch.cos(k * x)[:, None])))[:, 0]
    assert torch.allclose(flux, k / 2 * torch.sin(2 * k * x), atol=1e-13)


def test_ks_conserves_its_mean_to_round_off():
    system = KuramotoSivashinskySpec()
    problem = system.problem()
    step = ETDRK4Spec().build(problem, 0.1)
    u = system.initial(4, torch.Generator().manual_seed(1)) + 0.3
    v = problem.to_spectral(u)
    for _ in range(2000):
        v = step(v)
    drift = system.invariants(problem.to_physical(v))["mean"] - system.invariants(u)["mean"]
    assert drift.abs().max() < 1e-12


def test_etdrk4_is_of_fourth_order_on_ks():
    system = KuramotoSivashinskySpec(points=32)
    exact = integrate(system, 1 / 640, 2.5)
    errors = [(integrate(system, dt, 2.5) - exact).abs().max().item() for dt in (0.025, 0.0125, 0.00625)]
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert orders == pytest.approx([4, 4], abs=0.35)


def test_ks_default_grid_resolves_the_attractor_and_a_coarse_one_does_not():
    fine, coarse = KuramotoSivashinskySpec(), KuramotoSivashinskySpec(points=32)
    assert fine.tail_energy(integrate(fine, 0.25, 100)).max() < 1e-10
    assert coarse.tail_energy(integrate(coarse, 0.25, 100)).max() > 1e-6


def test_ks_initial_fields_have_the_stated_amplitude_no_mean_and_no_high_modes():
    system = KuramotoSivashinskySpec.model_validate({"initial_state": {"modes": 3, "amplitude": 2.0}})
    u = system.initial(4000, torch.Generator().manual_seed(0))[..., 0]
    assert u.mean(1).abs().max() < 1e-13
    assert u.square().mean().sqrt().item() == pytest.approx(2.0, rel=0.03)
    assert torch.fft.rfft(u)[:, 4:].abs().max() < 1e-10


def test_dealiasing_keeps_a_product_of_the_highest_modes_out_of_the_kept_ones():
    # cos²(Kx) = (1 + cos 2Kx)/2; on n points the mode 2K folds to n - 2K, which must not be kept.
    for points in (8, 16, 30, 64):
        system = KuramotoSivashinskySpec.model_validate({"points": points, "initial_state": {"modes": 2}})
        problem = system.problem()
        v = torch.zeros(points // 2 + 1, dtype=torch.complex128)
        v[kept_modes(points) - 1] = 0.5
        assert problem.nonlinear(v).abs().max() < 1e-12


@pytest.mark.parametrize(
    "options", [{"points": 63}, {"points": 6}, {"length": 0}, {"points": 8, "initial_state": {"modes": 3}}]
)
def test_ks_refuses_options_it_cannot_resolve(options):
    with pytest.raises(ValidationError):
        KuramotoSivashinskySpec.model_validate(options)
