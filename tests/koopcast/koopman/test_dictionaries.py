"""Every dictionary: counts, values by hand, and systems that it closes."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.koopman import EDMDSpec, ResDMDSpec
from koopcast.koopman.dictionaries import AnyDictionary
from koopcast.koopman.dictionaries.base import DictionarySpec

MakeFields = Callable[..., FieldData]
RNG = np.random.default_rng(6)
MONOMIALS = {"dictionary": {"kind": "polynomial", "degree": 2}}
WAVES = {"dictionary": {"kind": "fourier", "waves": 2}}
ALL = (
    {"kind": "linear"},
    {"kind": "polynomial", "degree": 3},
    {"kind": "rbf", "centers": 7},
    {"kind": "rbf", "centers": 7, "kernel": "exponential", "unit": "spread"},
    {"kind": "fourier", "waves": 3},
    {"kind": "fourier", "waves": 4, "angles": "circles"},
    {"kind": "random_fourier", "features": 9},
    {"kind": "random_fourier", "features": 9, "kernel": "laplacian"},
    {"kind": "indicator", "cells": 5},
    {"kind": "combined", "parts": [MONOMIALS, WAVES]},
    {"kind": "combined", "how": "product", "parts": [MONOMIALS, WAVES]},
    {"kind": "combined", "how": "product", "parts": [
        {"dictionary": "linear", "coordinates": [0]},
        {"dictionary": {"kind": "combined", "parts": [MONOMIALS, WAVES]}, "coordinates": [1, 3]},
    ]},
)  # fmt: skip


def _dictionary(options: object) -> DictionarySpec:
    return TypeAdapter(AnyDictionary).validate_python(options)


@pytest.mark.parametrize("options", ALL)
def test_a_dictionary_gives_the_count_that_it_declares_and_starts_with_one(
    generator: torch.Generator, options: object
) -> None:
    dictionary = _dictionary(options)
    u = torch.from_numpy(RNG.normal(size=(30, 4)))
    lifted = dictionary.lift(u, dictionary.prepare(u, generator))
    assert lifted.shape == (30, dictionary.num_observables(4))
    assert bool((lifted[:, :1] == 1).all())
    assert bool(lifted.isfinite().all())


def test_exponential_bells_have_their_values_and_unit() -> None:
    u = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 3.0], [0.0, -3.0]], dtype=torch.float64)
    dictionary = _dictionary(
        {"kind": "rbf", "centers": 4, "kernel": "exponential", "unit": "spread", "width": 0.5}
    )
    tensors = dictionary.prepare(u, torch.Generator())
    assert float(tensors["width"]) == 1.5
    tensors["centers"] = torch.tensor([[0.0, 4.0]], dtype=torch.float64)
    lifted = dictionary.lift(torch.tensor([[3.0, 0.0]], dtype=torch.float64), tensors)
    assert lifted.tolist() == [[1, pytest.approx(math.exp(-5 / 1.5))]]


def test_fourier_functions_are_those_of_the_box_and_of_circles(generator: torch.Generator) -> None:
    u = torch.tensor([[0.0], [4.0], [1.0]], dtype=torch.float64)
    box = _dictionary({"kind": "fourier", "waves": 2})
    # u = 1 in [0, 4]: θ = π/2.
    lifted = box.lift(u, box.prepare(u, generator))[2]
    assert torch.allclose(lifted, torch.tensor([1.0, 0, -1, 1, 0]).double(), atol=1e-12)
    circle = _dictionary({"kind": "fourier", "waves": 2, "angles": "circles"})
    angle = torch.linspace(0, 2 * math.pi, 9, dtype=torch.float64)
    points = 3 * torch.stack([angle.cos(), angle.sin()], dim=1) + 5
    expected = torch.stack(
        [torch.ones_like(angle), angle.cos(), (2 * angle).cos(), angle.sin(), (2 * angle).sin()], dim=1
    )
    assert torch.allclose(circle.lift(points, circle.prepare(points, generator)), expected, atol=1e-12)
    with pytest.raises(DataError, match="asks for pairs of coordinates, and there are 1"):
        circle.prepare(u, generator)


@pytest.mark.parametrize(("kernel", "power"), [("gaussian", 2), ("laplacian", 1)])
def test_random_features_stand_for_their_kernel(generator: torch.Generator, kernel: str, power: int) -> None:
    u = torch.from_numpy(RNG.normal(size=(12, 3)))
    dictionary = _dictionary({"kind": "random_fourier", "features": 40_000, "kernel": kernel})
    features = dictionary.lift(u, dictionary.prepare(u, generator))[:, 1:]
    scale = (u - u.mean(dim=0)).norm(dim=1).mean()
    exact = torch.exp(-((torch.cdist(u, u) / scale) ** power))
    # Variance of an entry is at most 3/(2 D): 6 standard errors.
    assert float((features @ features.mT - exact).abs().max()) < 6 * (1.5 / 40_000) ** 0.5


def test_products_are_all_monomials_and_nothing_twice(generator: torch.Generator) -> None:
    u = torch.tensor([[2.0, 3.0]], dtype=torch.float64)
    parts = [{"dictionary": MONOMIALS["dictionary"], "coordinates": [place]} for place in (0, 1)]
    product = _dictionary({"kind": "combined", "how": "product", "parts": parts})
    # (1, x, x²) ⊗ (1, y, y²) without x and y.
    found = sorted(product.lift(u, {})[0].tolist())
    assert found == sorted([1, 9, 6, 18, 4, 12, 36])
    union = _dictionary({"kind": "combined", "parts": parts})
    assert union.lift(u, {})[0].tolist() == [1, 4, 9]
    with pytest.raises(DataError, match="asks for coordinate 1, and there are 1, counted from 0"):
        union.prepare(u[:, :1], generator)


def test_indicators_make_a_finite_system_exact(make_fields: MakeFields, generator: torch.Generator) -> None:
    # A cycle of 5 states, on points of a line in disorder: the eigenvalues are the fifth roots of 1.
    order = np.array([3.0, -1.0, 4.0, 1.5, -2.0])
    values = order[(np.arange(20)[:, None] + np.arange(8)) % 5][..., None]
    spec = ResDMDSpec(coordinates="values", dictionary={"kind": "indicator", "cells": 5}, modes="all")
    model = spec.fit(make_fields(values), generator)
    diagnostics = model.diagnostics()
    found = np.angle(diagnostics["eigenvalue_real"] + 1j * diagnostics["eigenvalue_imag"])
    assert np.allclose(np.sort(found), 2 * np.pi / 5 * np.arange(-2, 3), atol=1e-9)
    assert diagnostics["verified"].values.all()
    frames = torch.from_numpy(values)[..., None]
    assert torch.allclose(model.forecast(frames[:, :1], [1, 7]), frames[:, [1, 7]], atol=1e-6)


def test_fourier_functions_close_a_rotation(make_fields: MakeFields, generator: torch.Generator) -> None:
    angle = 2 * np.pi * np.arange(30)[:, None] / 30 + 0.7 * np.arange(5)
    values = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    dictionary = {"kind": "fourier", "waves": 4, "angles": "circles"}
    spec = EDMDSpec(coordinates="values", dictionary=dictionary, ridge=0.0)
    diagnostics = spec.fit(make_fields(values), generator).diagnostics()
    found = (diagnostics["eigenvalue_real"] + 1j * diagnostics["eigenvalue_imag"]).values
    exact = np.exp(0.7j * np.arange(-4, 5))
    assert max(np.abs(found - value).min() for value in exact) < 1e-9
