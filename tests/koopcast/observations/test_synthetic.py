import numpy as np
import pytest
import torch
import xarray as xr
from pydantic import TypeAdapter, ValidationError

from koopcast.errors import EmptySelection, OutsideDomain
from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.observations import AnyObservations

ADAPTER = TypeAdapter(AnyObservations)


def spec(**options):
    return ADAPTER.validate_python({"kind": "synthetic", **options})


def fields(samples=2, times=9, masked=False, channels=("a", "b"), moving=False):
    """Fields on a small globe whose values name their cell: 1000 sample + 100 time + cell."""
    latitude, longitude = np.array([-10.0, 0.0, 10.0]), np.arange(0, 360, 90.0)
    cells = np.arange(3 * 4 * len(channels)).reshape(3, 4, len(channels))
    values = (
        1000 * np.arange(samples)[:, None, None, None, None]
        + 100 * np.arange(times)[:, None, None, None]
        + cells
    )
    dims = ("sample", "time", "latitude", "longitude")
    data = {name: (dims, values[..., i].astype(float)) for i, name in enumerate(channels)}
    if masked:
        mask = np.ones((times, 3, 4) if moving else (3, 4))
        mask[..., 1, 2] = 0
        if moving:
            mask[::2, 1, 2] = 1
        data["mask"] = (("time", "latitude", "longitude") if moving else ("latitude", "longitude"), mask)
    axes = (Axis("latitude", 3, "latitude"), Axis("longitude", 4, "longitude", periodic=True))
    info = FieldsInfo(dict.fromkeys(channels, "K"), axes, TimeAxis(times, 1.0), samples, is_masked=masked)
    coords = {"latitude": latitude, "longitude": longitude, "time": np.arange(times, dtype=float)}
    return FieldData(xr.Dataset(data, coords=coords), info)


def observe(truth, repeats=1, seed=0, **options):
    return spec(**options).observe(truth, repeats, torch.Generator().manual_seed(seed))


def test_every_site_sees_the_cell_that_its_index_names():
    observed = observe(fields(), repeats=2, error={"std": 1e-9})
    assert observed.value.shape == (4, 8, 24)
    batch, time = torch.meshgrid(torch.arange(4), observed.record, indexing="ij")
    expected = 1000 * (batch // 2)[..., None] + 100 * time[..., None] + observed.index
    assert torch.allclose(observed.value, expected.double(), atol=1e-6)


def test_the_first_record_is_not_observed_unless_asked_for():
    assert observe(fields()).record.tolist() == list(range(1, 9))
    assert observe(fields(), every=4).record.tolist() == [4, 8]
    assert observe(fields(), every=4, first=0).record.tolist() == [0, 4, 8]
    assert spec(every=4).num_times(fields().info) == 2


def test_errors_have_the_stated_size_whichever_way_it_is_given():
    truth = fields(samples=8, times=400)
    signal = float(truth.tensor(dtype=torch.float64)[..., 0].var(correction=0))
    for error, variance in (({"std": 2.0}, 4.0), ({"variance": 9.0}, 9.0), ({"snr_db": 20}, signal / 100)):
        observed = observe(truth, error=error, variables=["a"])
        exact = truth.tensor(dtype=torch.float64)[:, observed.record].flatten(2).gather(2, observed.index)
        residual = observed.value - exact
        assert torch.allclose(observed.variance, torch.full_like(residual, variance))
        count = residual.numel()
        # A sample variance of n Gaussian numbers has the relative standard error √(2/n).
        assert float(residual.var()) == pytest.approx(variance, rel=6 * (2 / count) ** 0.5)
        assert abs(float(residual.mean())) < 6 * (variance / count) ** 0.5


@pytest.mark.parametrize("error", [{}, {"std": 1.0, "variance": 1.0}, {"std": -1.0}, {"std": 0.0}])
def test_an_error_is_given_in_exactly_one_way(error):
    with pytest.raises(ValidationError):
        spec(error=error)


def test_random_sites_are_distinct_valid_and_stay_unless_redrawn():
    truth = fields(masked=True)
    fixed = observe(truth, repeats=5, locations={"kind": "random", "count": 11}, variables=["b"])
    assert (fixed.index == fixed.index[:, :1]).all()
    assert all(len(set(row.tolist())) == 11 for row in fixed.index[:, 0])
    assert not (fixed.index // 2 == 6).any()
    assert (fixed.index % 2 == 1).all()
    few = {"kind": "random", "count": 4}
    assert len({tuple(row.tolist()) for row in observe(truth, 5, locations=few).index[:, 0]}) > 1
    moving = observe(truth, locations={**few, "redraw": True})
    assert len({tuple(row.tolist()) for row in moving.index[0]}) > 1


def test_more_sites_than_valid_cells_are_refused():
    with pytest.raises(EmptySelection, match=r"12 sites .* only 11"):
        observe(fields(masked=True), locations={"kind": "random", "count": 12})
    problems = list(spec(locations={"kind": "random", "count": 13}).check(fields().info))
    assert [problem.path for problem in problems] == [("locations", "count")]


def test_masked_cells_are_never_observed():
    truth = fields(masked=True)
    for locations in ("all", {"kind": "every", "step": 2}, {"kind": "every", "step": 2, "offset": 1}):
        assert not (observe(truth, locations=locations).index // 2 == 6).any()
    with pytest.raises(OutsideDomain, match="masked"):
        observe(truth, locations={"kind": "cells", "indices": [[1, 2]]})


def test_a_cell_masked_at_times_is_not_among_random_sites_and_gives_no_number_then():
    truth = fields(masked=True, moving=True)
    assert not (observe(truth, locations={"kind": "random", "count": 11}).index // 2 == 6).any()


def test_every_takes_each_axis_with_its_offset():
    observed = observe(fields(channels=("a",)), locations={"kind": "every", "step": 2, "offset": 1})
    assert observed.index[0, 0].tolist() == [5, 7]
    assert spec(locations={"kind": "every", "step": 2, "offset": 1}).num_observations(fields().info) == 4


def test_points_go_to_the_nearest_cell_round_the_globe():
    places = [{"latitude": 4.0, "longitude": -10.0}, [-9, 350.0], [9, 130.0]]
    observed = observe(fields(channels=("a",)), locations={"kind": "points", "coordinates": places})
    assert observed.index[0, 0].tolist() == [4, 0, 9]


@pytest.mark.parametrize("place", [[40.0, 0.0], {"latitude": 0.0}, [0.0, float("nan")]])
def test_points_outside_the_domain_are_refused(place):
    with pytest.raises((OutsideDomain, ValidationError)):
        observe(fields(), locations={"kind": "points", "coordinates": [place]})


def test_missing_observations_are_nan_at_the_stated_rate():
    observed = observe(fields(samples=20, times=101), missing=0.3)
    share, count = float(torch.isnan(observed.value).double().mean()), observed.value.numel()
    assert share == pytest.approx(0.3, abs=6 * (0.21 / count) ** 0.5)


def test_checks_name_what_does_not_fit():
    info = fields().info
    assert [p.path for p in spec(variables=["c"]).check(info)] == [("variables", 0)]
    assert [p.path for p in spec(every=9).check(info)] == [("every",)]
    assert [p.path for p in spec(locations={"kind": "cells", "indices": [[3, 0], 1]}).check(info)] == [
        ("locations", "indices", 0),
        ("locations", "indices", 1),
    ]
    with pytest.raises(EmptySelection):
        observe(fields(), every=9)


def test_the_same_seed_gives_the_same_observations():
    first, again = (observe(fields(), 2, seed=3, locations={"kind": "random", "count": 3}) for _ in range(2))
    assert torch.equal(first.value, again.value)
    assert torch.equal(first.index, again.index)


def test_a_warm_up_observes_every_record_before_every_so_many():
    assert observe(fields(), every=3, warmup=2).record.tolist() == [1, 2, 5, 8]
    assert observe(fields(), every=3, warmup=2, first=3).record.tolist() == [3, 4, 7]
    assert observe(fields(), every=100, warmup=3).record.tolist() == [1, 2, 3]
    assert observe(fields(), every=1, warmup=3).record.tolist() == list(range(1, 9))
    assert spec(every=3, warmup=2).num_times(fields().info) == 4


@pytest.mark.parametrize("redraw", [False, True])
def test_times_between_observations_are_added_without_a_value(redraw):
    locations = {"kind": "random", "count": 3, "redraw": redraw}
    observed = observe(fields(), every=3, locations=locations)
    whole = observed.at_every_record(9)
    assert whole.record.tolist() == list(range(1, 9))
    kept = [2, 5]
    assert torch.equal(whole.value[:, kept], observed.value)
    assert torch.equal(whole.index[:, kept], observed.index)
    assert whole.is_empty.tolist() == [time not in kept for time in range(8)]
    assert torch.equal(whole.variance[:, kept], observed.variance)


def test_a_first_observation_at_the_initial_record_keeps_it():
    assert observe(fields(), every=4, first=0).at_every_record(9).record.tolist() == list(range(9))
