from dataclasses import replace

import numpy as np
import pytest
import torch

from koopcast import generation
from koopcast.errors import Diverged, Underresolved
from koopcast.fields import FieldData
from koopcast.generation import Run, SystemDynamics, check_step, dataset, describe, generate
from koopcast.integrators.etdrk4 import ETDRK4Spec
from koopcast.integrators.rk4 import RK4Spec
from koopcast.systems.kuramoto_sivashinsky import KuramotoSivashinskySpec
from koopcast.systems.lorenz96 import Lorenz96Spec

KS = Run(
    KuramotoSivashinskySpec(points=48), ETDRK4Spec(), samples=3, steps=20, dt=0.25, record_every=4, burn_in=5
)
L96 = Run(Lorenz96Spec(), RK4Spec(), samples=2, steps=30, burn_in=10)


def make(run, seed=1):
    return torch.cat(list(generate(run, torch.Generator().manual_seed(seed))), dim=1)


@pytest.mark.parametrize("run", [KS, L96])
def test_records_are_steps_of_the_true_dynamics(run):
    values = make(run)
    assert values.shape == (run.samples, run.steps, *run.system.describe().shape, 1)
    dynamics = SystemDynamics(run)
    stepped = dynamics.decode(dynamics.step(values[:, 7].flatten(1)))
    assert torch.allclose(stepped, values[:, 8], atol=1e-12)


@pytest.mark.parametrize("run", [KS, L96])
def test_blocks_hold_the_same_records_whatever_their_size(run, monkeypatch):
    whole = make(run)
    monkeypatch.setattr(generation, "BLOCK_BYTES", 3 * whole[:, 0].nbytes)
    blocks = list(generate(run, torch.Generator().manual_seed(1)))
    assert [block.shape[1] for block in blocks][:2] == [3, 3]
    assert torch.equal(torch.cat(blocks, dim=1), whole)


def test_burn_in_throws_away_records_and_nothing_else():
    long = make(replace(L96, burn_in=0, steps=40))
    assert torch.equal(long[:, 10:], make(L96))


def test_a_step_that_is_too_long_is_refused_with_one_that_is_not():
    with pytest.raises(Underresolved, match="lower dt, for instance to") as caught:
        make(replace(L96, dt=0.12))
    better = float(caught.value.remedy.split()[-1])
    assert better < 0.12
    make(replace(L96, dt=better, steps=2))


def test_the_measured_step_error_falls_with_the_fourth_power():
    state = make(replace(L96, burn_in=400))[:, -1].flatten(1)
    errors = [check_step(replace(L96, dt=dt), state) for dt in (0.05, 0.025)]
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.25)


def test_a_blow_up_names_sample_time_and_a_smaller_step():
    with pytest.raises(
        Diverged, match=r"sample 0 .* time .* dt = 0.6; lower dt, for instance to 0.3, or refine the grid"
    ):
        make(replace(L96, dt=0.6))


def test_a_grid_that_cuts_the_spectrum_is_refused():
    with pytest.raises(Underresolved, match="raise `points`"):
        make(replace(KS, system=KuramotoSivashinskySpec(points=32), burn_in=100))


def test_a_generated_dataset_keeps_its_contract():
    values = make(KS)
    info = describe(KS)
    assert (info.samples, info.time.size, info.time.step) == (3, 20, 1.0)
    blocks = [dataset(KS, values[:, :8]), dataset(KS, values[:, 8:], first=8)]
    data = blocks[0].merge(blocks[1], join="outer", compat="no_conflicts")
    assert data["u"].dims == ("sample", "time", "x")
    assert np.allclose(np.diff(data["time"]), 1.0)
    assert np.allclose(data["x"], np.arange(48) * 22 / 48)
    assert all("units" in data[name].attrs for name in ("u", "x", "time"))
    assert torch.equal(FieldData(data, info).tensor(), values.float())
