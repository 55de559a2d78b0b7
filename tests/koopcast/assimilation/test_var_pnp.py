"""Plug-and-play analysis: closed form under a quadratic prior, both solvers, missing values, refusals."""

from dataclasses import replace

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from koopcast.assimilation import AnyAnalysis
from koopcast.assimilation.base import Observed, Setting
from koopcast.assimilation.cycle import CycleState, run
from koopcast.errors import EmptySelection, InvalidInput
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.observations import AnyObservations
from koopcast.priors.base import Prior
from tests.koopcast.assimilation.test_cycle import TRUTH, experiment, seeded, start

INFO = FieldsInfo({"u": "1"}, (Axis("x", 5, periodic=True, length=1.0),), TimeAxis(1, 1.0))
MEAN, STD, CURVATURE = 3.0, 2.0, 4.0


class Quadratic(Prior):
    """R = ½ c |x|², whose proximal operator is x / (1 + c)."""

    info, noise = INFO, 0.5

    def proximal(self, z):
        return z / (1 + CURVATURE)

    def normalise(self, cells):
        return (cells - MEAN) / STD

    def denormalise(self, cells):
        return cells * STD + MEAN

    def scale(self):
        return torch.full((5,), STD).double()

    def tensors(self):
        return {}


def pnp(prior=None, **options):
    spec = TypeAdapter(AnyAnalysis).validate_python({"kind": "var_pnp", "max_iter": 5000, **options})
    return spec.build(Setting(prior=prior or Quadratic()))


def case(missing=False):
    state = torch.randn(2, 1, 5, generator=seeded(1), dtype=torch.float64)
    cell = torch.tensor([[0, 2, 2], [1, 3, 4]])
    value = torch.randn(2, 3, generator=seeded(2), dtype=torch.float64) * 3
    variance = 0.5 + torch.rand(2, 3, generator=seeded(3), dtype=torch.float64)
    if missing:
        value[0, 1] = value[1, 0] = torch.nan
    return state, cell, value, variance


def observed(state, cell, value, variance):
    return Observed.of(value, variance, state.gather(2, cell[:, None]), cell)


def closed_form(state, cell, value, variance, rho, weight=0.0, std=1.0):
    """Minimise Σ ½ (y - x)²/r + ½ w |(x - x_b)/(s STD)|² + ½ ρ c |(x - MEAN)/STD|², cell by cell."""
    total = torch.full((2, 5), rho * CURVATURE / STD**2).double()
    right = total * MEAN
    background = weight / (std * STD) ** 2
    total, right = total + background, right + background * state[:, 0]
    for batch in range(2):
        for one, y, r in zip(cell[batch].tolist(), value[batch], variance[batch], strict=True):
            if not torch.isnan(y):
                total[batch, one] += 1 / r
                right[batch, one] += y / r
    return right / total


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("options", [{}, {"rho": 0.3}, {"background_weight": 2.0, "background_std": 0.7}])
def test_admm_ends_at_the_minimum(options, missing):
    problem = case(missing)
    found = pnp(tolerance=1e-13, **options)(problem[0], observed(*problem), seeded()).ensemble[:, 0]
    # Without `rho` the weight is one over the variance of the noise that the prior removes.
    weight, std = options.get("background_weight", 0.0), options.get("background_std", 1.0)
    expected = closed_form(*problem, options.get("rho", 4.0), weight, std)
    assert torch.allclose(found, expected, atol=1e-9)


def test_descent_ends_at_the_minimum_that_its_step_stands_for():
    problem = case()
    found = pnp(solver="pgd", step=0.5, tolerance=1e-14)(problem[0], observed(*problem), seeded())
    cell, variance = problem[1], problem[3]
    curvature = torch.zeros(2, 5).double().scatter_add(1, cell, STD**2 / variance).amax(1)
    for batch in range(2):
        rho = float(curvature[batch] / 0.5)
        expected = closed_form(*problem, rho)[batch]
        assert torch.allclose(found.ensemble[batch, 0], expected, atol=1e-9)
    assert (found.figures["iterations"] < 5000).all()


def test_experiments_without_observations_tend_to_the_prior_alone():
    state, cell, value, variance = case()
    nothing = torch.full_like(value, torch.nan)
    for solver in ("admm", "pgd"):
        found = pnp(solver=solver, tolerance=1e-13)(state, observed(state, cell, nothing, variance), seeded())
        assert torch.allclose(found.ensemble, torch.full_like(state, MEAN), atol=1e-9)


def test_what_is_no_cell_is_refused():
    state, cell, value, variance = case()
    seen = observed(state, cell, value, variance)
    squared = seen._replace(predicted=seen.predicted.square())
    with pytest.raises(InvalidInput, match="observations of cells themselves"):
        pnp()(state, squared, seeded())
    with pytest.raises(EmptySelection, match="needs a learned prior"):
        TypeAdapter(AnyAnalysis).validate_python("var_pnp").build(Setting())
    with pytest.raises(ValidationError, match="weights the prior by its step"):
        pnp(solver="pgd", rho=1.0)


def test_a_cycle_analyses_with_its_prior():
    class Ring(Quadratic):
        info = TRUTH.info

        def scale(self):
            return torch.full((12,), STD).double()

    trial = experiment({"kind": "var_pnp", "tolerance": 1e-12}, {"kind": "synthetic", "every": 10})
    trial = replace(trial, prior=Ring())
    cycles = next(run(trial, CycleState(start(trial.dynamics, TRUTH, 1), seeded(4))))
    # All 12 cells, variance 1: (y + ρ c MEAN / STD²) / (1 + ρ c / STD²) with ρ c / STD² = 4.
    expected = (trial.observations.value + 4 * MEAN) / 5
    assert torch.allclose(cycles.analysis[:, 0, ..., 0].double(), expected, atol=1e-5)
    assert TypeAdapter(AnyObservations).validate_python("synthetic") is not None
