"""Real fields: monthly sea-surface temperature of the tropics, 54 months, forecast beside simple rivals."""

import numpy as np
import pytest
import torch

from koopcast.fields import FieldData
from koopcast.ingest import Split, ingest
from koopcast.koopman import DMDSpec, EDMDSpec, OptDMDSpec, TLSDMDSpec
from koopcast.metrics import ModeResidualSpec, PeriodErrorSpec
from koopcast.sources import NetCDFSpec
from koopcast.verification import evaluate

FIRST, LEADS = 41, (1, 3, 6)
"""Index of the last training month: forecasts start there and at every later month."""


@pytest.fixture(scope="module")
def fields() -> FieldData:
    pytest.importorskip("iris_sample_data", reason="the extra `examples` is not installed")
    split = Split(time={"train": "..2009-09", "test": "2009-10.."})
    return ingest(
        NetCDFSpec(path="pkg://iris_sample_data/ostia_monthly.nc"), ["surface_temperature"], split=split
    )


def _rmse(error: torch.Tensor) -> float:
    return float(error.square().mean().sqrt())


def test_two_frames_and_eight_components_beat_persistence_and_climatology(fields: FieldData) -> None:
    frames, cells = fields.tensor(dtype=torch.float64)[0], fields.always_valid()
    model = EDMDSpec(rank=8, delays=2, ridge=1e-2).fit(fields.part("train"), torch.Generator())
    climatology = torch.stack([frames[month:42:12].mean(dim=0) for month in range(12)])
    skill = {}
    for lead in LEADS:
        starts = range(FIRST, len(frames) - lead)
        past = torch.stack([frames[start - 1 : start + 1] for start in starts])
        truth = torch.stack([frames[start + lead] for start in starts])[:, cells]
        normal = torch.stack([climatology[(start + lead) % 12] for start in starts])[:, cells]
        ahead = model.forecast(past, [lead])[:, 0][:, cells]
        skill[lead] = [_rmse(other - truth) for other in (ahead, past[:, 1][:, cells], normal)]
    # Measured with an independent program: delay DMD, persistence, seasonal climatology, in K.
    expected = {1: [0.540, 0.715, 1.015], 3: [0.769, 1.714, 1.023], 6: [0.916, 2.200, 0.913]}
    for lead in LEADS:
        assert np.allclose(skill[lead], expected[lead], atol=6e-4)


def test_the_seasons_are_the_slowest_modes(fields: FieldData) -> None:
    model = EDMDSpec(rank=8, delays=2, ridge=1e-2).fit(fields.part("train"), torch.Generator())
    diagnostics = model.diagnostics()
    assert diagnostics["period"].values[[0, 2]] == pytest.approx([12, 6], rel=0.02)
    assert bool((diagnostics["residual"].values[:4] < 0.25).all())
    assert diagnostics["mode_field"].dims == ("mode", "latitude", "longitude")


def test_a_year_of_stacked_months_knows_the_annual_cycle_to_a_tenth_of_a_month(fields: FieldData) -> None:
    specs = (
        DMDSpec(rank=8, delays=12, ridge=1e-2),
        TLSDMDSpec(rank=8, delays=12),
        OptDMDSpec(rank=8, delays=12, stable=True),
    )
    models = {spec.kind: spec.fit(fields.part("train"), torch.Generator().manual_seed(0)) for spec in specs}
    metrics = [PeriodErrorSpec(period=12), ModeResidualSpec(period=12)]
    scores = evaluate(models, fields.part("test"), [], [1], metrics).scores()
    for kind in models:
        assert scores["period_error"][kind]["all"] <= 0.1
        assert scores["mode_residual"][kind]["all"] <= 0.05
