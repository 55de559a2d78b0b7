"""From a model and data to scores before and after: cases, ranks, time."""

import numpy as np
import pytest
import torch
import xarray as xr

from koopcast.dynamics import Semilinear
from koopcast.errors import EmptySelection, ShapeMismatch
from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo, TimeAxis
from koopcast.integrators.etdrk4 import ETDRK4Spec
from koopcast.layers.normaliser import FieldStatistics, Moments
from koopcast.mapping import MappingSpec
from koopcast.operators.sfno import SFNOSpec
from koopcast.operators.trained import OperatorMap
from koopcast.refinement import Equation, Prediction, SpectralRefinerSpec
from koopcast.refinement.cases import predicted
from koopcast.refinement.comparison import UNITS, compare
from koopcast.refinement.residual import Residual
from koopcast.systems import NavierStokesSpec

SYSTEM = NavierStokesSpec(points=16)
MAPPING = MappingSpec(given=3, predicted=4)


@pytest.fixture(scope="module")
def data() -> FieldData:
    problem = SYSTEM.problem()
    assert isinstance(problem, Semilinear)
    step = ETDRK4Spec().build(problem, 0.02)
    v = problem.to_spectral(SYSTEM.initial(5, torch.Generator().manual_seed(0)))
    frames = [problem.to_physical(v)]
    for _ in range(7):
        for _ in range(5):
            v = step(v)
        frames.append(problem.to_physical(v))
    values = torch.stack(frames, dim=1)[..., 0].numpy()
    array = xr.DataArray(values, dims=("sample", "time", "y", "x"), coords={"time": 0.1 * np.arange(8)})
    info = FieldsInfo({"vorticity": "1"}, SYSTEM.describe().axes, TimeAxis(8, 0.1), samples=5)
    return FieldData(xr.Dataset({"vorticity": array}), info)


@pytest.fixture(scope="module")
def model(data: FieldData) -> OperatorMap:
    signature = MAPPING.signature(data.info)
    spec = SFNOSpec(modes=6, width=4, layers=1, latent_steps=8)
    fields = data.tensor()
    valid = torch.ones(16, 16, dtype=torch.bool)
    moments = Moments.of(fields, valid.expand(fields.shape[:-1]))
    network = spec.build(signature, torch.Generator().manual_seed(1))
    model = spec.assemble(network, data.info, signature, FieldStatistics(valid, moments, moments))
    finished = model.finished(torch.zeros(1), {})
    assert isinstance(finished, OperatorMap)
    return finished


@pytest.fixture(scope="module")
def equation() -> Equation:
    problem = SYSTEM.problem()
    assert isinstance(problem, Semilinear)
    return Equation(problem, SYSTEM.describe().axes, 0.1)


def test_cases_are_the_first_records_of_each_sample_and_those_after_them(
    data: FieldData, model: OperatorMap
) -> None:
    cases, fields = predicted(model, data), data.tensor(dtype=torch.float64)
    assert torch.equal(cases.start, fields[:, 2])
    assert cases.truth is not None
    assert torch.equal(cases.truth, fields[:, 3:7])
    assert torch.allclose(cases.frames, model.predict(fields[:, :3].float()).double(), atol=1e-6)
    # 8 latent frames and the last one given, behind as many zeros
    assert cases.latent is not None
    assert cases.latent.shape == (5, 18, 16, 16, 1)
    assert len(predicted(model, data, 2).frames) == 2


def test_samples_that_are_too_short_are_refused(data: FieldData, model: OperatorMap) -> None:
    short = FieldData(
        data.dataset.isel(time=slice(5)),
        FieldsInfo(data.info.variables, data.info.axes, TimeAxis(5, 0.1), samples=5),
    )
    with pytest.raises(EmptySelection, match="5 records"):
        predicted(model, short)


def test_an_untrained_network_is_refined_to_the_solution_by_bias_or_weights(
    data: FieldData, model: OperatorMap, equation: Equation
) -> None:
    methods = {
        "bias": SpectralRefinerSpec(iterations=30),
        "all": SpectralRefinerSpec(iterations=30, parameters="all"),
    }
    result = compare(predicted(model, data, 3), equation, methods, training_seconds=12.0)
    errors = result.scores["rel_l2"]
    assert errors["predicted"] > 0.3
    assert errors["bias"] < 0.01 * errors["predicted"]
    assert errors["all"] < 0.05 * errors["predicted"]
    assert result.scores["seconds"]["training"] == 12.0
    assert result.scores["seconds"]["bias"] > 0
    assert set(result.scores) == set(UNITS)
    assert set(result.history["method"]) == {"bias", "all"}
    assert result.frames["bias"].shape == (3, 4, 16, 16, 1)


def test_ranks_agree_where_larger_errors_of_one_kind_leave_larger_residuals(
    data: FieldData, equation: Equation
) -> None:
    fields = data.tensor(dtype=torch.float64)
    sizes = torch.tensor([0.03, 0.01, 0.05, 0.02, 0.04], dtype=torch.float64).reshape(-1, 1, 1, 1, 1)
    truth = fields[:, 3:7]
    wrong = truth + sizes * truth[:1].roll(5, 2)
    prediction = Prediction(fields[:, 2], wrong, truth=truth)
    scores = compare(prediction, equation, {}, 1.0).scores
    assert scores["rank_correlation"]["predicted"] == pytest.approx(1)
    residual = Residual(equation)
    norms = residual.norms(residual.coefficients(prediction.start, wrong), -1.0)
    assert scores["residual_dual_norm"]["predicted"] == pytest.approx(norms.mean().item())


def test_scores_need_the_truth(data: FieldData, equation: Equation) -> None:
    fields = data.tensor(dtype=torch.float64)
    with pytest.raises(ShapeMismatch, match="that were predicted"):
        compare(Prediction(fields[:, 0], fields[:, 1:]), equation, {}, 1.0)
