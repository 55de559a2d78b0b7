"""Trained models on datasets: forecasts, other grids, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from koopcast.errors import DataError, InvalidInput, ShapeMismatch
from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.inference import Predictor, load
from koopcast.learned import write_model
from koopcast.operators import FNOSpec, OperatorDynamics
from koopcast.training import TrainingSpec, train

POINTS = 16


def waves(points: int = POINTS, samples: int = 4) -> xr.Dataset:
    place = 2 * np.pi * np.arange(points) / points
    phase = np.arange(samples)[:, None, None]
    u = np.sin(place - 0.3 * np.arange(6)[:, None] + phase)
    return xr.Dataset({"u": (("sample", "time", "x"), u)}, coords={"x": place})


def predictor(tmp_path: Path, **options: object) -> Predictor:
    info = FieldsInfo(
        {"u": "K"}, (Axis("x", POINTS, periodic=True, length=1.0),), TimeAxis(6, 1.0), samples=4
    )
    spec = FNOSpec.model_validate({"modes": 6, "width": 6, "layers": 1, **options})
    data = FieldData(waves(), info)
    training = TrainingSpec(epochs=20, batch_size=5, schedule="constant")
    result = train(spec, training, data, seed=0, device=torch.device("cpu"), scratch=tmp_path / "scratch")
    (tmp_path / "model").mkdir()
    write_model(tmp_path / "model", spec, result.model, None, "key")
    return load(tmp_path / "model")


def test_dynamics_go_on_from_the_last_records(tmp_path: Path) -> None:
    model = predictor(tmp_path)
    forecast = model.predict(waves(), leads=[1, 3])
    assert forecast["u"].dims == ("sample", "lead", "x")
    assert forecast["u"].attrs["units"] == "K"
    assert list(forecast["lead"].values) == [1, 3]
    assert isinstance(model.model, OperatorDynamics)
    frames = torch.from_numpy(waves()["u"].values).float()[:, -1:, :, None]
    expected = model.model.forecast(frames, [1, 3])[..., 0]
    assert np.array_equal(forecast["u"].values, expected.numpy())
    single = model.predict(waves().isel(sample=1), leads=[1])
    assert single["u"].dims == ("lead", "x")
    assert np.allclose(single["u"], forecast["u"].isel(sample=1, lead=[0]), atol=1e-6)


def test_a_finer_grid_has_the_same_forecast(tmp_path: Path) -> None:
    model = predictor(tmp_path)
    coarse = model.predict(waves())["u"].values
    fine = model.predict(waves(2 * POINTS))["u"].values
    assert np.abs(fine[..., ::2] - coarse).max() < 0.05


def test_a_model_of_one_grid_is_resampled_where_that_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "free").mkdir()
    (tmp_path / "bound").mkdir()
    resampled = predictor(tmp_path / "free", resample_io="fourier")
    coarse = resampled.predict(waves())["u"].values
    fine = resampled.predict(waves(2 * POINTS))["u"].values
    # One wave is resampled without error, so the two agree to rounding.
    assert np.abs(fine[..., ::2] - coarse).max() < 1e-5
    bound = predictor(tmp_path / "bound", normalize_input="pixel")
    with pytest.raises(ShapeMismatch, match=r"trained on a grid \(16,\) and is asked for \(32,\)"):
        bound.predict(waves(2 * POINTS))


def test_data_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    model = predictor(tmp_path)
    with pytest.raises(DataError, match="no variable 'u'; they hold v"):
        model.predict(waves().rename(u="v"))
    with pytest.raises(DataError, match="has dimensions sample, time, z"):
        model.predict(waves().rename(x="z"))
    with pytest.raises(DataError, match="not finite"):
        model.predict(waves() / 0)
    with pytest.raises(InvalidInput, match="do not increase"):
        model.predict(waves(), leads=[3, 1])
    with pytest.raises(ShapeMismatch, match="state is made of 1 records, the data have 0"):
        model.predict(waves().isel(time=slice(0)))
