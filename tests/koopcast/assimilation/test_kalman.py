"""The exact filter and the extended one: textbook recursion, refusal, restart, skill."""

import pytest
import torch

from koopcast.assimilation import records
from koopcast.assimilation.base import Climatology, Observed, Setting
from koopcast.assimilation.cycle import CycleState, run
from koopcast.assimilation.records import joined
from koopcast.errors import EmptySelection, InvalidInput
from tests.koopcast.assimilation.test_analyses import method, seeded
from tests.koopcast.assimilation.test_cycle import TRUTH, experiment, start
from tests.koopcast.assimilation.test_ienks import Turning

STATES = 4
SITES = [0, 2]


def matrix():
    return torch.randn(STATES, STATES, generator=seeded(1), dtype=torch.float64) / 2


@pytest.mark.parametrize("kind", ["kalman", "extkf"])
@pytest.mark.parametrize("noise", ["factor", "std", "none"])
def test_a_linear_model_gives_the_textbook_recursion(kind, noise):
    M, F = matrix(), torch.randn(STATES, 2, generator=seeded(2), dtype=torch.float64)
    std = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    Q = {"factor": F @ F.T, "std": torch.diag(std**2), "none": torch.zeros(STATES, STATES).double()}[noise]
    setting = Setting(
        noise=F if noise == "factor" else None,
        noise_std=std if noise == "std" else None,
        active=torch.ones(STATES).double(),
    )
    analyse = method(kind, setting, std=0.7)
    H, R = torch.eye(STATES, dtype=torch.float64)[SITES], torch.diag(torch.tensor([0.3, 0.5])).double()
    x, P = torch.ones(2, STATES).double(), 0.49 * torch.eye(STATES).double().expand(2, -1, -1)
    ensemble = x[:, None]
    for cycle in range(5):
        x, P = x @ M.T + 1, M @ P @ M.T + Q
        y = torch.randn(2, 2, generator=seeded(10 + cycle), dtype=torch.float64)
        K = P @ H.T @ torch.linalg.inv(H @ P @ H.T + R)
        x, P = x + ((y - x @ H.T)[:, None] @ K.mT)[:, 0], (torch.eye(STATES) - K @ H) @ P
        ensemble = analyse.forecast(ensemble, lambda state: state @ M.T + 1)
        seen = Observed.of(y, R.diagonal().expand(2, -1), ensemble[..., SITES])
        analysis = analyse(ensemble, seen._replace(see=lambda state: state[..., SITES]), seeded())
        ensemble = analysis.ensemble
        assert torch.allclose(ensemble[:, 0], x, atol=1e-10)
        assert torch.allclose(analyse.memory["covariance"], P, atol=1e-10)
        assert torch.allclose(analysis.std, P.diagonal(dim1=1, dim2=2).sqrt(), atol=1e-10)


def test_inflation_multiplies_the_covariance_of_the_background():
    # One entry: P = 4 * 0.5 against R = 1 leaves 2/3.
    analyse = method("extkf", Setting(), std=0.5**0.5, inflation=4.0)
    state = torch.zeros(1, 1, 1).double()
    seen = Observed.of(torch.ones(1, 1).double(), torch.ones(1, 1).double(), state)
    after = analyse(state, seen._replace(see=lambda state: state), seeded()).ensemble
    assert float(after) == pytest.approx(2 / 3)
    assert float(analyse.memory["covariance"]) == pytest.approx(2 / 3)


def test_nonlinear_observations_are_taken_along_their_derivative():
    # h(x) = x² at x = 3: H = 6, d = 10 - 9, K = 6 P / (36 P + R) with P = 1, R = 4.
    analyse = method("extkf", Setting(), std=1.0)
    state = torch.full((1, 1, 1), 3.0).double()
    seen = Observed.of(torch.full((1, 1), 10.0).double(), torch.full((1, 1), 4.0).double(), state**2)
    after = analyse(state, seen._replace(see=torch.square), seeded()).ensemble
    assert float(after) == pytest.approx(3 + 6 / 40)
    with pytest.raises(InvalidInput, match="the observation operator is not linear"):
        method("kalman", Setting(), std=1.0)(state, seen._replace(see=torch.square), seeded())


def test_a_model_that_is_not_linear_is_refused():
    trial = experiment({"kind": "kalman", "std": 1.0})
    with pytest.raises(InvalidInput, match=r"the model is not linear.*use `extkf`"):
        next(run(trial, CycleState(start(trial.dynamics, TRUTH, 1), seeded())))


def test_without_a_deviation_the_covariance_is_that_of_the_climatology():
    states = torch.randn(50, STATES, generator=seeded(3), dtype=torch.float64)
    analyse = method("kalman", Setting(climatology=Climatology(states, states)))
    analyse.forecast(states[:1, None], lambda state: state)
    assert torch.allclose(analyse.memory["covariance"][0], torch.cov(states.T), atol=1e-9)
    with pytest.raises(EmptySelection, match="std"):
        method("kalman", Setting()).forecast(states[:1, None], lambda state: state)


def cycled(trial, ensemble):
    return joined(run(trial, CycleState(ensemble, seeded(4))))


@pytest.mark.parametrize(("kind", "options"), [("extkf", {"inflation": 1.1}), ("kalman", {})])
def test_a_run_that_was_stopped_goes_on_bit_by_bit(kind, options, monkeypatch):
    monkeypatch.setattr(records, "BLOCK_CYCLES", 4)
    model = Turning(TRUTH.info) if kind == "kalman" else None
    trial = experiment({"kind": kind, "std": 1.0, **options}, dynamics=model)
    ensemble = start(trial.dynamics, TRUTH, 1)
    whole = cycled(trial, ensemble)
    first = next(run(trial, CycleState(ensemble, seeded(4))))
    saved = {name: tensor.clone() for name, tensor in first.state.tensors().items()}
    rest = joined(run(trial, CycleState.restored(saved)))
    assert torch.equal(torch.cat([first.analysis, rest.analysis], dim=2), whole.analysis)


def test_a_large_ensemble_on_a_linear_model_is_the_exact_filter():
    model = Turning(TRUTH.info)
    ensemble = start(model, TRUTH, 60)
    filtered = cycled(experiment({"kind": "etkf", "members": 60}, dynamics=model), ensemble)
    trial = experiment({"kind": "kalman", "std": 1.0}, dynamics=model)
    # The filter starts from mean and covariance of the sample.
    covariance = torch.stack([torch.cov(members.T) for members in ensemble])
    state = CycleState(ensemble.mean(1, keepdim=True), seeded(4), memory={"covariance": covariance})
    exact = joined(run(trial, state))
    assert torch.allclose(exact.analysis[:, 0], filtered.analysis.mean(1), atol=1e-5)
    assert torch.allclose(exact.analysis_spread, filtered.analysis_spread, atol=1e-5)
    for name in ("chi_square", "degrees_of_freedom"):
        assert torch.allclose(exact.figures[name], filtered.figures[name], rtol=1e-8)


def test_the_extended_filter_follows_a_chaotic_model():
    trial = experiment({"kind": "extkf", "std": 1.0, "inflation": 1.2}, {"kind": "synthetic"})
    found = cycled(trial, start(trial.dynamics, TRUTH, 1)).figures["rmse"][:, 10:].mean()
    plain = experiment({"kind": "optimal_interpolation"}, {"kind": "synthetic"})
    climatological = cycled(plain, start(trial.dynamics, TRUTH, 1)).figures["rmse"][:, 10:].mean()
    assert found < 0.6 * climatological
