import math

import pytest
import torch
from pydantic import ValidationError

from koopcast.integrators.etdrk4 import ETDRK4Spec
from koopcast.systems.kdv import KdVSpec


def advance(problem, fields, dt, count):
    step, v = ETDRK4Spec().build(problem, dt), problem.to_spectral(fields)
    for _ in range(count):
        v = step(v)
    return problem.to_physical(v)


def test_solitons_of_different_speeds_move_as_the_exact_solution_says():
    system = KdVSpec(points=192)
    start = system.initial(3, torch.Generator().manual_seed(0))
    end = advance(system.problem(), start, 2e-3, 200)
    assert (end - system.exact(start, 0.4)).abs().max() < 2e-5


def test_the_exact_solution_moves_the_crest_by_speed_times_time():
    system = KdVSpec(points=512, slowest=0.25, fastest=0.25)
    start = system.initial(1, torch.Generator().manual_seed(1))
    # c t = 0.25 · 1.5 of a domain of length 2: 96 of 512 points.
    assert (system.exact(start, 1.5) - start.roll(96, dims=1)).abs().max() < 1e-8
    assert start.max().item() == pytest.approx(0.75, rel=1e-3)


def test_mass_momentum_and_energy_are_kept_by_two_solitons_that_meet():
    system = KdVSpec(points=192, solitons=2, slowest=0.2, fastest=0.4)
    start = system.initial(4, torch.Generator().manual_seed(2))
    end = advance(system.problem(), start, 2e-3, 500)
    before, after = system.invariants(start), system.invariants(end)
    for name, tolerance in (("mass", 1e-13), ("momentum", 3e-7), ("energy", 1e-6)):
        assert ((after[name] - before[name]) / before[name]).abs().max() < tolerance
    assert system.exact(start, 1.0) is None


def test_energy_of_a_wave_has_its_value_by_hand():
    # u = cos πx on (0, 2): ∫u = 0, ∫u² = 1, ∫(δ² u_x²/2 - u³/6) = δ² π²/2.
    system = KdVSpec(initial_state="cosine")
    invariants = system.invariants(system.initial(1, torch.Generator().manual_seed(3)))
    assert invariants["mass"].item() == pytest.approx(0, abs=1e-14)
    assert invariants["momentum"].item() == pytest.approx(1)
    assert invariants["energy"].item() == pytest.approx(0.022**2 * math.pi**2 / 2)


def test_the_cosine_of_zabusky_and_kruskal_breaks_into_a_train_of_solitons():
    # At t = 3.6/π they found eight, the highest more than twice as high as the cosine.
    system = KdVSpec(initial_state="cosine")
    start = system.initial(1, torch.Generator().manual_seed(4))
    end = advance(system.problem(), start, 3.6 / math.pi / 1200, 1200)[0, :, 0]
    is_crest = (end > end.roll(1)) & (end > end.roll(-1))
    assert int(is_crest.sum()) == 8
    assert 2 < end.max() < 3
    assert system.tail_energy(end[None, :, None]).item() < 1e-6


def test_a_small_wave_disperses_as_the_dispersion_relation_says():
    # u = ε cos(kx): frequency -δ² k³, so u(t) = ε cos(kx + δ² k³ t).
    system = KdVSpec(points=32, initial_state="cosine")
    x, k = torch.arange(32, dtype=torch.float64) / 16, 4 * math.pi
    end = advance(system.problem(), 1e-9 * torch.cos(k * x)[None, :, None], 0.05, 20)[0, :, 0]
    assert torch.allclose(end / 1e-9, torch.cos(k * x + 0.022**2 * k**3), atol=1e-7)


@pytest.mark.parametrize("options", [{"points": 9}, {"slowest": 2.0}, {"length": 0.5}, {"delta": 0}])
def test_kdv_refuses_options_it_cannot_compute_with(options):
    with pytest.raises(ValidationError):
        KdVSpec.model_validate(options)
