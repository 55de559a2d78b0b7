"""Trained maps on other grids than that of their training: refused, shifted, interpolated, converted."""

from dataclasses import replace

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from koopcast.errors import ShapeMismatch
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.layers.normaliser import FieldStatistics, Moments
from koopcast.layers.resampling import resample
from koopcast.mapping import MappingSpec
from koopcast.operators import AnyOperator, OperatorMap, OperatorSpec

AXES = (Axis("y", 9), Axis("x", 8, periodic=True))
PERIODIC = (False, True)
MAPPING = MappingSpec(inputs=("a",), outputs=("u",))
INFO = FieldsInfo({"a": "1", "u": "m"}, AXES, TimeAxis(1, ""), samples=4)
SMALL: list[dict[str, object]] = [
    {"kind": "cnn_no", "width": 3, "layers": 1},
    {"kind": "cnn_no", "width": 3, "layers": 1, "conv": "disco"},
    {"kind": "cnn_no", "width": 3, "layers": 1, "conv": "finite_diff"},
    {"kind": "unet_no", "width": 2, "multipliers": [1, 2]},
    {"kind": "local_fno", "width": 3, "layers": 2, "modes": 3},
    {"kind": "oformer", "width": 6, "layers": 1, "heads": 1},
    {"kind": "oformer", "width": 6, "layers": 1, "heads": 1, "decoder": "query"},
    {"kind": "vit_no", "width": 6, "layers": 1, "heads": 1, "channels": 3},
]
PLAIN = {"kind": "cnn_no", "conv": "plain", "width": 3, "layers": 1}


def spec_of(options: dict[str, object]) -> OperatorSpec:
    spec: OperatorSpec = TypeAdapter(AnyOperator).validate_python(options)
    return spec


def model_of(options: dict[str, object]) -> OperatorMap:
    spec, signature = spec_of(options), MAPPING.signature(INFO)
    assert list(spec.faults(signature)) == []
    draw = 3 + 2 * torch.randn(20, *INFO.shape, 2, generator=torch.Generator().manual_seed(5))
    valid = torch.ones(INFO.shape, dtype=torch.bool)
    moments = Moments.of(draw, valid.expand(draw.shape[:-1]))
    statistics = FieldStatistics(valid, moments, moments)
    network = spec.build(signature, torch.Generator().manual_seed(0))
    model = spec.assemble(network, INFO, signature, statistics)
    assert isinstance(model, OperatorMap)
    return model.finished(torch.ones(1), {})


def given(*sizes: int) -> Tensor:
    return 3 + torch.randn(2, 1, *sizes, 1, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("options", SMALL)
def test_converted_weights_serve_other_grids(options: dict[str, object]) -> None:
    model = model_of(options)
    for sizes in ((9, 8), (17, 16), (12, 11)):
        result = model.predict(given(*sizes))
        assert result.shape == (2, 1, *sizes, 1)
        assert bool(result.isfinite().all())


def test_plain_weights_are_refused_elsewhere_with_the_ways_out() -> None:
    model = model_of(PLAIN)
    assert model.predict(given(9, 8)).shape == (2, 1, 9, 8, 1)
    with pytest.raises(ShapeMismatch, match="trained on a grid") as caught:
        model.predict(given(17, 16))
    assert "allow_resolution_shift" in str(caught.value)
    shifted = model_of({**PLAIN, "allow_resolution_shift": True})
    assert shifted.predict(given(17, 16)).shape == (2, 1, 17, 16, 1)


@pytest.mark.parametrize("mode", ["bilinear", "fourier"])
def test_resample_io_interpolates_runs_and_interpolates_back(mode: str) -> None:
    plain, resampled = model_of(PLAIN), model_of({**PLAIN, "resample_io": mode})
    fine = given(17, 16)
    assert torch.equal(plain.predict(given(9, 8)), resampled.predict(given(9, 8)))
    coarse = resample(fine[:, 0], [9, 8], PERIODIC, mode)
    expected = resample(plain.predict(coarse[:, None])[:, 0], [17, 16], PERIODIC, mode)
    assert torch.allclose(resampled.predict(fine)[:, 0], expected, atol=1e-5)


@pytest.mark.parametrize("options", [*SMALL, PLAIN, {**PLAIN, "resample_io": "fourier"}])
def test_a_restored_map_is_the_same_to_the_bit(options: dict[str, object]) -> None:
    model = model_of(options)
    dumped = spec_of(options).model_dump(mode="json")
    restored = spec_of(dumped).restore(INFO, model.tensors(), MAPPING)
    assert isinstance(restored, OperatorMap)
    assert torch.equal(restored.predict(given(9, 8)), model.predict(given(9, 8)))
    assert list(spec_of(dumped).faults(MAPPING.signature(INFO))) == []
    if restored.spec.transfers():
        assert torch.equal(restored.predict(given(17, 16)), model.predict(given(17, 16)))


@pytest.mark.parametrize("options", SMALL)
def test_weights_come_from_the_generator_alone(options: dict[str, object]) -> None:
    signature = MAPPING.signature(INFO)
    states = []
    for seed in (7, 7, 8):
        torch.manual_seed(len(states))
        states.append(spec_of(options).build(signature, torch.Generator().manual_seed(seed)).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_bare_kinds_are_models_with_defaults() -> None:
    info = replace(INFO, axes=(Axis("y", 17), Axis("x", 17)))
    for kind in ("cnn_no", "unet_no", "local_fno", "oformer", "vit_no"):
        assert list(TypeAdapter(AnyOperator).validate_python(kind).faults(MAPPING.signature(info))) == []
