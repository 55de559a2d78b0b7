"""Quality control, limits and error statistics of whole chains of analyses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from pydantic import TypeAdapter

from koopcast.assimilation import AnyAnalysis, AnyInitial, records
from koopcast.assimilation.cycle import CycleState, Experiment, ModelNoise, run
from koopcast.assimilation.diagnostics import Departures, table
from koopcast.assimilation.guards import Limits
from koopcast.assimilation.records import joined
from koopcast.dynamics import Dynamics
from koopcast.errors import Diverged
from koopcast.fields import FieldData
from koopcast.generation import Run, SystemDynamics, evolve
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.integrators.rk4 import RK4Spec
from koopcast.observations import AnyObservations
from koopcast.observations.quality import Flag
from koopcast.systems.lorenz96 import Lorenz96Spec

ETKF = {
    "kind": "etkf",
    "members": 24,
    "rotation": True,
    "inflation": {"kind": "multiplicative", "factor": 1.02},
}


def ring(samples, steps):
    return Run(Lorenz96Spec(), RK4Spec(), samples=samples, steps=steps + 1, burn_in=200)


SETUP = ring(2, 260)
TRUTH = evolve(SETUP, seed=1, dtype="float64")


def experiment(method=ETKF, dynamics=None, truth=TRUTH, limits=None, noise=None, **observations):
    spec = TypeAdapter(AnyObservations).validate_python({"kind": "synthetic", **observations})
    return Experiment(
        dynamics or SystemDynamics(SETUP),
        TypeAdapter(AnyAnalysis).validate_python(method),
        spec.observe(truth, 1, torch.Generator().manual_seed(3)),
        truth,
        truth,
        noise or ModelNoise(),
        limits or Limits(),
    )


def begin(trial, kind=None):
    spec = TypeAdapter(AnyInitial).validate_python(kind or {"kind": "perturbed", "variance": 0.04})
    size = (1, trial.method.num_members())
    ensemble = spec.draw(trial.dynamics, trial.truth, trial.truth, size, torch.Generator().manual_seed(2))
    return CycleState(ensemble, torch.Generator().manual_seed(4))


def cycled(trial, **options):
    return joined(run(trial, begin(trial), **options))


def score(cycles, burn_in=60):
    return float(cycles.figures["rmse"][:, burn_in:].mean())


GROSS = {"outliers": {"share": 0.05, "size": 10.0}}


def test_quality_control_keeps_a_filter_from_gross_errors():
    clean = score(cycled(experiment()))
    bare = score(cycled(experiment(**GROSS)))
    checked = cycled(experiment(**GROSS, qc={"background_check": 5.0}))
    assert score(checked) < 1.10 * clean
    assert bare > 2 * clean
    # One in twenty is gross, and a departure above 5 is next to never anything else.
    share = float((checked.flag == Flag.BACKGROUND_CHECK).double().mean())
    assert share == pytest.approx(0.05, abs=0.01)
    assert torch.equal(checked.figures["observations"] + checked.figures["rejected"], torch.full_like(
        checked.figures["rejected"], 40.0
    ))  # fmt: skip


def test_huber_weights_do_most_of_it_and_refuse_nothing():
    clean = score(cycled(experiment()))
    robust = cycled(experiment(**GROSS, qc={"huber": 2.0}))
    assert score(robust) < 1.5 * clean
    assert (robust.figures["rejected"] == 0).all()
    assert (robust.flag == Flag.DOWNWEIGHTED).any()


def test_the_buddy_check_finds_errors_that_the_neighbours_do_not_share():
    axis = Axis("x", 40, periodic=True, length=40.0)
    smooth = np.sin(2 * np.pi * np.arange(40) / 40) * np.ones((1, 30, 40))
    data = xr.Dataset({"u": (("sample", "time", "x"), smooth)}, coords={"time": np.arange(30.0)})
    truth = FieldData(data, FieldsInfo({"u": "1"}, (axis,), TimeAxis(30, 1.0)))
    qc = {"buddy_check": {"radius": 2.0, "threshold": 4.0}}
    still = Linear(truth.info, 1.0)
    trial = experiment(
        {"kind": "free_run", "members": 30},
        dynamics=still,
        truth=truth,
        error={"std": 0.1},
        outliers={"share": 0.03, "size": 15.0},
        qc=qc,
    )
    exact = torch.from_numpy(smooth[:, trial.observations.record])
    is_gross = (trial.observations.value - exact).abs() > 1.0
    found = cycled(trial).flag == Flag.BUDDY_CHECK
    assert is_gross.sum() > 20
    # A few gross errors next to one another excuse each other.
    assert (found & is_gross).sum() >= 0.8 * is_gross.sum()
    assert (found & ~is_gross).sum() <= 3


class Linear(Dynamics):
    """x ← a x."""

    dtype = torch.float64

    def __init__(self, info, factor, noise=None):
        self.info, self._factor, self._noise = info, factor, noise

    def step(self, state):
        return self._factor * state

    def noise_factor(self):
        return self._noise


class Failing(SystemDynamics):
    """The true model, which returns NaN from its so-manyth step on, for some experiments."""

    def __init__(self, setup, good_steps, members):
        super().__init__(setup)
        self.left, self._members = good_steps, members

    def step(self, state):
        self.left -= 1
        stepped = super().step(state)
        if self.left < 0:
            stepped = stepped.clone()
            stepped[self._members :] = torch.nan
        return stepped


@pytest.mark.parametrize("block", [4, 128])
def test_a_model_that_returns_nan_stops_the_chain_there_and_what_was_good_is_yielded(block, monkeypatch):
    monkeypatch.setattr(records, "BLOCK_CYCLES", block)
    trial = experiment(dynamics=Failing(SETUP, 17, 24))
    blocks = []
    with pytest.raises(Diverged) as caught:
        blocks.extend(run(trial, begin(trial)))
    text = str(caught.value)
    assert "in the forecast to observation time 18 of 260 (experiments [1] of 2)" in text
    assert "states of ordinary size" in text
    assert "time step" in text
    good = joined(blocks)
    assert good.record.tolist() == list(range(1, 18))
    assert torch.equal(good.analysis, cycled(experiment()).analysis[:, :, :17])


def test_an_ensemble_that_blows_up_by_itself_gets_the_advice_of_a_filter():
    trial = experiment(
        {"kind": "etkf", "members": 24, "inflation": {"kind": "multiplicative", "factor": 1.0}},
        dynamics=Linear(TRUTH.info, -1e30),
    )
    with pytest.raises(Diverged, match="raise `inflation`"):
        cycled(trial)


def test_a_collapsed_ensemble_stops_where_the_observations_have_contradicted_it():
    # A model that is wrong and without noise: the spread decays as n^-1/2, the error does not.
    wrong = Linear(TRUTH.info, 1.0)
    method = {"kind": "etkf", "members": 45}
    trial = experiment(method, dynamics=wrong, limits=Limits(collapse=0.1, patience=5), error={"std": 0.1})
    trial = replace(trial, observations=trial.observations.first(30))
    ensemble = begin(trial, {"kind": "perturbed", "variance": 1.0})
    blocks = []
    with pytest.raises(Diverged, match="collapsed") as caught:
        blocks.extend(run(trial, ensemble))
    good = joined(blocks)
    count = len(good.record)
    assert f"observation time {count + 1} of 30" in str(caught.value)
    spread, first = good.figures["spread"], good.figures["background_spread"][:, :1]
    narrow = (spread < 0.1 * first).all(dim=0)
    # Four analyses below the limit are left, the fifth is where it stopped.
    assert narrow[-4:].all()
    assert "`inflation`" in str(caught.value)
    # The same chain without the limit goes on to its end.
    whole = joined(run(replace(trial, limits=Limits(collapse=0)), ensemble))
    assert len(whole.record) == 30


def test_a_chain_whose_observations_are_all_rejected_stops_and_names_the_experiment():
    trial = experiment(limits=Limits(patience=7), qc={"background_check": 4.0})
    value = trial.observations.value.clone()
    value[1, 20:] += 100.0
    trial = replace(trial, observations=replace(trial.observations, value=value))
    blocks = []
    with pytest.raises(Diverged) as caught:
        blocks.extend(run(trial, begin(trial)))
    text = str(caught.value)
    assert "rejected every observation for 7 analyses in a row" in text
    assert "observation time 27 of 260 (experiments [1] of 2)" in text
    assert len(joined(blocks).record) == 26


def test_limits_are_judged_across_a_restart_as_in_one_run(monkeypatch):
    monkeypatch.setattr(records, "BLOCK_CYCLES", 4)
    trial = experiment(limits=Limits(patience=7), qc={"background_check": 4.0})
    value = trial.observations.value.clone()
    value[1, 20:] += 100.0
    trial = replace(trial, observations=replace(trial.observations, value=value))
    blocks = run(trial, begin(trial))
    saved = [next(blocks) for _ in range(6)][-1].state.tensors()
    saved = {name: tensor.clone() for name, tensor in saved.items()}
    with pytest.raises(Diverged, match="observation time 27 of 260"):
        list(run(trial, CycleState.restored(saved)))


LINEAR_STEPS, LINEAR_SIZE = 300, 6


@pytest.fixture(scope="module")
def linear_gaussian():
    """A long chain of a filter that is right in every respect: linear model, Gaussian noise as stated."""
    generator = torch.Generator().manual_seed(5)
    F = 0.5 * torch.eye(LINEAR_SIZE).double()
    states = [torch.zeros(4, LINEAR_SIZE).double()]
    for _ in range(LINEAR_STEPS):
        noise = torch.randn(4, LINEAR_SIZE, generator=generator, dtype=torch.float64)
        states.append(0.9 * states[-1] + noise @ F)
    values = torch.stack(states, dim=1).numpy()
    data = xr.Dataset(
        {"u": (("sample", "time", "x"), values)}, coords={"time": np.arange(LINEAR_STEPS + 1.0)}
    )
    info = FieldsInfo({"u": "1"}, (Axis("x", LINEAR_SIZE, "index"),), TimeAxis(LINEAR_STEPS + 1, 1.0), 4)
    truth = FieldData(data, info)
    members = 200
    trial = experiment(
        {"kind": "enkf", "members": members},
        dynamics=Linear(info, 0.9, F),
        truth=truth,
        error={"std": 0.7},
        locations={"kind": "every", "step": 2},
    )
    ensemble = torch.randn(4, members, LINEAR_SIZE, generator=generator, dtype=torch.float64)
    state = CycleState(ensemble, torch.Generator().manual_seed(6))
    cycles = joined(run(trial, state, keep="mean"))
    after, seen = slice(20, None), trial.observations
    departures = Departures(
        seen.value[:, after],
        seen.variance[:, after],
        cycles.observed_background[:, after],
        cycles.observed_analysis[:, after],
        cycles.observed_spread[:, after],
        cycles.flag[:, after],
        members,
    )
    return cycles, departures, table({"u": departures})


def test_desroziers_statistics_of_a_right_filter_return_its_covariances(linear_gaussian):
    _, departures, found = linear_gaussian
    row = found[found["flag"] == "all_used"].iloc[0]
    # The stationary Kalman variance p of x ← 0.9 x + N(0, 1/4), observed with r = 0.49.
    p = 1.0
    for _ in range(200):
        p = 0.81 * p * 0.49 / (p + 0.49) + 0.25
    assert row["stated_error_variance"] == pytest.approx(0.49)
    assert row["stated_background_variance"] == pytest.approx(p, rel=0.02)
    # Products of Gaussian departures scatter by about √2 of their mean; the 3400 are nearly independent.
    scatter = 6 * 2**0.5 / departures.value.numel() ** 0.5
    assert row["error_variance"] == pytest.approx(0.49, rel=scatter)
    assert row["background_variance"] == pytest.approx(p, rel=scatter)
    assert row["chi_square"] == pytest.approx(1.0, rel=scatter)
    assert row["spread_skill"] == pytest.approx(1.0, abs=0.08)
    assert abs(row["ob_mean"]) < 2 * row["ob_mean_half_width"]
    assert row["ob_rms"] ** 2 == pytest.approx(p + 0.49, rel=scatter)
    assert row["oa_rms"] < row["ob_rms"]


def test_figures_of_each_cycle_of_a_right_filter_are_those_of_theory(linear_gaussian):
    cycles, _, _ = linear_gaussian
    chi_square = cycles.figures["chi_square"][:, 20:]
    assert float(chi_square.mean()) == pytest.approx(1.0, abs=6 * (2 / (3 * chi_square.numel())) ** 0.5)
    p = float(cycles.observed_spread[:, 20:].square().mean())
    # Independent components: tr HK is p / (p + r) for each observation.
    assert float(cycles.figures["degrees_of_freedom"][:, 20:].mean()) == pytest.approx(
        p / (p + 0.49), rel=0.02
    )
    # Of three observed and three unobserved components, variances p and q = 0.25 / 0.19.
    q = 0.25 / 0.19
    dimension = (3 * p + 3 * q) ** 2 / (3 * p**2 + 3 * q**2)
    # A sample of 200 adds about n / N to tr P² / (tr P)².
    assert float(cycles.figures["effective_dimension"][:, 50:].mean()) == pytest.approx(
        1 / (1 / dimension + 1 / 200), rel=0.03
    )


def test_too_small_a_stated_error_shows_in_the_estimate(linear_gaussian):
    _, departures, _ = linear_gaussian
    found = table({"u": replace(departures, variance=departures.variance / 4)})
    assert found["chi_square"].iloc[0] > 1.3
    assert found["error_variance"].iloc[0] > 3 * found["stated_error_variance"].iloc[0]


def test_flags_have_rows_of_their_own_and_counts_add_up():
    cycles = cycled(experiment(**GROSS, qc={"background_check": 5.0, "blacklist": [7]}, missing=0.1))
    observations = experiment(
        **GROSS, qc={"background_check": 5.0, "blacklist": [7]}, missing=0.1
    ).observations
    found = table(
        {
            "all": Departures(
                observations.value,
                observations.variance,
                cycles.observed_background,
                cycles.observed_analysis,
                cycles.observed_spread,
                cycles.flag,
                24,
            )
        }
    ).set_index("flag")
    assert set(found.index) == {"all_used", "used", "missing", "blacklisted", "background_check"}
    assert found["count"].drop("all_used").sum() == observations.value.numel()
    assert found.loc["background_check", "ob_rms"] > 5 * found.loc["used", "ob_rms"]
    assert found.loc["blacklisted", "ob_rms"] < 4


@pytest.mark.parametrize("lag", [1, 3])
def test_a_smoother_decides_by_the_background_of_its_window_which_observations_it_uses(lag):
    method = {**ETKF, "kind": "ienks", "lag": lag, "shift": lag, "iterations": 3}
    clean = experiment(method)
    clean = replace(clean, observations=clean.observations.first(60))
    gross = experiment(method, **GROSS, qc={"background_check": 5.0})
    gross = replace(gross, observations=gross.observations.first(60))
    checked = cycled(gross)
    assert score(checked, 20) < 1.25 * score(cycled(clean), 20)
    exact = TRUTH.tensor(dtype=torch.float64)[:, gross.observations.record].flatten(2)
    is_gross = (gross.observations.value - exact).abs() > 6
    found = checked.flag == Flag.BACKGROUND_CHECK
    assert (found & is_gross).sum() == is_gross.sum()
    assert (found & ~is_gross).sum() < 5
