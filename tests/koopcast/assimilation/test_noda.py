"""Corrections by a model's own gain, and by a fixed share of the innovation, inside the cycle."""

import math

import numpy as np
import pytest
import torch
import xarray as xr
from pydantic import TypeAdapter
from torch import Tensor

from koopcast.assimilation import AnyAnalysis, AnyInitial
from koopcast.assimilation.base import Observed, Setting
from koopcast.assimilation.cycle import CycleState, Experiment, run
from koopcast.assimilation.gridded import on_cells
from koopcast.assimilation.records import Cycles, joined
from koopcast.dynamics import Correction, Dynamics
from koopcast.errors import InvalidInput
from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.observations import AnyObservations, ObservationSet

POINTS, RECORDS = 12, 21


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def truth_of(samples: int = 3) -> FieldData:
    """Return a wave that moves by one point a record and has another height in each sample."""
    x = np.arange(POINTS) - np.arange(RECORDS)[:, None]
    values = np.arange(1, samples + 1)[:, None, None] * np.cos(2 * math.pi * x / POINTS)
    axis = Axis("x", POINTS, periodic=True, length=1.0)
    info = FieldsInfo({"u": "1"}, (axis,), TimeAxis(RECORDS, 1.0), samples)
    coords = {"time": np.arange(RECORDS, dtype=float), "x": np.arange(POINTS) / POINTS}
    return FieldData(xr.Dataset({"u": (("sample", "time", "x"), values)}, coords=coords), info)


TRUTH = truth_of()


class Shift(Dynamics):
    """The wave's own motion, with a gain that halves the innovation and smooths it over neighbours."""

    info = TRUTH.info

    def __init__(self, has_gain: bool = True) -> None:
        self._has_gain = has_gain

    def step(self, state: Tensor) -> Tensor:
        return state.roll(1, dims=1)

    def correction(self) -> Correction | None:
        return self.corrected if self._has_gain else None

    def corrected(self, state: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        e = mask * (value - state)
        return state + 0.5 * e + 0.1 * (e.roll(1, 1) + e.roll(-1, 1))


def experiment(method: object, dynamics: Dynamics | None = None, **options: object) -> Experiment:
    chosen = {"kind": "synthetic", "error": {"std": 0.1}, **options}
    observations = TypeAdapter(AnyObservations).validate_python(chosen).observe(TRUTH, 1, seeded(3))
    return Experiment(
        dynamics or Shift(), TypeAdapter(AnyAnalysis).validate_python(method), observations, TRUTH, TRUTH
    )


def start(members: int = 1) -> Tensor:
    spec = TypeAdapter(AnyInitial).validate_python("constant")
    return spec.draw(Shift(), TRUTH, TRUTH, (1, members), seeded())


def cycled(trial: Experiment, state: Tensor | None = None) -> Cycles:
    return joined(run(trial, CycleState(start() if state is None else state, seeded(4))))


SPARSE = {"locations": {"kind": "every", "step": 4}, "every": 3}


def test_it_is_the_models_own_recursion() -> None:
    trial = experiment("noda", **SPARSE)
    found = cycled(trial).analysis[:, 0, :, :, 0]
    state, model = torch.zeros(3, POINTS), Shift()
    for time, record in enumerate(trial.observations.record.tolist()):
        for _ in range(3):
            state = model.step(state)
        value, mask = torch.zeros(3, POINTS), torch.zeros(3, POINTS)
        value[:, ::4], mask[:, ::4] = trial.observations.value[:, time].float(), 1.0
        state = model.corrected(state, value, mask)
        assert record == 3 * (time + 1)
        assert torch.allclose(found[:, time], state, atol=1e-6)


@pytest.mark.parametrize("method", ["noda", {"kind": "nudging", "kappa": 0.7}])
def test_a_second_run_and_a_run_in_two_parts_have_the_same_bytes(method: object) -> None:
    trial = experiment(method, missing=0.3)
    whole = cycled(trial)
    assert torch.equal(whole.analysis, cycled(trial).analysis)
    first = joined(
        run(
            Experiment(trial.dynamics, trial.method, trial.observations.first(7), TRUTH, TRUTH, trial.noise),
            CycleState(start(), seeded(4)),
        )
    )
    state = CycleState.restored(first.state.tensors())
    rest = joined(run(trial, state))
    assert torch.equal(torch.cat([first.analysis, rest.analysis], dim=2), whole.analysis)


@pytest.mark.parametrize("method", ["noda", "nudging"])
def test_a_time_without_a_datum_is_a_forecast_alone(method: str) -> None:
    trial = experiment(method)
    value = trial.observations.value.clone()
    value[:, 8] = torch.nan
    value[1, 12] = torch.nan
    seen = trial.observations
    gaps = ObservationSet(seen.record, seen.index, value, seen.variance)
    cycles = cycled(Experiment(trial.dynamics, trial.method, gaps, TRUTH, TRUTH, trial.noise))
    assert torch.equal(cycles.analysis[:, :, 8], cycles.background[:, :, 8])
    assert torch.equal(cycles.analysis[1, :, 12], cycles.background[1, :, 12])
    assert not torch.equal(cycles.analysis[0, :, 12], cycles.background[0, :, 12])
    assert torch.equal(cycles.background[:, :, 9], cycles.analysis[:, :, 8].roll(1, 2))


def test_a_model_without_a_gain_is_refused_with_what_to_do() -> None:
    with pytest.raises(InvalidInput, match="no gain") as caught:
        cycled(experiment("noda", Shift(has_gain=False)))
    assert "model: noda" in str(caught.value)


def test_nudging_adds_its_share_of_the_innovation_where_it_is_observed() -> None:
    nudging = TypeAdapter(AnyAnalysis).validate_python({"kind": "nudging", "kappa": 0.25}).build(Setting())
    state = torch.tensor([[[1.0, 2.0, 3.0]]], dtype=torch.float64)
    cell, value = torch.tensor([[0, 2]]), torch.tensor([[5.0, 9.0]], dtype=torch.float64)
    observed = Observed.of(value, torch.ones_like(value), state[..., cell[0]], cell)
    # 1 + (5 - 1) / 4 = 2, and 3 + (9 - 3) / 4 = 4.5; the middle is not observed.
    assert nudging(state, observed, seeded()).ensemble.tolist() == [[[2.0, 2.0, 4.5]]]


def test_nudging_by_all_of_it_inserts_the_observations() -> None:
    trial = experiment({"kind": "nudging", "kappa": 1.0})
    analysis = cycled(trial).analysis[:, 0, :, :, 0]
    assert torch.allclose(analysis, trial.observations.value.float(), atol=1e-6)


def test_observations_of_one_cell_enter_by_their_weighted_mean() -> None:
    cell = torch.tensor([[1, 1, 0, 2]])
    value = torch.tensor([[1.0, 4.0, 7.0, torch.nan]], dtype=torch.float64)
    variance = torch.tensor([[0.5, 1.0, 1.0, 1.0]], dtype=torch.float64)
    observed = Observed.of(value, variance, torch.zeros(1, 1, 4, dtype=torch.float64), cell)
    field, mask = on_cells(observed.value, observed, 3)
    # Weights 2 and 1: (2 · 1 + 1 · 4) / 3 = 2.
    assert torch.allclose(field, torch.tensor([[7.0, 2.0, 0.0]], dtype=torch.float64))
    assert mask.tolist() == [[1.0, 1.0, 0.0]]


def test_a_constant_start_is_the_same_everywhere_with_noise_where_asked() -> None:
    assert torch.equal(start(members=2), torch.zeros(3, 2, POINTS, dtype=torch.float64))
    spec = TypeAdapter(AnyInitial).validate_python({"kind": "constant", "value": 2.0, "std": 0.5})
    noisy = spec.draw(Shift(), TRUTH, TRUTH, (1, 200), seeded())
    # 7200 draws: the standard error of the mean is 0.006.
    assert float(noisy.mean()) == pytest.approx(2.0, abs=0.03)
    assert float(noisy.std()) == pytest.approx(0.5, rel=0.05)
