import numpy as np
import torch
from numpy.polynomial import chebyshev

from koopcast.grids import Axis
from koopcast.random_fields.chebyshev_series import ChebyshevSeriesSpec


def generator():
    return torch.Generator().manual_seed(0)


def test_a_series_has_the_stated_degree_and_coefficients_uniform_on_minus_one_to_one():
    count, terms = 3000, 4
    fields = ChebyshevSeriesSpec(degree=3).draw((Axis("x", 20, length=3.0),), count, generator())
    coefficients = chebyshev.chebfit(np.linspace(-1, 1, 20), fields.numpy().T, 8)
    assert abs(coefficients[terms:]).max() < 1e-12
    assert abs(coefficients).max() <= 1 + 1e-12
    # Var U(-1, 1) = 1/3; the fourth moment 1/5 gives the standard error of its estimate.
    error = np.sqrt((1 / 5 - 1 / 9) / count)
    assert abs((coefficients[:terms] ** 2).mean(axis=1) - 1 / 3).max() < 5 * error


def test_a_series_in_two_variables_is_the_sum_of_products_with_axes_in_order():
    axes = (Axis("y", 9, length=1.0), Axis("x", 12, length=1.0))
    field = ChebyshevSeriesSpec(degree=2, amplitude=3.0).draw(axes, 1, generator())[0]
    c = 3 * (2 * torch.rand(1, 3, 3, generator=generator(), dtype=torch.float64)[0] - 1)
    y, x = np.meshgrid(np.linspace(-1, 1, 9), np.linspace(-1, 1, 12), indexing="ij")
    assert np.allclose(field, chebyshev.chebval2d(y, x, c.numpy()), atol=1e-13)
