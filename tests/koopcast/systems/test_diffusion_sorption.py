import math
from itertools import pairwise

import pytest
import torch
from pydantic import ValidationError

from koopcast.dynamics import Setting
from koopcast.integrators.bdf import BDFSpec
from koopcast.systems.diffusion_sorption import DiffusionSorptionSpec

BDF = BDFSpec(rtol=1e-5, atol=1e-7)


def system(points=27, **options):
    return DiffusionSorptionSpec.model_validate({"points": points, **options})


def integrate(spec, fields, time, setting=None, method=BDF):
    problem = spec.problem(setting) if setting else spec.problem()
    return method.build(problem, time)(fields[..., 0])[..., None]


def test_the_steady_state_is_a_line_between_both_ends_whatever_sorption_does():
    # c(0) = s and c(1) = -D c'(1): c = s (1 - x/(1 + D)).
    spec = system(points=20, diffusion=0.3, solubility=2.0)
    line = 2.0 * (1 - spec.coordinates()["x"] / 1.3)
    assert spec.problem().function(line).abs().max() < 1e-12


def test_the_retardation_is_that_of_freundlich():
    # Inside, at c = 0.3 + 0.5 x²: D c_xx / R with c_xx = 1.
    spec = system(points=100)
    x = spec.coordinates()["x"]
    c = 0.3 + 0.5 * x**2
    R = 1 + (1 - 0.29) / 0.29 * 2880 * 3.5e-4 * 0.874 * (c + 1e-6) ** (0.874 - 1)
    assert torch.allclose(spec.problem().function(c)[1:-1], (5e-4 / R)[1:-1], rtol=1e-9)


@pytest.mark.parametrize(("diffusion", "time"), [(5e-4, 400.0), (0.5, 0.5)])
def test_the_linear_limit_converges_to_its_series_with_second_order(diffusion, time):
    errors = []
    for points in (10, 20, 40):
        spec = system(points=points, exponent=1.0, diffusion=diffusion, solubility=1.5)
        start = spec.initial(2, torch.Generator().manual_seed(0))
        exact = spec.exact(start, time)
        errors.append((integrate(spec, start, time) - exact).abs().max().item())
    assert [math.log2(a / b) for a, b in pairwise(errors)] == pytest.approx([2, 2], abs=0.15)
    assert errors[-1] < 3e-3


def test_the_series_starts_at_the_initial_field_and_keeps_both_ends():
    spec = system(points=500, exponent=1.0)
    start = spec.initial(1, torch.Generator().manual_seed(0))
    soon = spec.exact(start, 1e-3)
    assert (soon - start)[0, 20:-20, 0].abs().max() < 1e-12
    late = spec.exact(start, 50.0)[0, :, 0]
    assert (1.5 * late[0] - 0.5 * late[1]).item() == pytest.approx(1.0, abs=1e-5)
    assert spec.exact(start, 0.0) is start
    assert system().exact(start, 1.0) is None


def test_with_sorption_finer_grids_converge_with_second_order():
    # A centre of a coarse cell is that of the middle one of three finer cells.
    fields = []
    for points in (9, 27, 81):
        spec = system(points=points)
        start = spec.initial(1, torch.Generator().manual_seed(1))
        fields.append(integrate(spec, start, 200.0)[0, :, 0])
    gaps = [(fine[1::3] - coarse).abs().max().item() for coarse, fine in pairwise(fields)]
    assert math.log(gaps[0] / gaps[1], 3) == pytest.approx(2, abs=0.3)


def test_concentrations_stay_between_their_bounds_and_fronts_lag_behind_those_without_sorption():
    spec = system(points=64)
    start = spec.initial(2, torch.Generator().manual_seed(2))
    after = integrate(spec, start, 100.0)
    assert after.min() > 0
    assert after.max() < 1
    assert (after[:, 1:] <= after[:, :-1] + 1e-9).all()
    free = integrate(system(points=64, density=0.0), start, 100.0)
    assert (free[:, :40] > after[:, :40]).all()


def test_records_do_not_depend_on_how_time_is_divided():
    spec = system(points=64)
    start = spec.initial(1, torch.Generator().manual_seed(3))
    whole, state = integrate(spec, start, 20.0), start
    for _ in range(10):
        state = integrate(spec, state, 2.0)
    assert (whole - state).abs().max() < 1e-4


def test_initial_concentrations_follow_their_law():
    start = system(points=8).initial(4000, torch.Generator().manual_seed(4))
    assert torch.equal(start, start[:, :1].expand_as(start))
    assert start.min() >= 0
    assert start.max() <= 0.2
    assert start.mean().item() == pytest.approx(0.1, abs=5 * 0.2 / math.sqrt(12 * 4000))
    with pytest.raises(ValidationError, match=r"initial_concentration: its lowest value -0.1 is below 0"):
        system(initial_concentration=[-0.1, 0.2])


def test_parameters_may_differ_from_sample_to_sample_and_single_precision_is_kept():
    values = {"diffusion": [5e-4, 2e-3], "exponent": [0.874, 1.0], "solubility": [1.0, 2.0]}
    parameters = {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
    spec = system()
    start = spec.initial(2, torch.Generator().manual_seed(5))
    together = integrate(spec, start, 20.0, Setting(parameters=parameters))
    for row in range(2):
        alone = system(**{name: value[row] for name, value in values.items()})
        assert torch.allclose(integrate(alone, start[row : row + 1], 20.0)[0], together[row], atol=1e-12)
    loose = BDFSpec(rtol=1e-4, atol=1e-5)
    setting = Setting(dtype=torch.float32, parameters=parameters)
    single = integrate(spec, start.float(), 20.0, setting, loose)
    assert single.dtype == torch.float32
    assert (single - together).abs().max() < 3e-3
