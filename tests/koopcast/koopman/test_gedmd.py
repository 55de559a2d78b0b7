"""The generator: exact rates in observables that close, and the order of the differences."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.koopman import GEDMDSpec

MakeFields = Callable[..., FieldData]


def _slow_manifold(step: float, mu: float = -0.5, rate: float = -2.0) -> np.ndarray:
    """Return x' = μ x, y' = λ (y - x²), exactly: 1, x, y, x², .. close with rates 0, μ, λ, 2μ."""
    start = np.random.default_rng(0).uniform(-1, 1, size=(30, 2))
    time = step * np.arange(9)
    x = start[:, :1] * np.exp(mu * time)
    # y = a x² + c e^{λt} with 2μ a = λ (a - 1).
    a = rate / (rate - 2 * mu)
    y = a * x**2 + (start[:, 1:] - a * start[:, :1] ** 2) * np.exp(rate * time)
    return np.stack([x, y], axis=-1)


def _rates(make_fields: MakeFields, generator: torch.Generator, order: int, step: float) -> np.ndarray:
    spec = GEDMDSpec(coordinates="values", dictionary="polynomial", center=False, ridge=0.0, order=order)
    diagnostics = spec.fit(make_fields(_slow_manifold(step)), generator).diagnostics()
    return (diagnostics["rate_real"] + 1j * diagnostics["rate_imag"]).values / step


@pytest.mark.parametrize("order", [2, 4, 6])
def test_rates_of_the_slow_manifold_converge_at_the_order_of_the_differences(
    make_fields: MakeFields, generator: torch.Generator, order: int
) -> None:
    errors = []
    for step in (0.2, 0.1):
        found = _rates(make_fields, generator, order, step)
        errors.append(max(np.abs(found - exact).min() for exact in (0.0, -0.5, -1.0, -2.0)))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.3)
    assert errors[1] < 0.02


def test_one_step_is_the_exponential_and_forecasts_follow(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    values = _slow_manifold(0.05)
    spec = GEDMDSpec(coordinates="values", dictionary="polynomial", center=False, ridge=0.0, order=6)
    model = spec.fit(make_fields(values), generator)
    frames = torch.from_numpy(values)[..., None]
    assert torch.allclose(model.forecast(frames[:, :1], [1, 8]), frames[:, [1, 8]], atol=1e-6)
    assert bool((model.step(model.encode(frames[:, :1]))[:, 2] == 1).all())
    rates = model.diagnostics()["rate_real"].values
    assert np.allclose(np.exp(rates), model.diagnostics()["eigenvalue_real"].values)


def test_turning_rates_have_no_branch(make_fields: MakeFields, generator: torch.Generator) -> None:
    time = np.arange(40)
    wave = np.stack([np.cos(0.3 * time), np.sin(0.3 * time)], axis=-1)[None]
    spec = GEDMDSpec(coordinates="values", center=False, ridge=0.0, order=6)
    rates = spec.fit(make_fields(wave), generator).diagnostics()
    # The stencil of order 6 turns sin(w) into Σ: 0.3 to 1e-5.
    assert np.allclose(np.sort(rates["rate_imag"].values), [-0.3, 0.3], atol=2e-5)
    assert np.allclose(rates["rate_real"].values, 0, atol=1e-9)


def test_stretches_shorter_than_the_stencil_are_refused(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    short = make_fields(np.random.default_rng(0).normal(size=(3, 4, 2)))
    with pytest.raises(DataError, match="no 5 records in a row hold data, which order 4 needs"):
        GEDMDSpec(rank=2).fit(short, generator)
    assert [problem.path for problem in GEDMDSpec(rank=2).check(short.shape_info)] == [("order",)]
    mask = np.ones((12, 2), dtype=bool)
    mask[6] = False
    gap = make_fields(np.random.default_rng(0).normal(size=(1, 12, 2)), mask=mask)
    GEDMDSpec(rank=2).fit(gap, generator)
    with pytest.raises(DataError, match="no 7 records"):
        GEDMDSpec(rank=2, order=6).fit(gap, generator)
