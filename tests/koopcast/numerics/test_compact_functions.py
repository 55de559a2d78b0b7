"""Test functions on the unit disc: values at the ends, gradients, partial integration."""

import math

import pytest
import torch
from scipy.integrate import quad

from koopcast.numerics.compact_functions import gradient, value

KINDS = ("wendland", "bump", "cosine")


def along(kind: str, radius: torch.Tensor) -> torch.Tensor:
    return value(kind, torch.stack([radius, torch.zeros_like(radius)], dim=-1))


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_one_at_the_centre_and_zero_from_the_rim_on(kind: str) -> None:
    radius = torch.tensor([0.0, 1.0, 1.5], dtype=torch.float64)
    assert torch.allclose(along(kind, radius), torch.tensor([1.0, 0.0, 0.0]).double(), atol=1e-12)
    outside = torch.tensor([[0.8, 0.8], [-1.0, 0.0]], dtype=torch.float64)
    assert torch.allclose(gradient(kind, outside), torch.zeros(2, 2).double(), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_that_of_the_value(kind: str) -> None:
    x = 1.4 * torch.rand(200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 0.7
    h = 1e-6
    for axis in range(2):
        move = h * torch.eye(2).double()[axis]
        change = (value(kind, x + move) - value(kind, x - move)) / (2 * h)
        assert torch.allclose(gradient(kind, x)[:, axis], change, atol=1e-7)


def test_the_integral_of_the_wendland_function_is_that_of_its_polynomial() -> None:
    # 2π ∫ (1 - r)⁶ (35 r² + 18 r + 3)/3 r dr; with (1 - r)⁶, r, r², r³ integrate to 1/56, 1/252, 1/840.
    exact = 2 * math.pi * (35 / 840 + 18 / 252 + 3 / 56) / 3
    line = torch.linspace(-1, 1, 401, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(line, line, indexing="ij"), dim=-1)
    assert value("wendland", grid).sum().item() * 0.005**2 == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_partial_integration_has_no_boundary_term(kind: str) -> None:
    # ∫ x·∇φ = -2 ∫ φ over the disc, both along the radius: ∫ φ' r² dr = -2 ∫ φ r dr.
    def slope(r: float) -> float:
        return gradient(kind, torch.tensor([[r, 0.0]], dtype=torch.float64))[0, 0].item()

    def height(r: float) -> float:
        return along(kind, torch.tensor([r], dtype=torch.float64)).item()

    left = quad(lambda r: slope(r) * r**2, 0, 1)[0]
    right = -2 * quad(lambda r: height(r) * r, 0, 1)[0]
    assert left == pytest.approx(right, rel=1e-8)
