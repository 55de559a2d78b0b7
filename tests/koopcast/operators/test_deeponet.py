"""Deep operator network and its baseline as models: options, rules, normalisation, places, storage."""

import math

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from koopcast.errors import OutsideDomain, ShapeMismatch
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.layers.normaliser import FieldStatistics, Moments
from koopcast.mapping import MappingSpec
from koopcast.operators import AnyOperator
from koopcast.operators.deeponet import DeepONetSpec
from koopcast.operators.fnn import FNNSpec
from koopcast.operators.sensing import predict_at
from koopcast.operators.trained import OperatorMap

INFO = FieldsInfo({"u": "1", "s": "1"}, (Axis("x", 21, length=2.0),), TimeAxis(5, 0.1))
PLANE = FieldsInfo(
    {"u": "1", "s": "1", "v": "1"}, (Axis("y", 9, length=1.0), Axis("x", 8, periodic=True)), TimeAxis(1, "")
)
TO_COME = MappingSpec(inputs=("u",), outputs=("s",), given=1, predicted=4)
SAME = MappingSpec(inputs=("u",), outputs=("s", "v"))


def statistics_of(info):
    draw = 5 + 3 * torch.randn(40, *info.shape, info.num_channels, generator=torch.Generator().manual_seed(5))
    valid = torch.ones(info.shape, dtype=torch.bool)
    moments = Moments.of(draw, valid.expand(draw.shape[:-1]))
    return FieldStatistics(valid, moments, moments, Moments.of_cells(draw))


def model_of(spec, info=INFO, mapping=TO_COME):
    signature = mapping.signature(info)
    network = spec.build(signature, torch.Generator().manual_seed(0))
    model = spec.assemble(network, info, signature, statistics_of(info))
    assert isinstance(model, OperatorMap)
    return model.finished(torch.ones(len(signature.outputs)), {})


def fields(info, count=3, frames=1, channels=1):
    return 5 + torch.randn(count, frames, *info.shape, channels, generator=torch.Generator().manual_seed(2))


def problems(spec, info=INFO, mapping=TO_COME):
    return [(problem.path, problem.message) for problem in spec.faults(mapping.signature(info))]


@pytest.mark.parametrize("kind", ["deeponet", "fnn"])
def test_the_bare_kind_is_a_model_with_defaults(kind):
    spec = TypeAdapter(AnyOperator).validate_python(kind)
    assert problems(spec) == problems(spec, PLANE, SAME) == []
    assert not spec.transfers()
    assert model_of(spec).predict(fields(INFO)).shape == (3, 4, 21, 1)
    assert model_of(spec, PLANE, SAME).predict(fields(PLANE)).shape == (3, 1, 9, 8, 2)


def test_sensors_that_the_grid_does_not_have_are_refused():
    assert problems(DeepONetSpec(sensors=22)) == [
        (("sensors",), "22 is above 21, the points of axis 'x'; lower it")
    ]
    assert problems(DeepONetSpec(sensors=(5, 9)), PLANE, SAME) == [
        (("sensors", 1), "9 is above 8, the points of axis 'x'; lower it")
    ]
    assert problems(FNNSpec(sensors=(5, 4, 3)), PLANE, SAME)[0][0] == ("sensors",)
    assert problems(DeepONetSpec(sensors=(5, 8)), PLANE, SAME) == []


def test_modes_beyond_the_values_of_a_variable_are_refused():
    # 21 points, 4 records to come.
    assert problems(DeepONetSpec(basis="pod", p=84)) == []
    assert problems(DeepONetSpec(basis="pod", p=85))[0][0] == ("p",)


def test_what_is_not_a_grid_is_refused():
    points = FieldsInfo({"u": "1", "s": "1"}, (Axis("point", 50, geometry="index"),), TimeAxis(5, 1.0))
    assert "not a grid" in problems(DeepONetSpec(), points)[0][1]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"stacked": True, "branch_encoder": "cnn"}, "stacked"),
        ({"basis": "pod", "trunk": [64]}, "trunk"),
        ({"basis": "pod", "trunk_features": "fourier"}, "trunk_features"),
        ({"frequencies": 8}, "frequencies"),
        ({"sensors": "all"}, "from_data"),
    ],
)
def test_options_without_meaning_are_refused(options, name):
    with pytest.raises(ValidationError, match=name):
        DeepONetSpec(**options)


@pytest.mark.parametrize("spec", [DeepONetSpec(activation="tanh"), FNNSpec(activation="tanh")])
def test_outputs_at_places_are_those_of_the_fields_in_physical_units(spec):
    model = model_of(spec)
    given = fields(INFO)
    predicted = model.predict(given)
    # Node 10 of 21 on a length of 2 lies at 1.
    alone = predict_at(model, given, torch.tensor([[1.0]]))
    assert torch.allclose(alone[:, :, 0], predicted[:, :, 10], atol=1e-4)
    later = predict_at(model, given, torch.tensor([[1.0]]), torch.tensor([0.75]))
    assert torch.allclose(later[:, 0, 0], predicted[:, 2, 10], atol=1e-4)


def test_places_outside_the_domain_are_refused():
    with pytest.raises(OutsideDomain, match="which is 2 long"):
        predict_at(model_of(DeepONetSpec()), fields(INFO), torch.tensor([[2.1]]))


def test_a_place_of_a_periodic_axis_may_be_a_period_away():
    model = model_of(DeepONetSpec(), PLANE, SAME)
    given = fields(PLANE)
    # Without a length the period is 8, the number of points.
    near, far = (predict_at(model, given, torch.tensor([[0.5, place]])) for place in (3.0, 11.0))
    assert torch.allclose(near, far, atol=1e-5)


def test_other_grids_are_resampled_where_that_is_asked_for_and_places_stay():
    spec = DeepONetSpec(activation="tanh", resample_io="bilinear")
    assert spec.transfers()
    signature = TO_COME.signature(INFO)
    network = spec.build(signature, torch.Generator().manual_seed(0))
    model = spec.assemble(network, INFO, signature, statistics_of(INFO)).finished(torch.ones(1), {})
    given = fields(INFO)
    fine = torch.nn.functional.interpolate(given[..., 0], size=41, mode="linear", align_corners=True)
    predicted = model.predict(fine[..., None])
    assert predicted.shape == (3, 4, 41, 1)
    assert torch.allclose(predicted[:, :, ::2], model.predict(given), atol=1e-4)
    alone = predict_at(model, given, torch.tensor([[1.0]]))
    assert torch.allclose(alone[:, :, 0], predicted[:, :, 20], atol=1e-4)


def test_modes_answer_on_their_grid_alone():
    with pytest.raises(ShapeMismatch, match="training grid alone"):
        predict_at(model_of(DeepONetSpec(basis="pod")), fields(INFO), torch.tensor([[1.0]]))


def test_a_field_on_another_grid_is_refused_with_both_sizes():
    model = model_of(DeepONetSpec())
    finer = FieldsInfo(INFO.variables, (Axis("x", 41, length=2.0),), INFO.time)
    with pytest.raises(ShapeMismatch, match=r"\(21,\) and is asked for \(41,\)"):
        model.predict(fields(finer))


@pytest.mark.parametrize(
    "spec",
    [
        DeepONetSpec(sensors=5, trunk_features="fourier", stacked=True, p=6),
        DeepONetSpec(branch_encoder="cnn", branch=(4, 8)),
        DeepONetSpec(basis="pod", p=6),
        DeepONetSpec(basis="pod", p=6, resample_io="fourier"),
        FNNSpec(coordinate_features="fourier", hidden=(8,)),
    ],
)
def test_a_restored_model_is_the_same_to_the_bit(spec):
    signature = TO_COME.signature(INFO)
    network = spec.build(signature, torch.Generator().manual_seed(0))
    targets = torch.randn(30, 21, 4, generator=torch.Generator().manual_seed(1))
    spec.calibrate(network, lambda: iter([(targets, targets)]))
    model = spec.assemble(network, INFO, signature, statistics_of(INFO)).finished(torch.ones(1), {})
    again = type(spec).model_validate(spec.model_dump(mode="json")).restore(INFO, model.tensors(), TO_COME)
    given = fields(INFO)
    assert torch.equal(again.predict(given), model.predict(given))
    assert again.card()["parameters"] == model.card()["parameters"]


def test_with_modes_and_a_linear_branch_least_squares_find_the_integral():
    # A branch without hidden layers is a linear map of the input, and so is the integral.
    spec = DeepONetSpec(basis="pod", branch=(), p=6, normalize_input="none", normalize_output="none")
    mapping = MappingSpec(inputs=("u",), outputs=("s",))
    signature = mapping.signature(INFO)
    network = spec.build(signature, torch.Generator().manual_seed(0))
    x = torch.linspace(0, 1, 21)
    waves = torch.stack([torch.cos(k * math.pi * x) for k in range(1, 7)])
    weights = torch.randn(100, 6, generator=torch.Generator().manual_seed(3))
    u = weights @ waves
    s = weights @ torch.stack([torch.sin(k * math.pi * x) / (k * math.pi) for k in range(1, 7)])
    spec.calibrate(network, lambda: iter([(u[..., None], s[..., None])]))
    functions = network.basis.functions[0]
    coefficients = torch.linalg.lstsq(functions.T, (s - network.basis.mean).T).solution.T
    (layer,) = network.branch[1].layers
    solution = torch.linalg.lstsq(
        torch.cat((u, torch.ones(100, 1)), 1), coefficients, driver="gelsd"
    ).solution
    layer.weight.data, layer.bias.data = solution[:-1], solution[-1]
    assert torch.allclose(network(u[..., None])[..., 0], s, atol=1e-4)
