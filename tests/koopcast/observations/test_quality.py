import numpy as np
import pytest
import torch
import xarray as xr
from pydantic import TypeAdapter, ValidationError

from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.numerics.geometry import Domain
from koopcast.observations import AnyObservations
from koopcast.observations.quality import Flag, QualityControl, counts

AXIS = Axis("x", 10, periodic=True)
LINE = Domain((AXIS,), (torch.arange(10, dtype=torch.float64),))


def flags(value, index, *, num_channels=1, per_site=1, **options):
    """Return the flags of one experiment and time, as names."""
    qc = QualityControl(**options)
    found = qc.before(
        torch.tensor(value, dtype=torch.float64)[None, None],
        torch.tensor(index)[None, None],
        LINE,
        num_channels,
        per_site,
    )
    return [Flag(number).name for number in found[0, 0].tolist()]


def test_the_first_reason_is_kept():
    value = [torch.nan, torch.nan, 9.0, 9.0, 1.0, 1.0]
    found = flags(value, [0, 1, 2, 3, 4, 5], blacklist=[1, 3], bounds=(-2, 5))
    assert found == ["MISSING", "MISSING", "OUT_OF_BOUNDS", "BLACKLISTED", "USED", "USED"]


def test_the_blacklist_counts_sites_and_not_numbers():
    assert flags([0.0] * 6, range(6), num_channels=2, per_site=2, blacklist=[1]) == [
        *["USED"] * 2, *["BLACKLISTED"] * 2, *["USED"] * 2,
    ]  # fmt: skip


def test_a_repetition_of_an_observation_that_is_used_is_refused():
    value, index = [1.0, 1.0, 2.0, 1.0, 7.0, 7.0], [3, 3, 3, 4, 5, 5]
    bounds = (None, 6)
    assert flags(value, index, duplicates="same_value", bounds=bounds) == [
        "USED", "DUPLICATE", "USED", "USED", "OUT_OF_BOUNDS", "OUT_OF_BOUNDS",
    ]  # fmt: skip
    assert flags([7.0, 1.0, 2.0], [3, 3, 3], duplicates="same_cell", bounds=bounds) == [
        "OUT_OF_BOUNDS", "USED", "DUPLICATE",
    ]  # fmt: skip


def test_thinning_keeps_observations_apart_and_refuses_none_that_is_far_from_those_that_stay():
    index = [0, 1, 2, 3, 4, 9]
    # 9 lies beside 0 on the ring; 1, 3 and 9 are nearer than 1.5 to one that stays.
    assert flags([0.0] * 6, index, thinning=1.5) == ["USED", "THINNED", "USED", "THINNED", "USED", "THINNED"]
    # A missing observation crowds out nothing.
    assert flags([torch.nan, 0.0, 0.0], [0, 1, 2], thinning=1.5) == ["MISSING", "USED", "THINNED"]
    # Two variables at a point are not neighbours of one another.
    assert flags([0.0] * 4, [0, 1, 2, 3], num_channels=2, thinning=1.5) == [
        "USED", "USED", "THINNED", "THINNED",
    ]  # fmt: skip


def against(departure, spread, error, gaps=None, flag=None, **options):
    departure = torch.tensor(departure, dtype=torch.float64)[None]
    variance = (torch.full_like(departure, spread**2), torch.full_like(departure, error**2))
    flag = torch.zeros(departure.shape, dtype=torch.int8) if flag is None else torch.tensor(flag)[None]
    found, factor = QualityControl(**options).against(
        departure, variance, flag.to(torch.int8), None if gaps is None else torch.tensor(gaps)[None].double()
    )
    return [Flag(number).name for number in found[0].tolist()], factor[0].tolist()


def test_the_background_check_is_relative_to_what_background_and_error_explain():
    # √(3² + 4²) = 5.
    found, factor = against([19.9, -20.1, 20.1], 3.0, 4.0, background_check=4.0)
    assert found == ["USED", "BACKGROUND_CHECK", "BACKGROUND_CHECK"]
    assert factor == [1.0] * 3
    stated, _ = against([19.9, -20.1], 0.0, 4.0, background_check=4.0, background_std=3.0)
    assert stated == ["USED", "BACKGROUND_CHECK"]


def test_huber_weights_pull_a_far_departure_with_the_strength_of_the_threshold():
    found, factor = against([4.0, -20.0], 0.0, 1.0, huber=5.0)
    assert found == ["USED", "DOWNWEIGHTED"]
    # r becomes r z/c, so that the pull d/r is that of a departure c: 20 / (20/5) = 5.
    assert factor == pytest.approx([1.0, (5 / 20) ** 0.5])


def test_a_buddy_check_believes_what_the_neighbours_report_too():
    gaps = np.abs(np.subtract.outer(np.arange(6.0), np.arange(6.0)))
    buddy = {"radius": 2.0, "threshold": 4.0, "neighbours": 2}
    # A front: all depart by about 6 σ. Only the one that departs alone is refused.
    together, _ = against([6.0, 6.5, 5.5, 6.2, 6.1, 5.9], 0.0, 1.0, gaps, buddy_check=buddy)
    assert together == ["USED"] * 6
    alone, _ = against([0.2, -0.1, 6.5, 0.3, 0.0, 0.1], 0.0, 1.0, gaps, buddy_check=buddy)
    assert alone == ["USED", "USED", "BUDDY_CHECK", "USED", "USED", "USED"]
    far, _ = against([0.2, -0.1, 6.5], 0.0, 1.0, 10 * gaps[:3, :3], buddy_check=buddy)
    assert far == ["USED"] * 3


def test_counts_add_up_to_all_that_were_due():
    flag = torch.tensor([-1, 0, 0, 1, 3, 6, 8, -1])
    found = counts(flag)
    assert found["used"] == 2
    assert found["background_check"] == 1
    assert sum(found.values()) == 6


def test_bounds_are_in_order():
    with pytest.raises(ValidationError, match="not below"):
        QualityControl(bounds=(2, 1))


def field(values):
    data = xr.Dataset(
        {"u": (("sample", "time", "x"), values)}, coords={"time": np.arange(values.shape[1]) * 1.0}
    )
    return FieldData(data, FieldsInfo({"u": "1"}, (AXIS,), TimeAxis(values.shape[1], 1.0)))


def observe(truth, seed=0, repeats=1, **options):
    spec = TypeAdapter(AnyObservations).validate_python({"kind": "synthetic", **options})
    return spec.observe(truth, repeats, torch.Generator().manual_seed(seed))


def test_no_observation_is_deleted_and_the_error_is_inflated():
    truth = field(np.zeros((1, 5, 10)))
    qc = {"bounds": [-1.0, 1.0], "error_inflation": 2.0}
    plain, checked = observe(truth), observe(truth, qc=qc)
    assert torch.equal(plain.value, checked.value)
    assert torch.equal(checked.variance, 4 * plain.variance)
    outside = plain.value.abs() > 1
    assert outside.any()
    assert torch.equal(checked.flag == Flag.OUT_OF_BOUNDS, outside)


def test_outliers_have_the_stated_share_and_size_and_change_nothing_else():
    truth = field(np.zeros((1, 2001, 10)))
    plain, gross = observe(truth), observe(truth, outliers={"share": 0.05, "size": 10.0})
    added = gross.value - plain.value
    has_one = added.abs() > 1e-9
    assert float(has_one.double().mean()) == pytest.approx(0.05, abs=6 * (0.05 / 20000) ** 0.5)
    assert torch.allclose(added[has_one].abs(), torch.tensor(10.0).double())
    assert 0.4 < float((added[has_one] > 0).double().mean()) < 0.6


def track(truth, times, **options):
    spec = TypeAdapter(AnyObservations).validate_python(
        {"kind": "synthetic", "locations": {"kind": "track", **options}}
    )
    record = torch.arange(times)
    return spec.locations.places(truth, record, 1, torch.Generator().manual_seed(0))[0, :, :, :]


def test_a_track_goes_round_a_closed_axis():
    places = track(field(np.zeros((1, 5, 10))), 5, speed=2.5, heading=180, start=[[4.0]])
    assert places[:, 0, 0].tolist() == pytest.approx([4.0, 1.5, 9.0, 6.5, 4.0])


def test_a_track_turns_back_at_the_end_of_an_open_axis():
    axis = Axis("x", 11, length=10.0)
    data = xr.Dataset({"u": (("sample", "time", "x"), np.zeros((1, 5, 11)))}, coords={"time": np.arange(5.0)})
    truth = FieldData(data, FieldsInfo({"u": "1"}, (axis,), TimeAxis(5, 1.0)))
    assert track(truth, 5, speed=4.0, heading=0, start=[[3.0]])[:, 0, 0].tolist() == pytest.approx(
        [3.0, 7.0, 9.0, 5.0, 1.0]
    )


def globe():
    latitude, longitude = np.arange(-80, 81, 20.0), np.arange(0, 360, 30.0)
    axes = (Axis("latitude", 9, "latitude"), Axis("longitude", 12, "longitude", periodic=True))
    values = np.zeros((1, 4, 9, 12))
    data = xr.Dataset(
        {"u": (("sample", "time", "latitude", "longitude"), values)},
        coords={"latitude": latitude, "longitude": longitude, "time": np.arange(4.0)},
    )
    return FieldData(data, FieldsInfo({"u": "1"}, axes, TimeAxis(4, 1.0)))


def test_a_track_on_the_sphere_follows_a_great_circle():
    east = track(globe(), 4, speed=100.0, heading=90, start=[[0.0, 300.0]])
    assert torch.allclose(east[:, 0], torch.tensor([[0, 300.0], [0, 40], [0, 140], [0, 240]]).double())
    slanted = track(globe(), 2, speed=90.0, heading=45, start=[[0.0, 10.0]])
    # A quarter of a great circle that leaves the equator at 45 degrees ends at its northernmost point.
    assert slanted[1, 0].tolist() == pytest.approx([45.0, 100.0])


def test_a_moving_platform_sees_the_point_that_it_is_nearest_to():
    truth = field(np.tile(np.arange(10.0), (1, 5, 1)))
    seen = observe(
        truth, locations={"kind": "track", "speed": 1.25, "heading": 0, "start": [[8.0]]}, error={"std": 1e-9}
    )
    assert seen.index[0, :, 0].tolist() == [9, 0, 2, 3]
    between = observe(
        truth,
        locations={"kind": "track", "speed": 1.25, "heading": 0, "start": [[3.0]]},
        error={"std": 1e-9},
        operator="interpolate",
    )
    assert between.value[0, :, 0].tolist() == pytest.approx([4.25, 5.5, 6.75, 8.0], abs=1e-7)


def test_determinantal_sites_are_a_choice_of_sampled_locations():
    generator = np.random.default_rng(0)
    truth = field(generator.normal(size=(1, 40, 10)))
    seen = observe(truth, locations={"kind": "sampled", "sampler": "dpp", "count": 4})
    assert len(set(seen.index[0, 0].tolist())) == 4


def test_types_are_side_by_side_with_their_own_times_errors_and_reach():
    truth = field(np.random.default_rng(0).normal(size=(1, 7, 10)))
    types = {
        "coarse": {"kind": "synthetic", "locations": {"kind": "every", "step": 5}, "every": 3, "reach": 2.0},
        "mean": {
            "kind": "synthetic",
            "operator": {"kind": "spectral", "wavenumbers": [0]},
            "every": 2,
            "error": {"std": 0.1},
        },
    }
    spec = TypeAdapter(AnyObservations).validate_python({"kind": "combined", "types": types})
    assert list(spec.check(truth.info)) == []
    seen = spec.observe(truth, 1, torch.Generator().manual_seed(0))
    assert seen.record.tolist() == [2, 3, 4, 6]
    assert seen.flag[0].tolist() == [[-1, -1, 0], [0, 0, -1], [-1, -1, 0], [0, 0, 0]]
    assert seen.reach().tolist() == [2.0, 2.0, 1.0]
    assert [(kind.name, part.start, part.stop) for kind, part in seen.sections()] == [
        ("coarse", 0, 2), ("mean", 2, 3),
    ]  # fmt: skip
    cells = torch.randn(1, 3, 10).double()
    assert torch.allclose(seen.seen(cells, 3)[..., :2], cells[..., [0, 5]])
    assert torch.allclose(seen.seen(cells, 3)[..., 2], cells.mean(dim=2))
    assert spec.num_times(truth.info) == 4
    assert spec.num_observations(truth.info) == 4


def test_what_is_drawn_does_not_depend_on_how_it_is_used():
    def drawn(**options):
        return TypeAdapter(AnyObservations).validate_python({"kind": "synthetic", **options}).drawn()

    plain = drawn(error={"std": 0.5})
    assert drawn(error={"std": 0.5}, qc={"background_check": 3.0}, reach=2.0, every=1) == plain
    assert drawn(error={"std": 0.5}, every=2) != plain
    assert drawn(error={"std": 0.5}, outliers={"share": 0.1}) != plain
