"""The iterative smoother: reduction to the ETKF and to the Kalman smoother, windows, restart."""

import pytest
import torch
from pydantic import ValidationError

from koopcast.assimilation import records
from koopcast.assimilation.cycle import CycleState, run
from koopcast.assimilation.records import joined
from koopcast.dynamics import Dynamics
from tests.koopcast.assimilation.test_analyses import method, seeded
from tests.koopcast.assimilation.test_cycle import TRUTH, experiment, start

IENKS = {"kind": "ienks", "members": 14}


class Turning(Dynamics):
    """x ← Q x with an orthogonal Q: linear, so that one iteration is enough."""

    dtype = torch.float64

    def __init__(self, info):
        self.info = info
        size = info.num_cells * info.num_channels
        self.Q = torch.linalg.qr(torch.randn(size, size, generator=seeded(8), dtype=torch.float64))[0]

    def step(self, state):
        return state @ self.Q.T


def cycled(trial, members=14, ensemble=None):
    ensemble = start(trial.dynamics, trial.truth, members) if ensemble is None else ensemble
    return joined(run(trial, CycleState(ensemble, seeded(4))))


@pytest.mark.parametrize("variant", ["transform", "bundle"])
def test_on_a_linear_model_it_is_the_etkf(variant):
    model = Turning(TRUTH.info)
    smoother = cycled(experiment({**IENKS, "variant": variant, "iterations": 1}, dynamics=model))
    filtered = cycled(experiment({"kind": "etkf", "members": 14}, dynamics=model))
    assert torch.allclose(smoother.analysis, filtered.analysis, atol=1e-4)
    for name in ("chi_square", "degrees_of_freedom"):
        assert torch.allclose(smoother.figures[name], filtered.figures[name], rtol=1e-6)


@pytest.mark.parametrize("shift", [1, 3])
def test_longer_windows_of_a_linear_model_end_at_the_same_filter(shift):
    model = Turning(TRUTH.info)
    smoother = cycled(experiment({**IENKS, "lag": 3, "shift": shift}, dynamics=model))
    filtered = cycled(experiment({"kind": "etkf", "members": 14}, dynamics=model))
    assert smoother.record.tolist() == filtered.record.tolist()
    # A window of three times analysed at once ends at the filter's last one.
    ends = slice(shift - 1, None, shift)
    assert torch.allclose(smoother.analysis[:, :, ends], filtered.analysis[:, :, ends], atol=1e-4)
    assert torch.allclose(
        smoother.figures["chi_square"].unflatten(1, (-1, shift)).sum(2),
        filtered.figures["chi_square"].unflatten(1, (-1, shift)).sum(2),
        rtol=1e-6,
    )


def test_iterations_pay_where_the_model_is_not_linear():
    few = {"kind": "synthetic", "every": 6}
    errors = [
        cycled(experiment({**IENKS, "iterations": count}, few)).figures["rmse"].mean() for count in (1, 10)
    ]
    assert errors[1] < 0.8 * errors[0]


@pytest.mark.parametrize("options", [{"lag": 1}, {"lag": 3}, {"lag": 2, "shift": 2}])
def test_a_run_that_was_stopped_goes_on_bit_by_bit(options, monkeypatch):
    monkeypatch.setattr(records, "BLOCK_CYCLES", 4)
    trial = experiment({**IENKS, **options, "rotation": True})
    whole = cycled(trial)
    blocks = run(trial, CycleState(start(trial.dynamics, TRUTH, 14), seeded(4)))
    first = next(blocks)
    saved = {name: tensor.clone() for name, tensor in first.state.tensors().items()}
    rest = joined(run(trial, CycleState.restored(saved)))
    assert torch.equal(torch.cat([first.analysis, rest.analysis], dim=2), whole.analysis)


def test_useless_observations_leave_the_ensemble_alone():
    trial = experiment({**IENKS, "lag": 2}, {"kind": "synthetic", "error": {"variance": 1e24}})
    ensemble = start(trial.dynamics, TRUTH, 14)
    cycles = cycled(trial, ensemble=ensemble)
    free = ensemble
    for _ in range(3):
        free = trial.dynamics.step(free.flatten(0, 1)).unflatten(0, free.shape[:2])
    assert torch.allclose(
        cycles.analysis[:, :, 2].flatten(3).squeeze(-1).double().flatten(2), free, atol=1e-4
    )


def test_a_window_that_would_skip_states_is_refused():
    with pytest.raises(ValidationError, match="shift: 3 is above lag 2"):
        method("ienks", lag=2, shift=3)
