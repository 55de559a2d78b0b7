"""Variational methods in a cycle: windows, latent states, the analysis path of weak 4D-Var, restart."""

import pytest
import torch

from koopcast.assimilation import records
from koopcast.assimilation.cycle import CycleState, ModelNoise, run
from koopcast.assimilation.records import joined
from tests.koopcast.assimilation.test_analyses import seeded
from tests.koopcast.assimilation.test_cycle import SETUP, TRUTH, RotatedModel, cycle, experiment, start

EVERY = {"kind": "synthetic", "every": 5, "error": {"std": 0.5}}
SINGLE = ["var3d", {"kind": "var4d", "lag": 2, "minimiser": {"iterations": 2}}]


@pytest.mark.parametrize("options", SINGLE)
def test_a_run_that_was_stopped_goes_on_bit_by_bit(options, monkeypatch):
    monkeypatch.setattr(records, "BLOCK_CYCLES", 4)
    trial = experiment(options, EVERY)
    whole = cycle(trial, 1)
    first = next(run(trial, CycleState(start(trial.dynamics, TRUTH, 1), seeded(4))))
    saved = {name: tensor.clone() for name, tensor in first.state.tensors().items()}
    rest = joined(run(trial, CycleState.restored(saved)))
    assert torch.equal(torch.cat([first.analysis, rest.analysis], dim=2), whole.analysis)


def test_4dvar_beats_3dvar_and_3dvar_the_free_run():
    errors = [
        float(cycle(experiment(kind, EVERY), members).figures["rmse"][:, 2:].mean())
        for kind, members in (("var4d", 1), ("var3d", 1), ({"kind": "free_run", "members": 2}, 2))
    ]
    assert errors[0] < errors[1] < errors[2]


class UnturnedModel(RotatedModel):
    """The same model in the frame itself."""

    is_physical = True

    def __init__(self, setup):
        super().__init__(setup)
        self._Q = torch.eye(12, dtype=torch.float64)


@pytest.mark.parametrize("inner", ["direct", "cg"])
def test_3dvar_of_a_rotated_state_is_the_same(inner):
    """Climatological covariances and the observation operator turn with the state."""
    found = []
    for model, how in ((UnturnedModel(SETUP), "direct"), (RotatedModel(SETUP), inner)):
        trial = experiment({"kind": "var3d", "minimiser": {"inner": how}}, EVERY, dynamics=model)
        ensemble = model.encode(start(plain_model(), TRUTH, 1)[..., None])[:, None]
        found.append(joined(run(trial, CycleState(ensemble, seeded(4)))).analysis)
    assert torch.allclose(*found, atol=1e-4)


def plain_model():
    return experiment("var3d", EVERY).dynamics


def test_weak_4dvar_in_a_cycle_keeps_the_errors_that_it_found():
    noise = ModelNoise(std=0.3)
    trial = experiment({"kind": "var4d_weak", "lag": 2, "shift": 2}, EVERY, noise=noise)
    cycles = cycle(trial, 1)
    # The next window starts at the last state of the path.
    state = cycles.analysis[:, 0, 1].flatten(1).double()
    for _ in range(5):
        state = trial.dynamics.step(state)
    assert torch.allclose(state, cycles.background[:, 0, 2].flatten(1).double(), atol=1e-3)
    # And the path is no trajectory of the model.
    state = cycles.analysis[:, 0, 0].flatten(1).double()
    for _ in range(5):
        state = trial.dynamics.step(state)
    assert (state - cycles.analysis[:, 0, 1].flatten(1)).abs().max() > 1e-2


def test_tangent_and_adjoint_models_find_the_same_analyses_in_a_cycle():
    found = [
        cycle(
            experiment({"kind": "var4d", "minimiser": minimiser, "gradient": "checkpoint"}, EVERY), 1
        ).analysis
        for minimiser in ({"inner": "direct", "iterations": 3}, {"inner": "cg", "iterations": 3})
    ]
    assert torch.allclose(found[0][:, :, :2], found[1][:, :, :2], atol=1e-4)
