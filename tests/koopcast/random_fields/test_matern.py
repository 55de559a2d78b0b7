import math

import pytest
import torch

from koopcast.errors import ShapeMismatch
from koopcast.grids import Axis
from koopcast.kernels.matern import MaternSpec
from koopcast.random_fields.matern import MaternFieldSpec

TOLERANCES = {0: 1e-3, 1: 1e-5, 2: 1e-6}


def kernel(gap, scale, degree):
    return MaternSpec(degree=degree).profile((gap / scale) ** 2)


@pytest.mark.parametrize("degree", [0, 1, 2])
@pytest.mark.parametrize(("length", "scale"), [(1.0, 0.2), (3.0, 0.1)])
def test_the_series_has_the_covariance_of_the_kernel(degree, length, scale):
    basis = MaternFieldSpec(degree=degree, length_scale=scale).basis(Axis("x", 61, length=length))
    x = torch.linspace(0, length, 61, dtype=torch.float64)
    expected = kernel(x[:, None] - x, scale, degree)
    assert (basis.T @ basis - expected).abs().max() < TOLERANCES[degree]
    assert torch.allclose((basis.T @ basis).diagonal(), torch.ones(61, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_on_a_periodic_axis_the_kernel_is_the_sum_of_its_images_up_to_its_variance(degree):
    basis = MaternFieldSpec(degree=degree, length_scale=0.3).basis(Axis("x", 40, periodic=True, length=1.0))
    x = torch.arange(40, dtype=torch.float64) / 40
    images = sum(kernel(x[:, None] - x + shift, 0.3, degree) for shift in range(-9, 10))
    assert (basis.T @ basis - images / images[0, 0]).abs().max() < TOLERANCES[degree]


def test_at_degree_0_only_the_last_value_tells_of_the_next():
    # The Ornstein-Uhlenbeck process: given the value before it, one has the variance 1 - e^{-2h/ℓ}, and no
    # more is known from all values before.
    basis = MaternFieldSpec(length_scale=0.2).basis(Axis("x", 11, length=1.0))
    covariance = basis.T @ basis
    past, now = covariance[:10, :10], covariance[:10, 10]
    left = 1 - now @ torch.linalg.solve(past, now)
    assert left.item() == pytest.approx(1 - math.exp(-2 * 0.1 / 0.2), abs=3e-3)
    weights = torch.linalg.solve(past, now)
    assert weights[-1].item() == pytest.approx(math.exp(-0.1 / 0.2), abs=3e-3)
    assert weights[:-1].abs().max() < 3e-3


def test_draws_have_the_stated_spread_and_a_finer_grid_holds_the_same_functions():
    law = MaternFieldSpec(sigma=2.0)
    coarse, fine = (
        law.draw((Axis("x", size, length=1.0),), 2000, torch.Generator().manual_seed(0)) for size in (11, 21)
    )
    assert torch.allclose(fine[:, ::2], coarse, atol=1e-11)
    # A variance of n normal values has a relative standard error of √(2/n).
    assert ((coarse.square().mean(dim=0) / 4 - 1).abs() < 5 * (2 / 2000) ** 0.5).all()


def test_fields_of_two_axes_are_refused():
    plane = (Axis("y", 5, length=1.0), Axis("x", 5, length=1.0))
    assert "one axis" in MaternFieldSpec().fault(plane)
    with pytest.raises(ShapeMismatch, match="one axis"):
        MaternFieldSpec().draw(plane, 1, torch.Generator())
