import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from koopcast.baselines import ClimatologySpec, PersistenceSpec
from koopcast.dynamics import Dynamics
from koopcast.errors import EmptySelection, ShapeMismatch
from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis, Window
from koopcast.koopman import DMDSpec
from koopcast.metrics import (
    ACCSpec,
    CRPSSpec,
    EnergySpectrumSpec,
    PeriodErrorSpec,
    RankHistogramSpec,
    RMSESpec,
    SpreadSkillSpec,
)
from koopcast.verification import AnalysisFields, evaluate, score_mapping

LATITUDE = np.array([-60.0, 0.0, 60.0])
RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(40, 3, 16)).astype("f4")
MASK = np.ones((3, 16), dtype="i1")
MASK[0, :3] = 0


class Scale(Dynamics):
    """Multiplies by a factor at every step."""

    def __init__(self, info, factor):
        self.info, self.factor = info, factor

    def step(self, state):
        return self.factor * state


def fields(variables=("u",), units=("K",)):
    dims = ("time", "latitude", "longitude")
    data = {name: (dims, VALUES * (1 + place)) for place, name in enumerate(variables)}
    dataset = xr.Dataset(
        {**data, "mask": (dims[1:], MASK)},
        coords={"time": np.arange(40.0), "latitude": LATITUDE, "longitude": np.arange(16.0)},
    )
    info = FieldsInfo(
        dict(zip(variables, units, strict=True)),
        (Axis("latitude", 3, "latitude"), Axis("longitude", 16, "longitude", periodic=True, length=360.0)),
        TimeAxis(40, 0.5),
        parts={"train": Window((0, 1), (0, 30)), "test": Window((0, 1), (30, 40))},
        is_masked=True,
    )
    return FieldData(dataset, info)


def chain(data, members=6, repeats=2, burn_in=0, gaps=()):
    """Return members around the truth of the test part: spread 1 for the background, else 0.5."""
    rng = np.random.default_rng(1)
    truth, dims = data.tensor()[0, ..., 0].numpy(), ("sample", "member", "time", "latitude", "longitude")

    def around(spread):
        drawn = rng.normal(size=(repeats, members + 1, *truth.shape)).astype("f4") * spread
        return xr.Dataset(
            {"u": (dims, truth + drawn[:, 1:] - drawn[:, :1])}, coords={"time": data.times().values}
        )

    value = np.zeros((repeats, 10, 4))
    value[:, list(gaps)] = np.nan
    index = np.broadcast_to([5, 6, 20, 40], value.shape)
    observations = xr.Dataset(
        {"index": (("sample", "time", "obs"), index), "value": (("sample", "time", "obs"), value)}
    )
    return AnalysisFields(around(0.5), around(1.0), observations, burn_in)


def value(evaluation, metric, subject, lead="all"):
    return evaluation.scores()[metric][subject][str(lead)]


def test_forecast_scores_are_those_of_the_formula():
    data = fields().part("test")
    found = evaluate({"model": Scale(data.info, 0.5)}, data, [PersistenceSpec()], [1, 2], [RMSESpec()])
    weights = (np.cos(np.deg2rad(LATITUDE))[:, None] * MASK)[None]
    for lead in (1, 2):
        # Starts from record 29 on: 10 pairs at lead 1, 9 at lead 2.
        verified = np.arange(29 + lead, 40)
        for subject, factor in (("model", 0.5**lead), ("persistence", 1.0)):
            error = factor * VALUES[verified - lead] - VALUES[verified]
            expected = np.sqrt((weights * error**2).sum() / (weights.sum() * len(verified)))
            assert value(found, "rmse", subject, lead) == pytest.approx(expected, rel=1e-5)
    table = found.table.set_index(["subject", "lead"])
    assert table.loc[("model", 1), "cases"].item() == 10
    assert table.loc[("model", 2), "cases"].item() == 9
    assert set(found.table["units"]) == {"K"}


def test_an_analysis_has_one_value_beside_its_background_and_the_climatology_of_the_same_times():
    data = fields().part("test")
    subjects = {"model": Scale(data.info, 0.0), "analysis": chain(data, burn_in=4)}
    found = evaluate(
        subjects, data, [PersistenceSpec(), ClimatologySpec()], [2], [RMSESpec(), SpreadSkillSpec()]
    )
    assert value(found, "rmse", "analysis") < value(found, "rmse", "analysis.background")
    assert value(found, "spread_skill", "analysis") == pytest.approx(1.0, abs=0.1)
    mean = VALUES[:30].mean(axis=0)
    weights = np.cos(np.deg2rad(LATITUDE))[:, None] * MASK
    error = VALUES[34:] - mean
    expected = np.sqrt((weights * error**2).sum() / (6 * weights.sum()))
    assert value(found, "rmse", "climatology") == pytest.approx(expected, rel=1e-5)
    rows = found.table[(found.table["metric"] == "rmse") & found.table["lead"].isna()]
    assert dict(zip(rows["subject"], rows["pairs"], strict=True)) == {
        "model": "forecast",
        "persistence": "forecast",
        "analysis": "analysis",
        "analysis.background": "analysis",
        "climatology": "analysis",
    }


def test_times_without_observations_are_no_analysis_times():
    data = fields().part("test")
    found = evaluate(
        {"analysis": chain(data, repeats=1, gaps=(0, 3), burn_in=1)}, data, [], [1], [RMSESpec()]
    )
    assert found.table["cases"].tolist() == [7, 7]


def test_probabilistic_metrics_are_left_out_where_there_is_no_ensemble():
    data = fields().part("test")
    metrics = [CRPSSpec(), SpreadSkillSpec(), RankHistogramSpec()]
    found = evaluate({"model": Scale(data.info, 0.9), "analysis": chain(data)}, data, [], [1], metrics)
    scored = found.table.groupby("subject")["metric"].unique().map(set).to_dict()
    assert scored["model"] == {"crps"}
    assert scored["analysis"] == {
        "crps",
        "spread_skill",
        "rank_histogram",
        "rank_histogram.slope",
        "rank_histogram.curvature",
    }


def test_a_model_that_blows_up_scores_infinity_and_spoils_no_other_subject():
    data = fields().part("test")
    subjects = {"wild": Scale(data.info, 1e30), "tame": Scale(data.info, 0.5)}
    found = evaluate(subjects, data, [], [1, 2], [RMSESpec(), ACCSpec()])
    assert math.isinf(value(found, "rmse", "wild", 2))
    assert value(found, "acc", "wild", 2) == -math.inf
    assert math.isfinite(value(found, "rmse", "wild", 1))
    assert math.isinf(value(found, "rmse", "wild"))
    assert math.isfinite(value(found, "rmse", "tame"))


def test_several_variables_have_their_own_scores_and_a_mean_where_units_agree():
    data = fields(("u", "v"), ("K", "m")).part("test")
    found = evaluate({"model": Scale(data.info, 0.5)}, data, [], [1], [RMSESpec(), ACCSpec()]).scores()
    assert found["rmse[v]"]["model"]["1"] == pytest.approx(2 * found["rmse[u]"]["model"]["1"])
    assert "rmse" not in found
    assert found["acc"]["model"]["1"] == pytest.approx(
        (found["acc[u]"]["model"]["1"] + found["acc[v]"]["model"]["1"]) / 2
    )


def test_a_metric_that_comes_twice_is_named_by_its_options():
    data = fields().part("test")
    metrics = [RMSESpec(), RMSESpec(average="time_mean")]
    found = evaluate({"model": Scale(data.info, 0.5)}, data, [], [1], metrics)
    assert list(found.scores()) == ["rmse", "rmse.time_mean"]


def test_the_table_survives_parquet_and_the_mapping_json(tmp_path):
    data = fields().part("test")
    found = evaluate(
        {"model": Scale(data.info, 0.5), "analysis": chain(data)},
        data,
        [ClimatologySpec()],
        [1],
        [RMSESpec()],
    )
    found.table.to_parquet(tmp_path / "scores.parquet")
    stored = pd.read_parquet(tmp_path / "scores.parquet")
    pd.testing.assert_frame_equal(stored, found.table)
    assert json.loads(json.dumps(score_mapping(stored))) == found.scores()


def test_curves_stand_side_by_side_for_forecasts_and_analyses():
    data = fields().part("test")
    metrics = [RankHistogramSpec(), EnergySpectrumSpec(axis="longitude")]
    found = evaluate(
        {"model": Scale(data.info, 0.5), "analysis": chain(data)}, data, [ClimatologySpec()], [1], metrics
    )
    spectrum = found.curves["energy_spectrum"]
    assert spectrum.dims == ("subject", "variable", "source", "lead", "wavenumber")
    assert np.isfinite(spectrum.sel(subject="model", lead=1)).all()
    assert np.isnan(spectrum.sel(subject="analysis", lead=1)).all()
    ranks = found.curves["rank_histogram"].sel(subject="analysis", lead=0)
    assert float(ranks.sum()) == pytest.approx(1.0)


def test_examples_hold_the_last_fields_and_the_sites_that_were_observed():
    data = fields().part("test")
    subjects = {"model": Scale(data.info, 0.5), "analysis": chain(data)}
    examples = evaluate(subjects, data, [], [1, 2], [RMSESpec()]).examples
    model = examples["model"]["u"]
    truth = np.where(MASK == 1, VALUES[39], np.nan)
    np.testing.assert_array_equal(model.sel(source="truth", lead=2).isel(time=0), truth)
    np.testing.assert_allclose(
        model.sel(source="forecast", lead=2).isel(time=0),
        np.where(MASK == 1, 0.25 * VALUES[37], np.nan),
        rtol=1e-6,
    )
    analysis = examples["analysis"]
    assert set(analysis["source"].values) == {"truth", "analysis", "background", "spread"}
    # Cells 5, 6, 20 and 40 of a grid with 16 columns.
    assert analysis["site_longitude"].values[0].tolist() == [5.0, 6.0, 4.0, 8.0]
    assert analysis["site_latitude"].values[0].tolist() == [-60.0, -60.0, 0.0, 60.0]


def test_an_analysis_of_other_times_or_samples_is_refused():
    data = fields().part("test")
    other = chain(data)
    late = AnalysisFields(other.analysis.assign_coords(time=np.arange(10.0) + 100))
    with pytest.raises(ShapeMismatch, match="no record at analysis time 100"):
        evaluate({"analysis": late}, data, [], [1], [RMSESpec()])
    with pytest.raises(EmptySelection, match="burn-in of 10"):
        evaluate({"analysis": chain(data, burn_in=10)}, data, [], [1], [RMSESpec()])


def test_members_of_size_one_are_a_deterministic_analysis():
    data = fields().part("test")
    whole = chain(data)
    mean = AnalysisFields(whole.analysis.mean("member", keepdims=True))
    found = evaluate({"analysis": mean}, data, [], [1], [RMSESpec(), SpreadSkillSpec()])
    members = evaluate({"analysis": AnalysisFields(whole.analysis)}, data, [], [1], [RMSESpec()])
    assert value(found, "rmse", "analysis") == pytest.approx(value(members, "rmse", "analysis"), rel=1e-5)
    assert "spread_skill" not in found.scores()


def test_torch_results_leave_no_graph():
    data = fields().part("test")
    model = Scale(data.info, torch.nn.Parameter(torch.tensor(0.5)))
    assert math.isfinite(value(evaluate({"model": model}, data, [], [1], [RMSESpec()]), "rmse", "model"))


def test_what_is_read_off_a_model_is_one_row_at_no_lead_and_of_no_variable():
    data = fields(("u", "v"), ("K", "m"))
    models = {
        "dmd": DMDSpec(rank=4).fit(data.part("train"), torch.Generator().manual_seed(0)),
        "scale": Scale(data.info, 0.9),
    }
    metrics = [RMSESpec(), PeriodErrorSpec(period=5)]
    found = evaluate(models, data.part("test"), [PersistenceSpec()], [1, 3], metrics)
    (row,) = found.table[found.table["metric"] == "period_error"].to_dict("records")
    assert (row["subject"], row["role"], row["pairs"], row["units"]) == ("dmd", "forecast", "model", "step")
    assert pd.isna(row["variable"])
    assert pd.isna(row["lead"])
    periods = models["dmd"].diagnostics()["period"].values
    nearest = np.abs(1 / np.nan_to_num(periods, nan=np.inf) - 1 / 5).argmin()
    assert found.scores()["period_error"] == {"dmd": {"all": pytest.approx(abs(periods[nearest] - 5))}}
    assert {"rmse[u]", "rmse[v]"} <= set(found.scores())
