"""Random features as operators: exact cases, choices by validation, storage, dynamics."""

from typing import Literal

import numpy as np
import pytest
import torch
import xarray as xr
from pydantic import ValidationError

from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.fitting import fit
from koopcast.grids import Axis, FieldsInfo, TimeAxis, Window
from koopcast.mapping import MappingSpec, Signature
from koopcast.operators.fitted import Examples
from koopcast.operators.linear_map import LinearMapSpec
from koopcast.operators.random_features import RandomFeaturesSpec
from koopcast.operators.random_features_network import FeatureNetwork
from koopcast.operators.trained import OperatorDynamics, OperatorMap
from koopcast.training import TrainingTask
from koopcast.training_spec import TrainingSpec

LINE = Signature(
    (Axis("x", 8, periodic=True, length=1.0),), ("a",), ("u",), 1, 1, TimeAxis(1, ""), ahead=False
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fields(pairs: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(pairs, 8, 1, generator=generator(seed))


def fitted(
    spec: RandomFeaturesSpec | LinearMapSpec,
    train: Examples,
    valid: Examples | None = None,
    signature: Signature = LINE,
    seed: int = 0,
) -> FeatureNetwork:
    network = spec.build(signature, generator(seed))
    spec.fit_network(network, train, valid, generator(seed))
    return network


def relative(found: torch.Tensor, truth: torch.Tensor) -> float:
    return float((found - truth).norm() / truth.norm())


def shocks(samples: int, times: int, parts: dict[str, Window] | None = None) -> FieldData:
    """Waves that turn and are damped by their size: a nonlinear map of period and amplitude."""
    draw = np.random.default_rng(1)
    x = 2 * np.pi * np.arange(16) / 16
    phase, size = draw.uniform(0, 2 * np.pi, (samples, 1, 1)), draw.uniform(0.5, 1, (samples, 1, 1))
    steps = np.arange(times)[None, :, None]
    values = size / (1 + 0.1 * size * steps) * np.sin(x + phase + 0.3 * steps)
    dataset = xr.Dataset({"u": (("sample", "time", "x"), values)}, coords={"time": np.arange(times)})
    info = FieldsInfo(
        {"u": "1"}, (Axis("x", 16, periodic=True, length=1.0),), TimeAxis(times, 1.0), samples, parts or {}
    )
    return FieldData(dataset, info)


def test_a_linear_operator_is_recovered_by_the_linear_map() -> None:
    W, train, test = torch.randn(8, 8, generator=generator(1)), fields(60), fields(20, seed=2)
    network = fitted(LinearMapSpec(ridge=0.0), Examples(train, (train.mT @ W).mT + 3.0))
    assert relative(network(test), (test.mT @ W).mT + 3.0) < 1e-6


def test_the_linear_map_is_ridge_regression_with_an_intercept() -> None:
    train, truth = fields(30), fields(30, seed=3)
    network = fitted(LinearMapSpec(ridge=0.1), Examples(train, truth))
    X, Y = train.flatten(1).double(), truth.flatten(1).double()
    X0, Y0 = X - X.mean(0), Y - Y.mean(0)
    penalty = 0.1 * X0.square().sum() / 8
    W = torch.linalg.solve(X0.mT @ X0 + penalty * torch.eye(8, dtype=X.dtype), X0.mT @ Y0)
    expected = Y.mean(0) + (fields(5, seed=4).flatten(1).double() - X.mean(0)) @ W
    torch.testing.assert_close(network(fields(5, seed=4)).flatten(1).double(), expected, rtol=1e-5, atol=1e-5)


def test_an_operator_in_the_span_of_the_neurons_is_recovered() -> None:
    # The teacher's neurons are those that the student will draw, of the same seed and the same inputs.
    spec = RandomFeaturesSpec(features=40, bandwidth=0.7, ridge=0.0, decode_energy=1.0)
    train, test = fields(200), fields(50, seed=2)
    teacher = fitted(spec, Examples(train, fields(200, seed=3)))
    teacher.head.copy_(torch.randn(teacher.head.shape, generator=generator(5), dtype=torch.float64))
    student = fitted(spec, Examples(train, teacher(train)))
    assert relative(student(test), teacher(test)) < 1e-5


def test_more_neurons_than_pairs_interpolate_as_the_penalty_goes_to_zero() -> None:
    train = Examples(fields(30), fields(30, seed=3))
    errors = [
        relative(
            fitted(RandomFeaturesSpec(features=120, bandwidth=1.0, ridge=ridge), train)(train.inputs),
            train.outputs,
        )
        for ridge in (1.0, 1e-3, 1e-6, 0.0)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-6 < errors[0]


def test_narrow_neurons_are_the_linear_map() -> None:
    # tanh z -> z as λ -> 0: what is left of the features is a linear function of the input.
    train, test = Examples(fields(40), fields(40, seed=3)), fields(10, seed=4)
    narrow = RandomFeaturesSpec(features=60, bandwidth=1e-4, ridge=1e-9, distribution="normal")
    linear = fitted(LinearMapSpec(ridge=0.0), train)
    assert relative(fitted(narrow, train)(test), linear(test)) < 1e-3


def test_validation_takes_the_bandwidth_and_ridge_of_the_smallest_error() -> None:
    train = Examples(fields(150), torch.sin(2 * fields(150)))
    valid = Examples(fields(50, seed=2), torch.sin(2 * fields(50, seed=2)))
    network = fitted(RandomFeaturesSpec(features=200, encode="none"), train, valid)
    curve = network.diagnostics()["validation_error"]
    bandwidth, ridge = network.chosen.tolist()
    assert float(curve.sel(bandwidth=bandwidth, ridge=ridge)) == float(curve.min())
    facts = network.facts()
    assert facts["validation_error"] == float(curve.min())
    fixed = RandomFeaturesSpec(features=200, bandwidth=bandwidth, ridge=ridge)
    assert torch.equal(fitted(fixed, train)(valid.inputs), network(valid.inputs))


@pytest.mark.parametrize("encode", ["pca", "fourier"])
def test_what_the_projection_leaves_out_is_not_seen(encode: Literal["pca", "fourier"]) -> None:
    # All inputs lie in the span of 1, cos and sin of the first wave, and so do the three components.
    x = 2 * torch.pi * torch.arange(8) / 8
    waves = torch.stack([torch.ones(8), 2 * torch.cos(x), 2 * torch.sin(x)])
    train = (torch.randn(80, 3, generator=generator()) @ waves)[..., None]
    spec = RandomFeaturesSpec(features=50, encode=encode, encode_dim=3, bandwidth=1.0, ridge=1e-6)
    network = fitted(spec, Examples(train, train.square()))
    high = 5 * torch.cos(3 * x)[:, None]
    torch.testing.assert_close(network(train + high), network(train), rtol=0.0, atol=1e-4)
    assert network.A.shape == (3, 50)


def test_waves_are_taken_of_each_channel() -> None:
    signature = Signature(LINE.axes, ("a", "b"), ("u",), 1, 1, TimeAxis(1, ""), ahead=False)
    spec = RandomFeaturesSpec(features=80, encode="fourier", encode_dim=1, bandwidth=0.5, ridge=1e-8)
    a = torch.randn(200, 1, 2, generator=generator()).expand(200, 8, 2).contiguous()
    network = fitted(spec, Examples(a, a[..., :1] * a[..., 1:]), signature=signature)
    assert relative(network(a), a[..., :1] * a[..., 1:]) < 1e-2


def test_modes_of_the_outputs_leave_the_energy_that_is_asked_for() -> None:
    train = Examples(fields(100), fields(100, seed=3) * torch.logspace(0, -4, 8)[:, None])
    counts = [
        len(fitted(RandomFeaturesSpec(features=20, bandwidth=1.0, decode_energy=energy), train).decoder)
        for energy in (0.5, 0.999, 1 - 1e-9)
    ]
    assert counts[0] == 1
    assert counts == sorted(counts)
    assert counts[-1] == 8


def test_weights_count_as_repeated_pairs() -> None:
    inputs, outputs = fields(30), fields(30, seed=3)
    count = torch.randint(1, 4, (30,), generator=generator(1))
    spec = RandomFeaturesSpec(features=10, bandwidth=1.0, ridge=1e-3, decode_energy=1.0)
    # The scale and centre of the code are those of the pairs, so equal extremes and a mean of 0 are kept.
    inputs = torch.cat([inputs, -inputs])
    outputs, count = torch.cat([outputs, outputs]), torch.cat([count, count])
    weighted = fitted(spec, Examples(inputs, outputs, count.double()))
    repeated = fitted(spec, Examples(inputs.repeat_interleave(count, 0), outputs.repeat_interleave(count, 0)))
    torch.testing.assert_close(weighted(inputs), repeated(inputs), rtol=1e-4, atol=1e-5)


def test_equal_seeds_give_equal_networks() -> None:
    train = Examples(fields(40), fields(40, seed=3))
    spec = RandomFeaturesSpec(features=30, bandwidth=1.0, distribution="data_pairs")
    one, same, other = (fitted(spec, train, seed=seed)(fields(5, seed=9)) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_map_and_its_stored_copy_say_the_same_to_the_bit() -> None:
    data = shocks(60, 6, {"train": Window((0, 40), (0, 6)), "valid": Window((40, 50), (0, 6))})
    mapping = MappingSpec(given=1, predicted=5)
    spec = RandomFeaturesSpec(features=100)
    model = fit(TrainingTask(spec, TrainingSpec(), data, mapping), seed=0)
    assert isinstance(model, OperatorMap)
    copy = spec.restore(data.info, model.tensors(), mapping)
    assert isinstance(copy, OperatorMap)
    given = data.tensor()[50:, :1]
    assert torch.equal(copy.predict(given), model.predict(given))
    assert copy.network.facts().items() <= model.card().items()
    assert relative(model.predict(given), data.tensor()[50:, 1:]) < 0.02


def test_dynamics_are_stepped_and_beat_the_linear_map_where_they_are_not_linear() -> None:
    data = shocks(40, 9, {"train": Window((0, 30), (0, 9))})
    truth = data.tensor()[30:]
    errors = {}
    for spec in (RandomFeaturesSpec(features=150), LinearMapSpec()):
        model = fit(TrainingTask(spec, TrainingSpec(), data), seed=0)
        assert isinstance(model, OperatorDynamics)
        errors[spec.kind] = relative(model.forecast(truth[:, :1], [1, 4])[:, 1], truth[:, 4])
        noise = model.noise_std()
        assert noise is not None
        assert noise.shape == (16,)
    assert errors["random_features"] < 0.2 * errors["linear_map"]


def test_another_grid_is_reached_by_interpolation_alone() -> None:
    data = shocks(30, 2)
    spec = RandomFeaturesSpec(features=50, resample_io="fourier")
    model = fit(TrainingTask(spec, TrainingSpec(), data, MappingSpec(predicted=1)), seed=0)
    assert isinstance(model, OperatorMap)
    coarse = data.tensor()[:, :1]
    phase = torch.fft.rfft(coarse[..., 0], n=16, dim=2)
    fine = torch.fft.irfft(phase, n=32, dim=2)[..., None] * 2
    torch.testing.assert_close(model.predict(fine)[:, :, ::2], model.predict(coarse), rtol=0.0, atol=1e-4)
    assert not RandomFeaturesSpec().transfers()


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(ValidationError, match="set encode to pca or fourier"):
        RandomFeaturesSpec(encode_dim=4)
    with pytest.raises(ValidationError, match="greater than 0"):
        RandomFeaturesSpec(bandwidth=0.0)
    (problem,) = RandomFeaturesSpec(encode="fourier", encode_dim=9).faults(LINE)
    assert problem.message == "9 is above 8, what the fields have; lower it"
    info = shocks(3, 4).info
    (problem,) = RandomFeaturesSpec(ridge=0.0, features=61).check(info)
    assert "61 are above 60" in problem.message
    assert not list(RandomFeaturesSpec(ridge=0.0, features=60).check(info))
    with pytest.raises(DataError, match=r"above five a training pair \(4 pairs\)"):
        fitted(RandomFeaturesSpec(ridge=0.0, features=21), Examples(fields(4), fields(4)))
    with pytest.raises(DataError, match="vary in 3 directions"):
        fitted(RandomFeaturesSpec(encode="pca", encode_dim=6), Examples(fields(4), fields(4)))
    with pytest.raises(DataError, match="inputs of the training pairs do not vary"):
        fitted(RandomFeaturesSpec(), Examples(torch.ones(6, 8, 1), fields(6)))
    with pytest.raises(DataError, match="outputs of the training pairs do not vary"):
        fitted(RandomFeaturesSpec(), Examples(fields(6), torch.ones(6, 8, 1)))
    large = Signature((Axis("x", 8000),), ("a",), ("u",), 1, 1, TimeAxis(1, ""), ahead=False)
    (problem,) = LinearMapSpec().faults(large)
    assert "64000000 weights are above 50000000" in problem.message
