import math

import pytest
import torch
from pydantic import ValidationError

from koopcast.dynamics import Setting
from koopcast.integrators.etdrk4 import ETDRK4Spec
from koopcast.random_fields.constant import ConstantSpec
from koopcast.random_fields.periodic import PeriodicGaussianSpec
from koopcast.systems.forced_reaction import ForcedReactionSpec


def advance(system, fields, time, dt=0.01, setting=None):
    problem = system.problem(setting or Setting())
    step, v = ETDRK4Spec().build(problem, dt), problem.to_spectral(fields)
    for _ in range(round(time / dt)):
        v = step(v)
    return problem.to_physical(v)


def start(system, count=2, seed=0):
    return system.initial(count, torch.Generator().manual_seed(seed))


def test_a_sine_source_without_reaction_fills_up_its_own_mode():
    # s = (1 - e^{-D(πm)²t}) / (D (πm)²) sin πmx.
    system = ForcedReactionSpec(reaction=0.0, points=33)
    x, rate = system.coordinates()["x"], 0.01 * (3 * math.pi) ** 2
    wave = torch.sin(3 * math.pi * x)
    fields = torch.stack((wave, torch.zeros_like(x)), dim=-1)[None]
    end = advance(system, fields, 2.0, dt=0.5)[0]
    assert torch.allclose(end[:, 1], (1 - math.exp(-2 * rate)) / rate * wave, atol=1e-12)
    assert torch.allclose(end[:, 0], wave, atol=1e-14)


def test_a_constant_source_without_reaction_ends_in_a_parabola():
    # 0 = D s_xx + c: s = c x (1 - x) / (2 D).
    system = ForcedReactionSpec(reaction=0.0, diffusion=0.5, source=ConstantSpec(value=2.0), points=12)
    x = system.coordinates()["x"]
    end = advance(system, start(system), 20.0, dt=1.0)
    assert torch.allclose(end[0, :, 1], 2 * x * (1 - x), atol=1e-12)


def test_a_straight_source_without_reaction_ends_in_a_cubic():
    # 0 = D s_xx + x: s = (x - x³) / (6 D).
    system = ForcedReactionSpec(reaction=0.0, diffusion=0.5, points=12)
    x = system.coordinates()["x"]
    fields = torch.stack((x, torch.zeros_like(x)), dim=-1)[None]
    assert torch.allclose(advance(system, fields, 20.0, dt=1.0)[0, :, 1], (x - x**3) / 3, atol=1e-12)


def test_far_from_the_ends_a_constant_source_grows_as_the_tangent():
    # s' = k s² + c from 0: s = √(c/k) tan(√(kc) t).
    system = ForcedReactionSpec(reaction=0.5, diffusion=1e-5, source=ConstantSpec(value=1.0), points=201)
    root = math.sqrt(0.5)
    middle = advance(system, start(system, 1), 1.0)[0, 100, 1]
    assert middle.item() == pytest.approx(math.tan(root) / root, rel=1e-8)


def test_the_error_falls_with_the_fourth_power_of_the_spacing():
    fine = ForcedReactionSpec(points=201)
    exact = advance(fine, start(fine), 1.0, dt=0.1)

    def error(points):
        system, every = ForcedReactionSpec(points=points), 200 // (points - 1)
        return (advance(system, start(system), 1.0, dt=0.1) - exact[:, ::every])[..., 1].abs().max().item()

    # The exact solution is that of 200 intervals: it takes 1/16 of the finer error with it.
    assert math.log2(error(26) / error(51)) == pytest.approx(4, abs=0.3)
    assert error(101) < 1e-6


def test_the_error_falls_with_the_fourth_power_of_the_step():
    system = ForcedReactionSpec(reaction=0.3, points=21)
    exact = advance(system, start(system), 1.0, dt=1 / 160)[..., 1]

    def error(dt):
        return (advance(system, start(system), 1.0, dt)[..., 1] - exact).abs().max().item()

    assert math.log2(error(0.05) / error(0.025)) == pytest.approx(4, abs=0.2)


def test_parameters_of_samples_are_those_of_systems_of_their_own():
    system = ForcedReactionSpec(points=21)
    fields = start(system)
    values = {"diffusion": torch.tensor([0.02, 0.2]).double(), "reaction": torch.tensor([0.5, -1.0]).double()}
    together = advance(system, fields, 0.5, setting=Setting(parameters=values))
    for row in range(2):
        own = ForcedReactionSpec(
            points=21, diffusion=values["diffusion"][row].item(), reaction=values["reaction"][row].item()
        )
        assert torch.allclose(advance(own, fields[row : row + 1], 0.5)[0], together[row], atol=1e-12)


def test_fields_pass_to_coefficients_and_back_and_the_ends_stay_zero():
    system = ForcedReactionSpec(points=20)
    problem = system.problem()
    fields = start(system)
    fields[:, 1:-1, 1] = torch.randn(2, 18, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    assert torch.allclose(problem.to_physical(problem.to_spectral(fields)), fields, atol=1e-12)
    assert torch.allclose(advance(system, fields, 0.1)[:, [0, -1], 1], torch.zeros(2, 2).double(), atol=1e-12)


def test_a_rough_solution_has_its_energy_in_the_tail():
    system = ForcedReactionSpec(points=42)
    x = system.coordinates()["x"]
    fields = torch.stack((torch.zeros_like(x), torch.sin(40 * math.pi * x)), dim=-1)[None]
    assert system.tail_energy(fields).item() == pytest.approx(1)
    assert system.tail_energy(advance(system, start(system), 1.0, dt=0.1)).max() < 1e-6
    assert system.tail_energy(start(system)).max() == 0


def test_a_law_for_periodic_axes_is_refused():
    with pytest.raises(ValidationError, match="source: "):
        ForcedReactionSpec(source=PeriodicGaussianSpec())
