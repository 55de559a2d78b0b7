import pytest
import torch

from koopcast.grids import Axis
from koopcast.random_fields.squared_exponential import SquaredExponentialSpec


def kernel(x, scale):
    return torch.exp(-((x[:, None] - x) ** 2) / (2 * scale**2))


@pytest.mark.parametrize(("length", "scale"), [(1.0, 0.2), (3.0, 0.05), (1.0, 4.0)])
def test_the_series_has_the_covariance_of_the_kernel_to_round_off(length, scale):
    basis = SquaredExponentialSpec(length_scale=scale).basis(Axis("x", 60, length=length))
    x = torch.linspace(0, length, 60, dtype=torch.float64)
    assert torch.allclose(basis.T @ basis, kernel(x, scale), atol=1e-13)


def test_on_a_periodic_axis_the_kernel_is_the_sum_of_its_images():
    basis = SquaredExponentialSpec(length_scale=0.3).basis(Axis("x", 40, periodic=True, length=1.0))
    x = torch.arange(40, dtype=torch.float64) / 40
    gap = x[:, None] - x
    images = sum(torch.exp(-((gap + shift) ** 2) / (2 * 0.3**2)) for shift in range(-6, 7))
    assert torch.allclose(basis.T @ basis, images, atol=1e-13)


def test_draws_have_the_stated_spread_and_a_finer_grid_holds_the_same_functions():
    law = SquaredExponentialSpec(sigma=2.0)
    coarse, fine = (
        law.draw((Axis("x", size, length=1.0),), 4000, torch.Generator().manual_seed(0)) for size in (11, 21)
    )
    assert torch.allclose(fine[:, ::2], coarse, atol=1e-12)
    # A variance of n normal values has a relative standard error of √(2/n).
    assert ((coarse.square().mean(dim=0) / 4 - 1).abs() < 5 * (2 / 4000) ** 0.5).all()


def test_on_two_axes_the_covariance_is_the_product_of_those_of_the_axes():
    axes = (Axis("y", 3, length=1.0), Axis("x", 4, length=0.5))
    fields = SquaredExponentialSpec(length_scale=0.5).draw(axes, 20_000, torch.Generator().manual_seed(1))
    values = fields.flatten(1)
    found = values.T @ values / len(values)
    y, x = torch.linspace(0, 1, 3, dtype=torch.float64), torch.linspace(0, 0.5, 4, dtype=torch.float64)
    # Standard error of a covariance of unit normals: at most √(2/n).
    assert (found - torch.kron(kernel(y, 0.5), kernel(x, 0.5))).abs().max() < 5 * (2 / 20_000) ** 0.5
