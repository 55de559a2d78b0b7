import numpy as np
import torch

from koopcast.grids import Axis
from koopcast.random_fields.power_series import PowerSeriesSpec


def generator():
    return torch.Generator().manual_seed(0)


def test_a_series_is_the_polynomial_of_its_coefficients_over_the_whole_axis():
    fields = PowerSeriesSpec(degree=4, amplitude=3.0).draw((Axis("x", 30, length=5.0),), 2000, generator())
    coefficients = np.polynomial.polynomial.polyfit(np.linspace(0, 1, 30), fields.numpy().T, 7)
    assert abs(coefficients[5:]).max() < 1e-8
    assert abs(coefficients[:5]).max() <= 3 + 1e-9
    # Var U(-3, 3) = 3; the fourth moment 81/5 gives the standard error of its estimate.
    error = np.sqrt((81 / 5 - 9) / 2000)
    assert abs((coefficients[:5] ** 2).mean(axis=1) - 3).max() < 5 * error


def test_a_finer_grid_holds_the_same_function():
    coarse, fine = (PowerSeriesSpec().draw((Axis("x", size),), 3, generator()) for size in (11, 41))
    assert torch.allclose(fine[:, ::4], coarse, atol=1e-13)


def test_a_periodic_axis_is_refused():
    assert "does not close" in PowerSeriesSpec().fault((Axis("x", 8, periodic=True),))
    assert PowerSeriesSpec().fault((Axis("x", 8),)) is None
