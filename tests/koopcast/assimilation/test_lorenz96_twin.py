"""The Lorenz-96 twin of Sakov and Oke (2008): analysis errors as published in the DAPPER benchmark suite.

40 cells, F = 8, dt = 0.05, all cells observed at every step with R = I, X0 covariance 0.001; the first 400
cycles (20 time units) are left out. A score is the time mean of the spatial root mean square error of the
ensemble mean.
"""

import pytest
import torch
from pydantic import TypeAdapter

from koopcast.assimilation import AnyAnalysis, AnyInitial
from koopcast.assimilation.cycle import CycleState, Experiment, run
from koopcast.assimilation.records import joined
from koopcast.generation import Run, SystemDynamics, evolve
from koopcast.integrators.rk4 import RK4Spec
from koopcast.observations import AnyObservations
from koopcast.systems.lorenz96 import Lorenz96Spec

EXPERIMENTS, CYCLES, BURN_IN = 16, 1000, 400


def scores(method, cycles=CYCLES, burn_in=BURN_IN, initial=None, experiments=EXPERIMENTS):
    """Return the score of each of the independent experiments."""
    setup = Run(Lorenz96Spec(), RK4Spec(), samples=experiments, steps=cycles + 1, burn_in=400)
    truth, dynamics = evolve(setup, seed=1), SystemDynamics(setup)
    generator = torch.Generator().manual_seed(2)
    spec = TypeAdapter(AnyAnalysis).validate_python(method)
    observed = TypeAdapter(AnyObservations).validate_python("synthetic").observe(truth, 1, generator)
    start = TypeAdapter(AnyInitial).validate_python(initial or {"kind": "perturbed", "variance": 0.001})
    ensemble = start.draw(dynamics, truth, truth, (1, spec.num_members()), generator)
    trial = Experiment(dynamics, spec, observed, truth, truth)
    result = joined(run(trial, CycleState(ensemble, generator), keep="mean"))
    return result.figures["rmse"][:, burn_in:].mean(dim=1)


def inflation(factor):
    return {"kind": "multiplicative", "factor": factor}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "published"),
    [
        ({"kind": "enkf", "members": 40, "inflation": inflation(1.06)}, 0.22),
        ({"kind": "etkf", "members": 24, "inflation": inflation(1.013), "rotation": True}, 0.18),
        ({"kind": "letkf", "members": 7, "inflation": inflation(1.04), "rotation": True,
          "localization": {"kind": "gaspari_cohn", "radius": 4.0}}, 0.22),
        ({"kind": "optimal_interpolation"}, 0.95),
    ],
)  # fmt: skip
def test_a_filter_scores_what_is_published(method, published):
    found = scores(method)
    # At these small inflations a filter loses the truth for good once in a while (about one ETKF run in
    # twenty, here as in the reference code): such runs do not count, and there must be few.
    kept = found[found < 1]
    assert len(kept) >= EXPERIMENTS - 3
    assert float(kept.mean()) == pytest.approx(published, rel=0.15)


@pytest.mark.slow
def test_ten_members_without_inflation_lose_the_truth_unless_they_are_localised():
    options = {"members": 10, "inflation": "none", "rotation": True}
    near = {"kind": "gaspari_cohn", "radius": 1.5}
    lost = scores({"kind": "etkf", **options}, 600, 300, experiments=6)
    held = scores({"kind": "letkf", **options, "localization": near}, 600, 300, experiments=6)
    assert float(lost.mean()) > 2
    assert float(held.max()) < 0.5
