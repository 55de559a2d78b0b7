"""Adaptive inflation: the most likely factor by hand, what it learns, what it remembers."""

import pytest
import torch

from koopcast.assimilation import records
from koopcast.assimilation.base import Observed, Setting
from koopcast.assimilation.cycle import CycleState, run
from koopcast.assimilation.records import joined
from koopcast.numerics.ensembles import split
from tests.koopcast.assimilation.test_analyses import SETTING, method, seeded
from tests.koopcast.assimilation.test_cycle import TRUTH, experiment, start

FREE = {
    "kind": "adaptive",
    "prior": "normal",
    "std": 1e4,
    "least_std": 0.1,
    "damping": 1.0,
    "bounds": (0.01, 100.0),
}


def scalar(innovation, variance=2.0, members=5):
    """One cell, observed with the error 1, with a sample variance."""
    anomalies = split(torch.randn(1, members, 1, generator=seeded(1)).double())[1]
    ensemble = anomalies * (variance / anomalies.var(1, keepdim=True)).sqrt()
    value = torch.tensor([[float(innovation)]]).double()
    return ensemble, Observed.of(value, torch.ones(1, 1).double(), ensemble, torch.zeros(1, 1).long())


def test_without_a_prior_the_factor_makes_the_innovation_as_large_as_expected():
    # λ σ² + 1 = d² with σ² = 2 and d = 3: λ = 4.
    ensemble, seen = scalar(3.0)
    analyse = method("etkf", Setting(), members=5, inflation=FREE)
    after = analyse(ensemble, seen, seeded()).ensemble
    assert float(analyse.memory["inflation"]) == pytest.approx(4.0, rel=1e-4)
    # The background variance 8 and the error 1 leave 8/9.
    assert float(after.var(1)) == pytest.approx(8 / 9, rel=1e-4)
    assert float(after.mean(1)) == pytest.approx(3 * 8 / 9, rel=1e-4)


@pytest.mark.parametrize("prior", ["normal", "inverse_gamma"])
def test_the_mode_of_the_posterior_is_found(prior):
    std = 0.6
    ensemble, seen = scalar(3.0)
    options = {
        "kind": "adaptive",
        "prior": prior,
        "std": std,
        "least_std": 0.1,
        "damping": 1.0,
        "bounds": (0.01, 100.0),
    }
    analyse = method("etkf", Setting(), members=5, inflation=options)
    analyse(ensemble, seen, seeded())
    grid = torch.linspace(0.5, 6, 200_001, dtype=torch.float64)
    theta = 2 * grid + 1
    cost = theta.log() / 2 + 9 / theta / 2
    # The inverse gamma with mode 1 and curvature 1/std² there has α + 1 = β = 1/std².
    cost += (grid - 1) ** 2 / 2 / std**2 if prior == "normal" else (grid.log() + 1 / grid) / std**2
    assert float(analyse.memory["inflation"]) == pytest.approx(float(grid[cost.argmin()]), abs=2e-3)
    assert float(analyse.memory["inflation_std"]) < std


@pytest.mark.parametrize("prior", ["normal", "inverse_gamma"])
def test_innovations_of_a_known_size_teach_the_factor(prior):
    options = {"kind": "adaptive", "prior": prior, "damping": 1.0, "std": 2.0, "least_std": 0.01}
    analyse = method("etkf", Setting(), members=5, inflation=options)
    # Quantiles of N(0, 9) in a random order, four times: 9 = 4 * 2 + 1.
    levels = (torch.randperm(200, generator=seeded(2)).double() + 0.5) / 200
    for draw in 4 * (3 * torch.special.ndtri(levels)).tolist():
        analyse(*scalar(draw), seeded())
    # The law of λ is narrowed to θ √(2 / 800) / σ² = 0.22 by then.
    assert float(analyse.memory["inflation"]) == pytest.approx(4.0, abs=0.4)
    assert float(analyse.memory["inflation_std"]) == pytest.approx(0.22, rel=0.2)


def test_a_cell_that_no_observation_tells_of_keeps_its_factor():
    ensemble = torch.randn(2, 6, 6, generator=seeded(3)).double()
    index = torch.zeros(2, 1).long()
    seen = Observed.of(torch.full((2, 1), 9.0).double(), torch.ones(2, 1).double(), ensemble[..., :1], index)
    near = {"kind": "step", "radius": 1.0}
    analyse = method("letkf", SETTING, members=6, localization=near, inflation="adaptive")
    analyse(ensemble, seen, seeded())
    factor = analyse.memory["inflation"]
    assert (factor[:, [2, 3, 4]] == 1).all()
    assert (factor[:, 0] > 1.3).all()


@pytest.mark.parametrize("kind", ["etkf", "enkf"])
def test_a_run_that_was_stopped_goes_on_bit_by_bit(kind, monkeypatch):
    monkeypatch.setattr(records, "BLOCK_CYCLES", 4)
    trial = experiment({"kind": kind, "members": 14, "rotation": True, "inflation": "adaptive"})
    ensemble = start(trial.dynamics, TRUTH, 14)
    whole = joined(run(trial, CycleState(ensemble, seeded(4))))
    blocks = run(trial, CycleState(ensemble, seeded(4)))
    first = next(blocks)
    saved = {name: tensor.clone() for name, tensor in first.state.tensors().items()}
    assert saved["memory.inflation"].ne(1).any()
    rest = joined(run(trial, CycleState.restored(saved)))
    assert torch.equal(torch.cat([first.analysis, rest.analysis], dim=2), whole.analysis)
