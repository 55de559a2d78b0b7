from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from pydantic import TypeAdapter

from koopcast.assimilation import AnyAnalysis
from koopcast.assimilation.cycle import CycleState, Experiment, run
from koopcast.assimilation.records import joined
from koopcast.assimilation.windows import AnalysisWindow
from koopcast.dynamics import Dynamics
from koopcast.errors import EmptySelection
from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.observations import AnyObservations

SIZE, RECORDS, MEMBERS = 5, 13, 8
INFO = FieldsInfo({"u": "1"}, (Axis("x", SIZE, "index"),), TimeAxis(RECORDS, 1.0))


class Rotation(Dynamics):
    """x ← Q x with an orthogonal Q: linear, and nothing grows or decays."""

    dtype = torch.float64
    info = INFO

    def __init__(self, seed=1):
        g = torch.Generator().manual_seed(seed)
        self.Q = torch.linalg.qr(torch.randn(SIZE, SIZE, generator=g, dtype=torch.float64))[0]

    def step(self, state):
        return state @ self.Q.mT


class Still(Dynamics):
    """x ← x."""

    dtype = torch.float64
    info = INFO

    def step(self, state):
        return state


def truth_of(model, records=RECORDS):
    states = [torch.linspace(-1, 1, SIZE).double()]
    for _ in range(records - 1):
        states.append(model.step(states[-1]))
    values = torch.stack(states)[None].numpy()
    data = xr.Dataset({"u": (("sample", "time", "x"), values)}, coords={"time": np.arange(records) * 1.0})
    info = replace(INFO, time=TimeAxis(records, 1.0))
    return FieldData(data, info)


def observed(truth, std=0.5, **options):
    spec = TypeAdapter(AnyObservations).validate_python(
        {"kind": "synthetic", "error": {"std": std}, **options}
    )
    return spec.observe(truth, 1, torch.Generator().manual_seed(3))


def start(truth, mean_error=True):
    g = torch.Generator().manual_seed(2)
    noise = torch.randn(1, MEMBERS, SIZE, generator=g, dtype=torch.float64)
    if not mean_error:
        noise = noise - noise.mean(dim=1, keepdim=True)
    return truth.tensor(dtype=torch.float64)[:, 0].flatten(1)[:, None] + noise


def cycled(model, truth, observations, ensemble, method="etkf"):
    spec = TypeAdapter(AnyAnalysis).validate_python(
        {"kind": method, "members": MEMBERS} if isinstance(method, str) else method
    )
    trial = Experiment(model, spec, observations, truth, truth)
    return joined(run(trial, CycleState(ensemble, torch.Generator().manual_seed(4))))


@pytest.mark.parametrize("every", [1, 2])
def test_a_four_dimensional_window_of_a_linear_model_is_the_sequence_of_its_analyses(every):
    model = Rotation()
    truth = truth_of(model)
    seen = observed(truth, every=every, locations={"kind": "every", "step": 2})
    one_by_one = cycled(model, truth, seen, start(truth))
    window = AnalysisWindow(records=4, first_guess="four_dimensional")
    together = cycled(model, truth, window.grouped(seen, RECORDS), start(truth))
    assert together.record.tolist() == [4, 8, 12]
    ends = [one_by_one.record.tolist().index(record) for record in (4, 8, 12)]
    for name in ("analysis", "analysis_spread"):
        first, second = getattr(together, name).double(), getattr(one_by_one, name).double()
        if name == "analysis":
            first, second = first.mean(1), second[:, :, ends].mean(1)
        else:
            second = second[:, ends]
        # Records are kept as float32.
        assert torch.allclose(first, second, atol=2e-6)
    assert (together.figures["observations"] == 3 * (4 // every)).all()


@pytest.mark.parametrize("analysis", ["end", "middle"])
def test_departures_at_their_own_time_do_not_take_motion_for_an_error(analysis):
    model = Rotation()
    truth = truth_of(model)
    exact = observed(truth)
    states = truth.tensor(dtype=torch.float64).flatten(2)
    exact = replace(exact, value=states[:, exact.record])
    errors = {}
    for first_guess in ("at_time", "four_dimensional", "at_analysis"):
        window = AnalysisWindow(records=4, analysis=analysis, first_guess=first_guess)
        cycles = cycled(model, truth, window.grouped(exact, RECORDS), start(truth, mean_error=False))
        errors[first_guess] = float(cycles.figures["rmse"].max())
        assert cycles.record.tolist() == ([4, 8, 12] if analysis == "end" else [2, 6, 10])
        if first_guess != "at_analysis":
            # A perfect background has no departures, and its analysis none either.
            assert float(cycles.figures["innovation_rms"].max()) < 1e-12
            assert torch.allclose(cycles.observed_analysis, cycles.observed_background, atol=1e-6)
    # Truth is kept as float32.
    assert errors["at_time"] < 1e-6
    assert errors["four_dimensional"] < 1e-6
    assert errors["at_analysis"] > 0.1


@pytest.mark.parametrize("analysis", ["end", "middle"])
def test_where_nothing_moves_it_does_not_matter_when_one_looks(analysis):
    model = Still()
    truth = truth_of(model)
    seen = observed(truth)
    found = [
        cycled(
            model,
            truth,
            AnalysisWindow(records=3, analysis=analysis, first_guess=guess).grouped(seen, RECORDS),
            start(truth),
        ).analysis
        for guess in ("at_time", "four_dimensional", "at_analysis")
    ]
    assert torch.allclose(found[0], found[1], atol=1e-7)
    assert torch.allclose(found[0], found[2], atol=1e-7)


def test_a_window_holds_the_observations_of_its_records_by_type():
    model = Rotation()
    truth = truth_of(model)
    near = {"kind": "synthetic", "locations": {"kind": "cells", "indices": [1]}, "every": 2}
    far = {"kind": "synthetic", "locations": {"kind": "cells", "indices": [3, 4]}, "every": 3}
    spec = TypeAdapter(AnyObservations).validate_python(
        {"kind": "combined", "types": {"near": near, "far": far}}
    )
    seen = spec.observe(truth, 1, torch.Generator().manual_seed(0))
    window = AnalysisWindow(records=4).grouped(seen, RECORDS)
    assert [(kind.name, kind.count) for kind in window.types] == [("near", 2), ("far", 8)]
    at = {int(record): seen.value[0, place, 1:] for place, record in enumerate(seen.record)}
    first = window.value[0, 0, 2:]
    assert first[window.offset[2:] == -1].tolist() == at[3].tolist()
    assert (window.flag[0, 0, 2:] == 0).sum() == 2
    assert (window.flag[0, :, 2:] == 0).sum() == 8


def test_the_localised_filter_of_windows_has_the_cells_of_all_records():
    model = Rotation()
    truth = truth_of(model)
    window = AnalysisWindow(records=2).grouped(
        observed(truth, locations={"kind": "cells", "indices": [2]}), 13
    )
    assert window.index.shape == (1, 6, 2)
    method = {"kind": "letkf", "members": MEMBERS, "localization": {"kind": "gaspari_cohn", "radius": 0.4}}
    cycles = cycled(model, truth, window, start(truth), method)
    increment = (cycles.analysis - cycles.background)[0, :, 0, :, 0].abs().amax(0)
    # The taper is 0 beyond 1.46 points.
    assert (increment[[0, 4]] < 1e-6).all()
    assert increment[2] > 1e-2


def test_records_that_hold_no_window_are_refused():
    truth = truth_of(Rotation())
    with pytest.raises(EmptySelection, match="13 records hold no window of 13"):
        AnalysisWindow(records=13).grouped(observed(truth), RECORDS)


class Drift(Dynamics):
    """x ← x + c: halfway between two records lies halfway between their states."""

    dtype = torch.float64
    info = INFO

    def step(self, state):
        return state + torch.tensor([0.5, -1.0, 2.0, 0.0, 1.0], dtype=torch.float64)


def test_observations_between_records_are_compared_with_the_state_between_them():
    model = Drift()
    truth = truth_of(model)
    seen = observed(truth, std=1e-9, early=0.25)
    states = truth.tensor(dtype=torch.float64).flatten(2)
    at_record = states[:, seen.record]
    assert torch.allclose(seen.value, at_record - 0.25 * (at_record - states[:, seen.record - 1]), atol=1e-7)
    assert seen.types[0].early == 0.25
    exact = replace(seen, variance=torch.ones_like(seen.variance))
    for guess in ("at_time", "four_dimensional"):
        window = AnalysisWindow(records=3, first_guess=guess).grouped(exact, RECORDS)
        cycles = cycled(model, truth, window, start(truth, mean_error=False))
        assert float(cycles.figures["innovation_rms"].max()) < 1e-7
        # Taken for observations of the record itself they would be off by a quarter of the drift.
        types = tuple(replace(kind, early=0.0) for kind in exact.types)
        late = AnalysisWindow(records=3, first_guess=guess).grouped(replace(exact, types=types), RECORDS)
        wrong = cycled(model, truth, late, start(truth, mean_error=False))
        assert float(wrong.figures["innovation_rms"][0, 0]) > 0.2
