import json
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from koopcast.distributions.uniform import UniformSpec
from koopcast.dynamics import ON_CPU, Setting, Tendency
from koopcast.errors import Diverged, Underresolved
from koopcast.generation import (
    Draws,
    Run,
    SystemDynamics,
    Trajectories,
    check_step,
    describe,
    evolve,
    in_memory,
)
from koopcast.generation import trajectories as module
from koopcast.integrators.etdrk4 import ETDRK4Spec
from koopcast.integrators.rk4 import RK4Spec
from koopcast.systems.diffusion_reaction import DiffusionReactionSpec
from koopcast.systems.double_pendulum import DoublePendulumSpec
from koopcast.systems.duffing import DuffingSpec
from koopcast.systems.kuramoto_sivashinsky import KuramotoSivashinskySpec
from koopcast.systems.lorenz96 import Lorenz96Spec
from koopcast.systems.navier_stokes import NavierStokesSpec
from koopcast.systems.van_der_pol import VanDerPolSpec

KS = Run(
    KuramotoSivashinskySpec(points=48), ETDRK4Spec(), samples=3, steps=20, dt=0.25, record_every=4, burn_in=5
)
L96 = Run(Lorenz96Spec(), RK4Spec(), samples=2, steps=30, burn_in=10)


class Growing(Lorenz96Spec):
    """x' = rate x, with a rate that depends on the sample."""

    rate: float = -1.0
    """Of growth."""
    varied: ClassVar[tuple[str, ...]] = ("rate",)

    def problem(self, setting: Setting = ON_CPU) -> Tendency:
        rate = setting.value("rate", self.rate)
        return Tendency(lambda x: rate * x)

    def initial(self, count: int, generator: torch.Generator) -> torch.Tensor:
        return 1e3 ** torch.randn(count, self.points, 1, generator=generator, dtype=torch.float64).abs()

    def invariants(self, fields: torch.Tensor, setting: Setting = ON_CPU) -> dict[str, torch.Tensor]:
        return {"size": fields.square().sum(dim=(1, 2))}

    def spin_up_time(self) -> float:
        return 0.0


def values(run, seed=1, **options):
    return evolve(run, seed, "float64", **options).tensor(dtype=torch.float64)


@pytest.mark.parametrize("run", [KS, L96])
def test_records_are_steps_of_the_true_dynamics(run):
    made = values(run)
    assert made.shape == (run.samples, run.steps, *run.system.describe().shape, 1)
    dynamics = SystemDynamics(run)
    stepped = dynamics.decode(dynamics.step(made[:, 7].flatten(1)))
    assert torch.allclose(stepped, made[:, 8], atol=1e-12)


@pytest.mark.parametrize("run", [KS, L96])
def test_fewer_samples_are_the_first_of_more(run):
    many = values(replace(run, samples=5), block=2)
    assert torch.equal(values(replace(run, samples=4), block=2), many[:4])
    assert torch.allclose(values(replace(run, samples=3), block=3), many[:3], rtol=1e-9, atol=1e-9)
    assert not torch.equal(many[0], many[1])


@pytest.mark.parametrize("run", [KS, L96])
def test_windows_and_stages_do_not_show_in_the_records(run, monkeypatch):
    draws = Draws(1, run.samples)
    whole = values(run)
    monkeypatch.setattr(module, "STAGE_BYTES", 3 * whole[:, 0].nbytes)
    recipe = Trajectories(run=run, draws=draws, dtype="float64", block=run.samples, window=7)
    assert torch.equal(in_memory(recipe).tensor(dtype=torch.float64), whole)


def test_burn_in_throws_away_records_and_nothing_else():
    long = values(replace(L96, burn_in=0, steps=40))
    assert torch.equal(long[:, 10:], values(L96))


def test_single_precision_follows_double_until_chaos_parts_them():
    single = values(replace(L96, arithmetic="float32", burn_in=0, steps=10))
    assert single.std() > 1
    assert torch.allclose(single, values(replace(L96, burn_in=0, steps=10)), atol=1e-4)
    assert SystemDynamics(replace(L96, arithmetic="float32")).dtype == torch.float32


def test_a_step_that_is_too_long_is_refused_with_one_that_is_not():
    with pytest.raises(Underresolved, match="lower dt, for instance to") as caught:
        values(replace(L96, dt=0.12))
    better = float(caught.value.remedy.split()[-1])
    assert better < 0.12
    values(replace(L96, dt=better, steps=2))


def test_the_step_is_checked_once_a_run_and_the_error_is_kept():
    made = evolve(replace(L96, samples=4), 1, block=1)
    assert 0 < made.dataset.attrs["step_error"] < L96.verify_tol


def test_the_measured_step_error_falls_with_the_fourth_power():
    state = values(replace(L96, burn_in=400))[:, -1].flatten(1)
    errors = [check_step(replace(L96, dt=dt), state) for dt in (0.05, 0.025)]
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.25)


def test_a_blow_up_names_sample_time_and_a_smaller_step():
    with pytest.raises(
        Diverged, match=r"sample 0 .* time .* dt = 0.6; lower dt, for instance to 0.3, or refine the grid"
    ):
        values(replace(L96, dt=0.6))


def test_a_grid_that_cuts_the_spectrum_is_refused():
    with pytest.raises(Underresolved, match="raise `points`"):
        values(replace(KS, system=KuramotoSivashinskySpec(points=32), burn_in=100))


def test_the_drift_of_an_invariant_is_measured_against_its_size():
    decay = Run(Growing(rate=-0.01), RK4Spec(), steps=11, dt=0.1, defect_tol=1.0)
    made = evolve(decay, 1, "float64")
    # |x|² falls by e^{-2 · 0.01 · 1}, and is larger than the rms of x.
    assert float(made.dataset["defect"][0]) == pytest.approx(1 - np.exp(-0.02), rel=1e-6)
    with pytest.raises(Underresolved, match=r"loses 0.02 of an invariant \(size\), above 0.001"):
        evolve(replace(decay, defect_tol=1e-3), 1)


class Rates(Draws):
    """Every third sample grows without bound at its first attempt."""

    def parameters(self, sample, attempt=0):
        return {"rate": 5e9 if sample % 3 == 0 and not attempt else -1e-3 * (1 + sample)}

    @property
    def names(self):
        return ("rate",)


def growing(share, block=4, window=12):
    run = Run(Growing(), RK4Spec(), samples=10, steps=12, dt=0.1, verify_tol=np.inf, defect_tol=np.inf)
    draws = Rates(3, 10)
    return Trajectories(
        run=run, draws=draws, block=block, window=window, max_failed_fraction=share, dtype="float64"
    )


@pytest.mark.parametrize("window", [12, 5])
def test_refused_samples_are_drawn_anew_and_the_others_stay(window, monkeypatch):
    monkeypatch.setattr(module, "check_step", lambda *_: 0.0)
    made = in_memory(growing(0.4, window=window))
    assert made.dataset["rate"].values.tolist() == [-1e-3 * (1 + i) for i in range(10)]
    field = made.tensor(dtype=torch.float64)
    rates, times = torch.arange(1, 11).double() * -1e-3, torch.arange(12).double() * 0.1
    decay = torch.exp(rates[:, None] * times)
    assert torch.allclose(field, field[:, :1] * decay[..., None, None], rtol=1e-12)
    assert sorted(json.loads(made.dataset.attrs["refused_samples"])) == ["0", "3", "6", "9"]


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_more_refused_samples_than_may_be_end_the_run_with_the_reason(share, monkeypatch):
    monkeypatch.setattr(module, "check_step", lambda *_: 0.0)
    words = (
        "sample 0 of" if share == 0 else "4 of 10 samples were refused, above max_failed_fraction = 0.3; one"
    )
    with pytest.raises((Diverged, Underresolved), match=words):
        in_memory(growing(share))


def varied(system, laws, **options):
    run = Run(system, RK4Spec(), samples=6, steps=20, **options)
    return Trajectories(run=run, draws=Draws(1, 6, laws), block=6, window=20, dtype="float64")


def test_an_invariant_is_that_of_the_parameters_of_each_sample():
    made = in_memory(varied(DoublePendulumSpec(), {"gravity": UniformSpec(low=2.0, high=20.0)}))
    assert len(set(made.dataset["gravity"].values.tolist())) == 6
    assert 0 < float(made.dataset["defect"].max()) < 1e-5
    fields = made.tensor(dtype=torch.float64)
    for row, gravity in enumerate(made.dataset["gravity"].values):
        energy = DoublePendulumSpec(gravity=gravity).invariants(fields[row])["energy"]
        assert float((energy - energy[0]).abs().max()) < 1e-5 * float(energy[0].abs())


def test_what_not_all_samples_keep_is_neither_measured_nor_certified():
    laws = {"stiffness": UniformSpec(low=-1.0, high=-0.5), "hardening": UniformSpec(low=0.5, high=1.0)}
    free = in_memory(varied(DuffingSpec(), laws))
    assert float(free.dataset["defect"].max()) < 1e-4
    damped = in_memory(varied(DuffingSpec(), {"damping": UniformSpec(low=0.0, high=0.3)}))
    assert "defect" not in damped.dataset
    driven = in_memory(varied(VanDerPolSpec(mu=0.0), {"mu": UniformSpec(low=0.0, high=1.0)}))
    assert "defect" not in driven.dataset
    inviscid = NavierStokesSpec(viscosity=0.0, forcing="none", points=16)
    fields, setting = torch.ones(2, 16, 16, 1).double(), Setting(parameters={"viscosity": torch.ones(2)})
    assert set(inviscid.invariants(fields, setting)) == {"mean"} < set(inviscid.invariants(fields))
    assert DuffingSpec().describe().properties == {"measure_preserving"}
    assert damped.info.properties == free.info.properties == frozenset()


def test_points_that_are_not_kept_change_nothing_in_the_others():
    draws, run = Draws(1, 3), replace(KS, system=KuramotoSivashinskySpec(points=128), steps=6, dt=0.125)
    whole, part = (
        in_memory(Trajectories(run=run, draws=draws, block=2, window=4, dtype="float64", every_point=every))
        for every in (1, 2)
    )
    assert part.info.shape == (64,)
    assert part.info.axes[0].length == whole.info.axes[0].length == 22
    assert torch.equal(part.tensor(dtype=torch.float64), whole.tensor(dtype=torch.float64)[:, :, ::2])
    assert np.array_equal(part.dataset["x"], np.arange(64) * 22 / 64)
    assert np.array_equal(part.dataset["defect"], whole.dataset["defect"])
    assert part.dataset.attrs["every_point"] == 2


def test_stored_coordinates_are_those_of_the_system():
    run = Run(DiffusionReactionSpec(points=16), ETDRK4Spec(), steps=2, tail_tol=1.0, verify_tol=1.0)
    made = evolve(run, 1).dataset
    for name in ("x", "y"):
        assert np.allclose(made[name], -1 + (np.arange(16) + 0.5) * 2 / 16, rtol=0, atol=1e-15)
    assert evolve(L96, 1).dataset["state"].values.tolist() == list(range(40))


def test_a_generated_dataset_keeps_its_contract():
    made, info = evolve(KS, 1), describe(KS)
    assert (info.samples, info.time.size, info.time.step) == (3, 20, 1.0)
    data = made.dataset
    assert data["u"].dims == ("sample", "time", "x")
    assert np.allclose(np.diff(data["time"]), 1.0)
    assert np.allclose(data["x"], np.arange(48) * 22 / 48)
    assert all("units" in data[name].attrs for name in ("u", "x", "time"))
    assert float(data["defect"].max()) < 1e-12  # the mean
    wanted = {"equation", "grid", "integrator", "reason", "seed", "tolerances", "versions", "step_error"}
    assert wanted <= set(data.attrs)
