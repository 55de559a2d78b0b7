from dataclasses import replace

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from koopcast.assimilation import AnyAnalysis, AnyInitial, records
from koopcast.assimilation.cycle import CycleState, Experiment, ModelNoise, run
from koopcast.assimilation.records import joined
from koopcast.dynamics import Dynamics
from koopcast.errors import Diverged, EmptySelection
from koopcast.generation import Run, SystemDynamics, evolve
from koopcast.integrators.rk4 import RK4Spec
from koopcast.observations import AnyObservations, ObservationSet
from koopcast.progress import listening
from koopcast.systems.lorenz96 import Lorenz96Spec

CYCLES = 30


def build(union, options):
    return TypeAdapter(union).validate_python(options)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def ring(samples=2, steps=CYCLES + 1):
    return Run(Lorenz96Spec(points=12), RK4Spec(), samples=samples, steps=steps, burn_in=100)


def fields(setup):
    return evolve(setup, seed=1, dtype="float64")


SETUP = ring()
TRUTH = fields(SETUP)


def start(dynamics, truth, members, repeats=1, kind="climatology", seed=2):
    return build(AnyInitial, kind).draw(dynamics, truth, truth, (repeats, members), seeded(seed))


def experiment(method, observations=None, repeats=1, dynamics=None, noise=None, truth=TRUTH):
    observed = build(AnyObservations, observations or {"kind": "synthetic", "every": 2}).observe(
        truth, repeats, seeded(3)
    )
    return Experiment(
        dynamics or SystemDynamics(SETUP),
        build(AnyAnalysis, method),
        observed,
        truth,
        truth,
        noise or ModelNoise(),
    )


def cycle(trial, members, repeats=1, **options):
    state = CycleState(start(trial.dynamics, trial.truth, members, repeats), seeded(4))
    return joined(run(trial, state, **options))


ETKF = {
    "kind": "etkf",
    "members": 14,
    "rotation": True,
    "inflation": {"kind": "multiplicative", "factor": 1.05},
}


class LinearModel(Dynamics):
    """x ← a x + noise of a known size, on the axis of the ring."""

    dtype = torch.float64

    def __init__(self, info, factor=0.9, noise=None):
        self.info, self._factor, self._noise = info, factor, noise

    def step(self, state):
        return self._factor * state

    def noise_factor(self):
        return self._noise


class RotatedModel(SystemDynamics):
    """The true model whose state is an orthogonal image of the last of two frames: a latent space."""

    is_physical = False
    history = 2

    def __init__(self, setup):
        super().__init__(setup)
        g = seeded(9)
        self._Q = torch.linalg.qr(torch.randn(12, 12, generator=g, dtype=torch.float64))[0]

    def encode(self, frames):
        return frames[:, -1].flatten(1).double() @ self._Q

    def decode(self, state):
        return super().decode(state @ self._Q.T)

    def step(self, state):
        x = state @ self._Q.T
        return self._stepper(x) @ self._Q


def test_records_hold_forecasts_and_analyses_at_observation_times():
    trial = experiment(ETKF, repeats=3)
    cycles = cycle(trial, 14, 3)
    assert cycles.record.tolist() == list(range(2, CYCLES + 1, 2))
    assert cycles.background.shape == (6, 14, 15, 12, 1)
    assert cycles.background.dtype == torch.float32
    # The analysis of one time, advanced by two records, is the background of the next.
    advanced = cycles.analysis[:, :, 3].flatten(0, 1).flatten(1).double()
    for _ in range(2):
        advanced = trial.dynamics.step(advanced)
    assert torch.allclose(advanced, cycles.background[:, :, 4].flatten(0, 1).flatten(1).double(), atol=1e-4)


def test_figures_are_what_their_names_say():
    trial = experiment(ETKF)
    cycles = cycle(trial, 14)
    truth = TRUTH.tensor(dtype=torch.float64)[:, cycles.record]
    error = cycles.analysis.double().mean(1) - truth
    assert torch.allclose(cycles.figures["rmse"], error.square().mean((2, 3)).sqrt(), atol=1e-5)
    assert torch.allclose(cycles.analysis_spread, cycles.analysis.double().std(1).float(), atol=1e-5)
    assert torch.allclose(
        cycles.figures["spread"], cycles.analysis_spread.double().square().mean((2, 3)).sqrt(), atol=1e-6
    )
    innovation = trial.observations.value - cycles.observed_background
    assert torch.allclose(cycles.figures["innovation_rms"], innovation.square().mean(2).sqrt(), atol=1e-9)
    assert torch.allclose(
        cycles.observed_background, cycles.background.double().mean(1).flatten(2), atol=1e-5
    )
    assert (cycles.figures["observations"] == 12).all()
    assert ((cycles.figures["degrees_of_freedom"] > 0) & (cycles.figures["degrees_of_freedom"] < 1)).all()
    assert (cycles.figures["chi_square"] > 0).all()


def test_blocks_do_not_change_results(monkeypatch):
    trial = experiment(ETKF)
    whole = cycle(trial, 14)
    monkeypatch.setattr(records, "BLOCK_CYCLES", 4)
    parts = cycle(trial, 14)
    assert torch.equal(whole.analysis, parts.analysis)
    assert torch.equal(whole.figures["rmse"], parts.figures["rmse"])


@pytest.mark.parametrize("kind", ["denkf", "enkf", "enkf_n", "ensrf", "etkf", "free_run", "letkf"])
def test_a_run_that_was_stopped_goes_on_bit_by_bit(kind, monkeypatch):
    monkeypatch.setattr(records, "BLOCK_CYCLES", 4)
    trial = experiment({**ETKF, "kind": kind} if kind != "free_run" else {"kind": kind, "members": 14})
    whole = cycle(trial, 14)
    blocks = run(trial, CycleState(start(trial.dynamics, TRUTH, 14), seeded(4)))
    first = next(blocks)
    saved = {name: tensor.clone() for name, tensor in first.state.tensors().items()}
    rest = joined(run(trial, CycleState.restored(saved)))
    assert torch.equal(torch.cat([first.analysis, rest.analysis], dim=2), whole.analysis)


def test_keeping_the_mean_keeps_the_mean_alone():
    trial = experiment(ETKF)
    members, mean = cycle(trial, 14), cycle(trial, 14, keep="mean")
    assert mean.analysis.shape[1] == 1
    assert torch.allclose(mean.analysis[:, 0], members.analysis.mean(1), atol=1e-5)
    assert torch.equal(mean.analysis_spread, members.analysis_spread)


def test_times_without_observations_carry_the_forecast_on():
    trial = experiment(ETKF)
    value = trial.observations.value.clone()
    value[:, 5] = torch.nan
    cycles = cycle(replace(trial, observations=replace(trial.observations, value=value)), 14)
    assert torch.equal(cycles.analysis[:, :, 5], cycles.background[:, :, 5])
    assert torch.isfinite(cycles.figures["rmse"]).all()
    assert torch.isnan(cycles.figures["chi_square"][:, 5]).all()
    assert (cycles.figures["observations"][:, 5] == 0).all()


def test_an_observation_of_the_first_record_is_analysed_before_any_forecast():
    cycles = cycle(experiment(ETKF, {"kind": "synthetic", "first": 0}), 14)
    assert cycles.record[0] == 0
    assert torch.allclose(
        cycles.background[:, :, 0, :, 0].double(), start(SystemDynamics(SETUP), TRUTH, 14), atol=1e-5
    )


def test_a_latent_state_gives_the_same_cycle_as_the_fields_it_encodes():
    # The ETKF without inflation commutes with an orthogonal change of the state's coordinates.
    method = {"kind": "etkf", "members": 14}
    setup = replace(SETUP, record_every=1)
    physical = experiment(method, truth=TRUTH)
    latent = replace(physical, dynamics=RotatedModel(setup))
    ensemble = start(physical.dynamics, TRUTH, 14)
    image = ensemble @ latent.dynamics._Q
    first = joined(run(physical, CycleState(ensemble, seeded(4))))
    second = joined(run(latent, CycleState(image, seeded(4))))
    assert torch.allclose(first.background[:, :, :5], second.background[:, :, :5], atol=1e-4)
    assert torch.allclose(first.figures["chi_square"][:, :5], second.figures["chi_square"][:, :5], rtol=1e-5)


@pytest.mark.parametrize("method", [{"kind": "letkf"}, {"kind": "enkf", "localization": "gaspari_cohn"}])
def test_localization_of_a_latent_state_is_refused(method):
    trial = replace(experiment(method), dynamics=RotatedModel(SETUP))
    with pytest.raises(EmptySelection, match="localization: none"):
        next(run(trial, CycleState(start(trial.dynamics, TRUTH, 20), seeded())))
    assert trial.method.needs_physical_state()


def test_an_ensemble_that_is_not_finite_names_the_cycle_and_the_experiment():
    model = LinearModel(TRUTH.info)
    ensemble = start(model, TRUTH, 14)
    ensemble[1, 3, 4] = torch.inf
    with pytest.raises(
        Diverged, match=r"observation time 1 of 15 \(experiments \[1\] of 2\); raise `inflation`"
    ):
        next(run(experiment(ETKF, dynamics=model), CycleState(ensemble, seeded())))


def test_model_noise_has_the_stated_covariance():
    F = torch.tensor([[2.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    F = torch.cat((F, torch.zeros(10, 2, dtype=torch.float64)))
    members = 20_000
    observed = ObservationSet(
        torch.tensor([1]), torch.zeros(1, 1, 1, dtype=torch.int64), torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    )
    for noise, expected in (
        (ModelNoise(), F @ F.T),
        (ModelNoise(scale=0.5), F @ F.T / 4),
        (ModelNoise(std=3.0), 9 * torch.eye(12).double()),
        (ModelNoise(scale=0), torch.zeros(12, 12).double()),
    ):
        method, truth = build(AnyAnalysis, {"kind": "free_run", "members": members}), fields(ring(1, 2))
        trial = Experiment(LinearModel(TRUTH.info, 0.5, F), method, observed, truth, TRUTH, noise)
        ensemble = torch.ones(1, members, 12).double()
        after = next(run(trial, CycleState(ensemble, seeded(5)))).background[0, :, 0, :, 0].double()
        variance = expected.diagonal()
        error = ((variance[:, None] * variance + expected**2) / members).sqrt()
        assert ((torch.cov(after.T) - expected).abs() <= 6 * error + 1e-12).all()
        assert torch.allclose(after.mean(0), torch.full((12,), 0.5).double(), atol=6 * 3 / members**0.5)


def test_model_noise_is_given_in_one_way():
    with pytest.raises(ValidationError):
        ModelNoise(scale=2.0, std=1.0)


def test_the_climatological_start_draws_distinct_records():
    ensemble = start(SystemDynamics(SETUP), TRUTH, 40, repeats=2)
    states = TRUTH.tensor(dtype=torch.float64).flatten(0, 1).flatten(1)
    assert ensemble.shape == (4, 40, 12)
    for members in ensemble:
        number = torch.cdist(members, states).argmin(1)
        assert torch.equal(states[number], members)
        assert len(set(number.tolist())) == 40
    many = start(SystemDynamics(SETUP), TRUTH, 70)
    counts = torch.bincount(torch.cdist(many[0], states).argmin(1), minlength=62)
    assert counts.min() == 1
    assert counts.max() == 2


def test_the_perturbed_start_spreads_members_and_centre_by_the_same_amount():
    kind = {"kind": "perturbed", "variance": 0.04}
    ensemble = start(SystemDynamics(SETUP), TRUTH, 30, repeats=200, kind=kind)
    truth = TRUTH.tensor(dtype=torch.float64)[:, 0, :, 0].repeat_interleave(200, 0)
    count = 400 * 12
    assert float(ensemble.var(1).mean()) == pytest.approx(0.04, rel=6 * (2 / (29 * count)) ** 0.5)
    # The mean of the members lies around the truth with the variance of the centre plus 1/30 of theirs.
    assert float((ensemble.mean(1) - truth).square().mean()) == pytest.approx(
        0.04 * 31 / 30, rel=6 * (2 / count) ** 0.5
    )


def test_a_perturbed_start_needs_the_history_of_its_first_state():
    with pytest.raises(EmptySelection, match="2 records"):
        start(RotatedModel(SETUP), TRUTH, 5, kind="perturbed")
    later = replace(TRUTH, window=replace(TRUTH.view, times=(1, 10)))
    assert start(RotatedModel(SETUP), later, 5, kind="perturbed").shape == (2, 5, 12)


def test_observations_bring_a_filter_nearer_to_the_truth_than_baselines():
    errors = {}
    for method in (ETKF, {"kind": "optimal_interpolation"}, {"kind": "free_run", "members": 14}):
        trial = experiment(method, {"kind": "synthetic"}, repeats=4)
        cycles = cycle(trial, trial.method.num_members(), 4)
        errors[method["kind"]] = float(cycles.figures["rmse"][:, 10:].mean())
    assert errors["etkf"] < 0.7 * errors["optimal_interpolation"]
    assert errors["optimal_interpolation"] < 0.5 * errors["free_run"]


def test_optimal_interpolation_states_a_spread_near_its_error():
    trial = experiment({"kind": "optimal_interpolation"}, {"kind": "synthetic"}, repeats=4)
    cycles = cycle(trial, 1, 4)
    assert float(cycles.figures["spread"].mean()) == pytest.approx(
        float(cycles.figures["rmse"].mean()), rel=0.25
    )


def test_progress_is_reported_to_the_last_cycle():
    heard = []
    with listening(heard.append):
        cycle(experiment(ETKF), 14)
    assert heard[-1].unit == "cycle"
    assert (heard[-1].done, heard[-1].total) == (15, 15)
