import numpy as np
import pytest
import torch
import xarray as xr
from pydantic import TypeAdapter

from koopcast.errors import DataError, EmptySelection
from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis, Window
from koopcast.observations import AnyLocations, AnyObservations

SIZE, RANK, TRAIN = 12, 5, 60


def bumps():
    """Narrow bumps and a gentle slope: most points see nothing of most of them."""
    y, x = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
    centres = [(2, 2), (3, 9), (9, 3), (8, 8)]
    shapes = [np.exp(-((x - a) ** 2 + (y - b) ** 2) / 2.0) for a, b in centres]
    return np.stack([*shapes, 0.05 * (x + y)])


def field(*, masked=(), channels=1, after=None, times=90, split=True):
    """A field of rank 5 whose part `train` are its first 60 records."""
    amplitude = np.random.default_rng(1).standard_normal((2, times, RANK))
    values = np.einsum("stk,kyx->styx", amplitude, bumps())
    if after is not None:
        values[:, TRAIN:] = after
    names = ["u", "v"][:channels]
    data = {name: (("sample", "time", "y", "x"), (i + 1) * values) for i, name in enumerate(names)}
    if masked:
        mask = np.ones((times, SIZE, SIZE), dtype="int8")
        for place in masked:
            mask[:, place[0], place[1]] = 0
        mask[70:, 0, 11] = 0
        data["mask"] = (("time", "y", "x"), mask)
    parts = {"train": Window((0, 2), (0, TRAIN)), "test": Window((0, 2), (TRAIN, times))} if split else {}
    axes = tuple(Axis(name, SIZE, length=1.0) for name in ("y", "x"))
    info = FieldsInfo(dict.fromkeys(names, "1"), axes, TimeAxis(times, 1.0), 2, parts, bool(masked))
    truth = FieldData(xr.Dataset(data, coords={"time": np.arange(times)}), info)
    return truth.part("test") if split else truth


def sites(truth, seed=0, **options):
    spec = TypeAdapter(AnyLocations).validate_python({"kind": "sampled", **options})
    drawn = spec.draw(truth, torch.arange(3), 2, torch.Generator().manual_seed(seed))
    assert (drawn == drawn[:1, :1]).all()
    return drawn[0, 0]


def amplification(chosen):
    """Return the mean square error of a field rebuilt from its modes by noisy values at sites, per cell."""
    modes = np.linalg.qr(bumps().reshape(RANK, -1).T)[0]
    at = modes[chosen.numpy()]
    return np.trace(np.linalg.pinv(at.T @ at)) if np.linalg.matrix_rank(at) == RANK else np.inf


def test_greedy_sites_rebuild_the_field_from_fewer_errors_than_random_ones():
    greedy = amplification(sites(field(), count=RANK))
    rng = np.random.default_rng(3)
    random = [amplification(torch.from_numpy(rng.permutation(SIZE**2)[:RANK])) for _ in range(200)]
    assert greedy < 0.1 * np.median(random)
    assert greedy < min(random)
    more = amplification(sites(field(), count=3 * RANK, modes=RANK))
    assert more < 0.7 * greedy


def test_masked_points_are_never_chosen_though_the_modes_are_largest_there():
    free = sites(field(), count=4)
    masked = [tuple(int(i) for i in np.unravel_index(int(site), (SIZE, SIZE))) for site in free]
    others = sites(field(masked=masked), count=4)
    assert not set(free.tolist()) & set(others.tolist())
    # (0, 11) is masked within the observed window alone.
    everywhere = sites(field(masked=masked), count=SIZE**2 - 5, modes=4)
    assert set(everywhere.tolist()) == set(range(SIZE**2)) - set(free.tolist()) - {11}
    with pytest.raises(EmptySelection, match=r"140 sites .* only 139"):
        sites(field(masked=masked), count=140)


def test_the_window_that_is_observed_is_not_looked_at():
    strange = np.random.default_rng(5).standard_normal((2, 30, SIZE, SIZE))
    assert torch.equal(sites(field(after=strange), count=7, modes=5), sites(field(), count=7, modes=5))
    assert not torch.equal(
        sites(field(after=1e3 * strange, split=False), count=7), sites(field(split=False), count=7)
    )


def test_variables_that_go_together_add_nothing():
    assert torch.equal(sites(field(channels=2), count=RANK), sites(field(), count=RANK))


def test_a_site_that_is_drawn_twice_is_observed_once():
    drawn = sites(field(), count=100, sampler="iid", modes=3)
    assert len(set(drawn.tolist())) == len(drawn) < 100
    assert torch.equal(drawn, sites(field(), count=100, sampler="iid", modes=3))
    assert not torch.equal(drawn, sites(field(), seed=1, count=100, sampler="iid", modes=3))


def test_more_modes_than_there_are_and_impossible_counts_are_refused():
    with pytest.raises(DataError, match="9 modes asked, but the frames vary in 5 directions"):
        sites(field(), count=12, modes=9)
    for options, path in (
        ({"count": 145}, ("count",)),
        ({"sampler": "sobol"}, ("sampler",)),
        ({"sampler": "dpp", "count": 3, "modes": 5}, ("count",)),
    ):
        spec = TypeAdapter(AnyLocations).validate_python({"kind": "sampled", **options})
        assert path in [problem.path for problem in spec.check(field().info)]


def test_the_instrument_reports_the_truth_at_the_sites():
    truth = field()
    spec = TypeAdapter(AnyObservations).validate_python(
        {"kind": "synthetic", "locations": {"kind": "sampled", "count": 6}, "error": {"std": 1e-9}}
    )
    seen = spec.observe(truth, 1, torch.Generator().manual_seed(0))
    exact = truth.tensor(dtype=torch.float64)[:, seen.record].flatten(2).gather(2, seen.index)
    assert torch.allclose(seen.value, exact, atol=1e-6)
    assert spec.num_observations(truth.info) == seen.index.shape[2] == 6
