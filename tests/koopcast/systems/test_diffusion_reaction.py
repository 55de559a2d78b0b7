import math
from itertools import pairwise

import pytest
import torch
from pydantic import ValidationError

from koopcast.dynamics import Setting, Tendency
from koopcast.integrators.dopri5 import Dopri5Spec
from koopcast.integrators.etdrk4 import ETDRK4Spec
from koopcast.systems.diffusion_reaction import DiffusionReactionSpec

SMOOTH = {"kind": "cosine_gaussian", "grid": "cells", "alpha": 6.0, "tau": 5.0}


def system(**options):
    return DiffusionReactionSpec.model_validate({"points": 16, **options})


def integrate(spec, fields, dt, time, setting=None):
    problem = spec.problem(setting) if setting else spec.problem()
    step, v = ETDRK4Spec().build(problem, dt), problem.to_spectral(fields)
    for _ in range(round(time / dt)):
        v = step(v)
    return problem.to_physical(v)


def five_points(f, h):
    """Finite volumes with no flux through the sides, as a sum over cells."""
    padded = torch.cat((f[:1], f, f[-1:]))
    padded = torch.cat((padded[:, :1], padded, padded[:, -1:]), dim=1)
    inner = padded[1:-1, 1:-1]
    around = padded[2:, 1:-1] + padded[:-2, 1:-1] + padded[1:-1, 2:] + padded[1:-1, :-2]
    return (around - 4 * inner) / h**2


def test_values_lie_at_cell_centres_between_minus_one_and_one():
    places = system(points=8).coordinates()
    assert list(places) == ["y", "x"]
    assert torch.equal(places["x"], torch.arange(-7, 8, 2, dtype=torch.float64) / 8)


def test_diffusion_alone_damps_a_cosine_as_the_equation_says_whatever_the_grid():
    # cos(πk(x + 1)/2) cos(πl(y + 1)/2) decays as exp(-D (π/2)² (k² + l²) t).
    for points in (8, 9, 20):
        spec = system(points=points)
        x = spec.coordinates()["x"]
        wave = torch.cos(math.pi * (x + 1))[:, None] * torch.cos(1.5 * math.pi * (x + 1))
        problem = spec.problem()
        v = problem.to_spectral(torch.stack((wave, 2 * wave), dim=-1))
        after = problem.to_physical(torch.exp(7.0 * problem.linear) * v)
        for channel, rate in enumerate((1e-3, 5e-3)):
            decay = math.exp(-rate * (math.pi / 2) ** 2 * (4 + 9) * 7.0)
            assert torch.allclose(after[..., channel], (1 + channel) * decay * wave, atol=1e-13)


def test_finite_volumes_have_the_eigenvalues_of_the_five_point_scheme():
    spec = system(laplacian="finite_volumes")
    fields = torch.randn(16, 16, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    problem = spec.problem()
    diffused = problem.to_physical(problem.linear * problem.to_spectral(fields))
    for channel, rate in enumerate((1e-3, 5e-3)):
        assert torch.allclose(
            diffused[..., channel], rate * five_points(fields[..., channel], 2 / 16), atol=1e-12
        )


def test_the_reaction_is_that_of_fitzhugh_and_nagumo():
    # At u = 2, v = 3: u - u³ - κ - v = 2 - 8 - 0.005 - 3, u - v = -1.
    fields = torch.tensor([2.0, 3.0], dtype=torch.float64).expand(8, 8, 2)
    problem = system(points=8).problem()
    rate = problem.to_physical(problem.nonlinear(problem.to_spectral(fields)))
    assert torch.allclose(rate, torch.tensor([-9.005, -1.0], dtype=torch.float64).expand(8, 8, 2), atol=1e-12)


def test_etdrk4_has_fourth_order_and_meets_an_explicit_method_of_high_accuracy():
    spec = system(initial_state=SMOOTH)
    start = spec.initial(2, torch.Generator().manual_seed(3))
    problem = spec.problem()

    def rate(x):
        v = problem.to_spectral(x.reshape(-1, 16, 16, 2))
        return problem.to_physical(problem.linear * v + problem.nonlinear(v)).flatten(1)

    exact = (
        Dopri5Spec(rtol=1e-10, atol=1e-11).build(Tendency(rate), 2.0)(start.flatten(1)).reshape(start.shape)
    )
    errors = [(integrate(spec, start, dt, 2.0) - exact).abs().max().item() for dt in (0.25, 0.125, 0.0625)]
    assert [math.log2(a / b) for a, b in pairwise(errors)] == pytest.approx([4, 4], abs=0.4)
    assert (integrate(spec, start, 0.05, 2.0) - exact).abs().max() < 1e-6


def test_uniform_fields_stay_uniform_and_follow_the_reaction_alone():
    fields = torch.tensor([0.3, -0.2], dtype=torch.float64).expand(1, 16, 16, 2)
    after = integrate(system(), fields, 0.05, 1.0)
    assert (after - after[:, :1, :1]).abs().max() < 1e-12

    def rate(x):
        u, v = x[..., 0], x[..., 1]
        return torch.stack((u - u**3 - 5e-3 - v, u - v), dim=-1)

    point = Dopri5Spec(rtol=1e-11, atol=1e-12).build(Tendency(rate), 1.0)(fields[:, 0, 0])
    assert torch.allclose(after[:, 0, 0], point, atol=1e-6)


def test_finite_volumes_approach_the_spectral_solution_with_second_order():
    errors = []
    for points in (16, 32, 64):
        start = system(points=points, initial_state=SMOOTH).initial(1, torch.Generator().manual_seed(0))
        spectral, volumes = (
            integrate(system(points=points, laplacian=name), start, 0.1, 1.0)
            for name in ("spectral", "finite_volumes")
        )
        errors.append((spectral - volumes).square().mean().sqrt().item())
    assert [math.log2(a / b) for a, b in pairwise(errors)] == pytest.approx([2, 2], abs=0.3)


def test_white_noise_is_resolved_after_a_while_and_smooth_fields_are_one_function():
    white = system(points=128)
    start = white.initial(1, torch.Generator().manual_seed(0))
    assert start.mean().item() == pytest.approx(0, abs=5 / math.sqrt(start.numel()))
    assert start.square().mean().item() == pytest.approx(1, abs=5 * math.sqrt(2 / start.numel()))
    measure = system(points=128, initial_state=SMOOTH).tail_energy
    assert measure(start).item() == pytest.approx(0.19, abs=0.02)
    assert measure(integrate(white, start, 0.05, 0.5)).item() < 1e-6
    assert white.tail_energy(start).item() == 0
    coarse, fine = (
        system(points=points, initial_state=SMOOTH).initial(2, torch.Generator().manual_seed(1))
        for points in (24, 72)
    )
    # A centre of a coarse cell is that of the middle one of three fine cells.
    assert (fine[:, 1::3, 1::3] - coarse).abs().max() < 1e-3 * coarse.abs().max()


def test_parameters_may_differ_from_sample_to_sample():
    spec = system(initial_state=SMOOTH)
    start = spec.initial(2, torch.Generator().manual_seed(2))
    values = {"activator_diffusion": [1e-3, 2e-2], "kappa": [0.0, 0.3]}
    setting = Setting(
        parameters={name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
    )
    together = integrate(spec, start, 0.1, 1.0, setting)
    for row in range(2):
        alone = system(initial_state=SMOOTH, **{name: value[row] for name, value in values.items()})
        assert torch.allclose(integrate(alone, start[row : row + 1], 0.1, 1.0)[0], together[row], atol=1e-12)


def test_single_precision_is_kept():
    spec = system(initial_state=SMOOTH)
    start = spec.initial(1, torch.Generator().manual_seed(2))
    single = integrate(spec, start, 0.1, 1.0, Setting(dtype=torch.float32))
    assert single.dtype == torch.float32
    assert (single - integrate(spec, start, 0.1, 1.0)).abs().max() < 1e-4


@pytest.mark.parametrize("law", ["wave_sum", "cosine_gaussian", {"kind": "cosine_gaussian", "alpha": 1.0}])
def test_initial_laws_that_do_not_fit_are_refused(law):
    with pytest.raises(ValidationError, match="initial_state"):
        system(initial_state=law)
