"""What every Koopman model keeps: restoring, masks, samples, refusals."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from pydantic import TypeAdapter, ValidationError

from koopcast.errors import DataError, EmptySelection, NotFinite
from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis, Window
from koopcast.koopman import AnyKoopman
from koopcast.koopman.base import LatentSpec

MakeFields = Callable[..., FieldData]
KINDS: tuple[dict[str, object], ...] = (
    {"kind": "dmd", "rank": 3, "delays": 2},
    {"kind": "dmd", "rank": 3, "delays": 2, "svd": "randomised"},
    {"kind": "dmd", "rank": 3, "delays": 2, "svd": "incremental", "stable": True},
    {"kind": "tls_dmd", "rank": 3, "delays": 2},
    {"kind": "fb_dmd", "rank": 2, "delays": 2},
    {"kind": "opt_dmd", "rank": 3, "delays": 2},
    {"kind": "opt_dmd", "rank": 2, "bags": 3, "stable": True},
    {"kind": "mr_dmd", "rank": 3, "delays": 2, "levels": 2, "cycles": 20},
    {"kind": "pi_dmd", "rank": 3, "delays": 2},
    {"kind": "pi_dmd", "manifold": "local"},
    {"kind": "edmd", "rank": 3, "delays": 2, "ridge": 0.1},
    {"kind": "edmd", "rank": 2, "ridge": 0.1, "dictionary": {"kind": "rbf", "centers": 5}},
    {"kind": "edmd", "rank": 2, "ridge": 0.1, "dictionary": "polynomial"},
    {"kind": "edmd", "rank": 2, "constraint": "stable"},
    {"kind": "edmd", "choose": {"dictionaries": ["linear", {"kind": "rbf", "centers": 4}], "ranks": [1, 2],
     "ridges": [0.01, 0.1], "folds": 2}},
    {"kind": "gedmd", "rank": 2, "order": 2, "dictionary": "polynomial"},
    {"kind": "kernel_edmd", "rank": 2, "functions": 6, "modes": "knee"},
    {"kind": "kernel_edmd", "rank": 2, "delays": 2, "functions": 6, "centers": 20, "kernel": "matern"},
    {"kind": "kernel_edmd", "rank": 3, "functions": 6, "estimator": "reduced_rank"},
    {"kind": "resdmd", "rank": 3, "modes": "all", "dictionary": {"kind": "rbf", "centers": 6}},
    {"kind": "resdmd", "rank": 2, "modes": "knee", "dictionary": "polynomial", "modulus": {"constant": 1},
     "algorithm": "both", "grid": {"re": [-1, 1, 3], "im": [-1, 1, 3]}, "spectral_measure": "rational"},
)  # fmt: skip
every = pytest.mark.parametrize("options", KINDS)


def _spec(options: object) -> LatentSpec:
    return TypeAdapter(AnyKoopman).validate_python(options)


def _waves(samples: int = 3, times: int = 30, size: int = 10) -> np.ndarray:
    rng = np.random.default_rng(0)
    phase = rng.uniform(0, 6, size=(samples, 1, 1)) + 0.7 * np.arange(times)[:, None]
    waves = np.cos(phase + np.arange(size)) + 0.5 * np.sin(2.3 * phase - 2 * np.arange(size))
    return 5 + waves + 0.05 * rng.normal(size=waves.shape)


@every
def test_a_restored_model_is_the_same_to_the_bit(
    make_fields: MakeFields, generator: torch.Generator, options: object
) -> None:
    spec, fields = _spec(options), make_fields(_waves())
    model = spec.fit(fields, generator)
    tensors = {name: tensor.clone() for name, tensor in model.tensors().items()}
    assert all(tensor.is_contiguous() for tensor in tensors.values())
    again = spec.restore(fields.info, tensors)
    frames = fields.tensor(dtype=torch.float64)[:, : spec.num_history()]
    assert torch.equal(again.forecast(frames, [1, 5]), model.forecast(frames, [1, 5]))
    assert again.card() == model.card()
    assert again.diagnostics().identical(model.diagnostics())
    assert torch.equal(again.noise_factor(), model.noise_factor())
    assert again.history == spec.num_history()


@every
def test_the_same_seed_gives_the_same_model(make_fields: MakeFields, options: object) -> None:
    fields = make_fields(_waves())
    one, other = (_spec(options).fit(fields, torch.Generator().manual_seed(1)).tensors() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


@every
@pytest.mark.parametrize("per_time", [False, True])
def test_masked_values_are_never_used(make_fields: MakeFields, options: object, per_time: bool) -> None:
    mask = np.ones((30, 10), dtype=bool)
    mask[:, 4] = False
    if per_time:
        mask[7, 8] = False
    one, other = _waves(), _waves()
    hole = np.broadcast_to(~mask, one.shape)
    one[hole], other[hole] = 1e6, np.nan
    masks = mask if per_time else mask[0]
    models = [
        _spec(options).fit(make_fields(v, mask=masks), torch.Generator().manual_seed(1)) for v in (one, other)
    ]
    first, second = (model.tensors() for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first)
    frames = torch.from_numpy(_waves())[..., None]
    frames[:, :, 4] = 1e9
    ahead = models[0].forecast(frames[:, : models[0].history], [3])
    assert bool((ahead[:, :, 4] == 0).all())
    assert float(ahead.abs().max()) < 10
    if per_time:
        # A cell that is missing once takes no part; it shows the mean of the times that it holds data.
        assert torch.allclose(ahead[:, 0, 8, 0], frames[:, mask[:, 8], 8, 0].mean())
    assert np.isnan(models[0].diagnostics()["mode_field"].values[:, 4]).all()


@pytest.mark.parametrize("options", [*KINDS[:5], *KINDS[8:11]])
def test_pairs_do_not_cross_samples(make_fields: MakeFields, options: object) -> None:
    # Samples in reverse order hold the same pairs, unless one joins the end of a sample to the next.
    values = _waves()
    one, other = (
        _spec(options).fit(make_fields(v), torch.Generator().manual_seed(1))
        for v in (values, values[::-1].copy())
    )
    assert one.card()["training_pairs"] == 3 * (30 - one.history)
    frames = torch.from_numpy(values)[..., None][:, : one.history]
    assert torch.allclose(one.forecast(frames, [4]), other.forecast(frames, [4]), atol=1e-8)


def test_a_time_without_any_data_breaks_the_chain_of_pairs(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    mask = np.ones((30, 10), dtype=bool)
    mask[12] = False
    values = _waves(samples=1)
    values[:, 12] = np.nan
    model = _spec({"kind": "edmd", "rank": 3, "delays": 2}).fit(make_fields(values, mask=mask), generator)
    # Of 28 pairs those with record 12 among their three frames are lost.
    assert model.card()["training_pairs"] == 25
    assert int(model.tensors()["cells"].sum()) == 10


def test_the_window_alone_is_seen(make_fields: MakeFields, generator: torch.Generator) -> None:
    values, changed = _waves(), _waves()
    changed[:, 20:] += 100
    specs = _spec({"kind": "edmd", "rank": 3})
    one, other = (
        specs.fit(make_fields(v, train=20).part("train"), generator).tensors() for v in (values, changed)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_units_of_channels_do_not_matter(make_fields: MakeFields, generator: torch.Generator) -> None:
    values = np.stack([_waves(), _waves()[:, :, ::-1] ** 2], axis=-1)
    spec = _spec({"kind": "edmd", "rank": 3, "ridge": 0.1})
    plain, scaled = (
        spec.fit(make_fields(values * units), generator) for units in ([1.0, 1.0], [1000.0, 0.01])
    )
    frames = torch.from_numpy(values)[:, :1]
    units = torch.tensor([1000.0, 0.01], dtype=torch.float64)
    assert torch.allclose(
        scaled.forecast(frames * units, [2]) / units, plain.forecast(frames, [2]), rtol=1e-9
    )
    assert plain.diagnostics()["mode_field"].dims == ("mode", "channel", "x")


def test_a_cell_counts_by_its_area(generator: torch.Generator) -> None:
    # A pattern at the equator and a larger one at 75°, on 0.26 of its area: rank 1 keeps the first.
    time = np.arange(40)
    values = np.stack([np.cos(0.5 * time), 1.2 * np.sin(0.8 * time)], axis=1)[:, :, None]
    info = FieldsInfo(
        {"t": "K"}, (Axis("latitude", 2, "latitude"), Axis("longitude", 1, "longitude")), TimeAxis(40, "P1D")
    )
    dataset = xr.Dataset(
        {"t": (("time", "latitude", "longitude"), values)},
        coords={"latitude": [0.0, 75.0], "longitude": [0.0]},
    )
    fields = FieldData(dataset, info)
    frames = fields.tensor(dtype=torch.float64)[0, :5, None]
    rebuilt = {
        weights: model.decode(model.encode(frames))[:, :, 0, 0]
        for weights in ("area", "none")
        for model in [_spec({"kind": "edmd", "rank": 1, "weights": weights}).fit(fields, generator)]
    }
    equator = frames[:, 0, 0, 0, 0]
    assert float((rebuilt["area"][:, 0] - equator).abs().max()) < 0.1
    assert float((rebuilt["none"][:, 0] - equator).abs().max()) > 0.5


@every
def test_fields_that_cannot_be_learned_are_refused(
    make_fields: MakeFields, generator: torch.Generator, options: object
) -> None:
    spec = _spec(options)
    with pytest.raises(DataError, match="do not vary"):
        spec.fit(make_fields(np.full((2, 20, 5), 0.3)), generator)
    with pytest.raises(DataError, match="hold no pair"):
        spec.fit(make_fields(_waves(times=1)), generator)
    holed = _waves()
    holed[1, 3, 2] = np.nan
    with pytest.raises(NotFinite, match="non-finite"):
        spec.fit(make_fields(holed), generator)
    fields = make_fields(_waves())
    unequal = replace(fields, info=replace(fields.info, time=TimeAxis(30, "")))
    if spec.takes_unequal_steps and spec.delays == 1:
        assert spec.fit(unequal, generator).card()["training_pairs"] > 0
        assert list(spec.check(unequal.info)) == []
    else:
        with pytest.raises(DataError, match="unequally spaced"):
            spec.fit(unequal, generator)
        assert "unequally spaced" in str(list(spec.check(unequal.info)))
    with pytest.raises(EmptySelection, match="no cell holds data at all times"):
        spec.fit(make_fields(_waves(), mask=np.arange(30)[:, None] % 10 != np.arange(10)), generator)


def test_what_the_shapes_rule_out_is_told_before_the_fit() -> None:
    info = FieldsInfo(
        {"u": "1"}, (Axis("x", 6),), TimeAxis(20, 1.0), parts={"train": Window((0, 1), (0, 10))}
    )

    def problems(fields: FieldsInfo = info, **options: object) -> list[tuple[tuple[str | int, ...], str]]:
        return [
            (problem.path, problem.message) for problem in _spec({"kind": "edmd", **options}).check(fields)
        ]

    assert problems(rank=6) == []
    assert problems() == []
    assert problems(rank=7)[0][0] == ("rank",)
    assert "7 is above 6" in problems(rank=7)[0][1]
    assert problems(delays=10)[0][0] == ("delays",)
    assert "at most 9" in problems(delays=10)[0][1]
    assert problems(rank=6, dictionary={"kind": "polynomial", "degree": 8}) == []
    assert "above 9 training pairs" in problems(rank=6, ridge=0.0, dictionary="polynomial")[0][1]
    wide = replace(info, axes=(Axis("x", 600),), time=TimeAxis(900, 1.0), parts={})
    assert (
        "176851 observables are above 5000"
        in problems(wide, rank=100, dictionary={"kind": "polynomial", "degree": 3})[0][1]
    )
    assert "unequally spaced" in problems(replace(info, time=TimeAxis(20, "")))[0][1]
    assert [p.path for p in _spec({"kind": "dmd", "rank": 8, "delays": 2}).check(info)] == []
    assert [p.path for p in _spec({"kind": "dmd", "rank": 9, "delays": 2}).check(info)] == [("rank",)]


@pytest.mark.parametrize(
    "options",
    [{"rank": 0}, {"rank": 1.5}, {"ridge": -1}, {"delays": 0}, {"rank": "best"}, {"dictionary": "cubic"}],
)
def test_options_out_of_bounds_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        _spec({"kind": "edmd", **options})


@every
def test_constant_cells_stay_constant_and_change_nothing_else(
    make_fields: MakeFields, generator: torch.Generator, options: object
) -> None:
    values = _waves()
    held = np.concatenate([values, np.full((3, 30, 2), 7.0)], axis=2)
    spec = _spec(options)
    model = spec.fit(make_fields(held), generator)
    frames = torch.from_numpy(held)[..., None]
    ahead = model.forecast(frames[:, : model.history], [1, 4])
    assert torch.allclose(ahead[:, :, 10:], torch.tensor(7.0, dtype=torch.float64), atol=1e-9)
    assert (
        float((ahead[:, :, :10, 0] - frames[:, [model.history, model.history + 3], :10, 0]).abs().max()) < 3
    )


@every
def test_frames_of_deficient_rank_are_learned_in_the_directions_that_they_have(
    make_fields: MakeFields, generator: torch.Generator, options: dict[str, object]
) -> None:
    # One pair of waves: two directions, whatever share is asked for.
    phase = 0.7 * np.arange(60)[:, None] + np.arange(10)
    shared = {"rank": 1 - 1e-9} if "rank" in options else {}
    # Differences of order 2 take the rate of 0.7 a step for sin 0.7.
    precise = {"ridge": 1e-6} if "ridge" in options else {"order": 6} if "order" in options else {}
    spec = _spec({**options, **shared, **precise})
    model = spec.fit(make_fields(np.cos(phase)[None]), generator)
    frames = torch.from_numpy(np.cos(phase))[None, :, :, None]
    ahead = model.forecast(frames[:, 5 - model.history : 5], [1, 6])
    assert torch.allclose(ahead, frames[:, [5, 10]], atol=0.3)
