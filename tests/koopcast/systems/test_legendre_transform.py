import numpy as np
import pytest
import torch
from numpy.polynomial import legendre
from pydantic import ValidationError

from koopcast.random_fields.chebyshev_series import ChebyshevSeriesSpec
from koopcast.random_fields.constant import ConstantSpec
from koopcast.random_fields.periodic import PeriodicGaussianSpec
from koopcast.random_fields.power_series import PowerSeriesSpec
from koopcast.systems.legendre_transform import LegendreTransformSpec


def drawn(system, seed=0):
    return system.draw(torch.Generator().manual_seed(seed), {})


@pytest.mark.parametrize("law", [ChebyshevSeriesSpec(degree=19), PowerSeriesSpec(degree=12)])
def test_a_polynomial_is_the_sum_of_its_coefficients(law):
    fields = drawn(LegendreTransformSpec(input=law))
    x = LegendreTransformSpec(input=law).coordinates()["x"].numpy()
    assert np.allclose(legendre.legval(x, fields["s"]), fields["u"], atol=1e-9)


def test_a_constant_has_itself_and_no_other_coefficient():
    fields = drawn(LegendreTransformSpec(input=ConstantSpec(value=1.5), points=9))
    assert np.allclose(fields["s"], [1.5] + [0.0] * 8, atol=1e-12)


def test_coefficients_hold_the_mean_square_of_a_smooth_function():
    # Parseval: ∫ u² = Σ s_n² 2 / (2n + 1); 64 of them are enough for the default law.
    fields = drawn(LegendreTransformSpec(points=64))
    fine = drawn(LegendreTransformSpec(points=127))
    assert np.allclose(fine["s"][:64], fields["s"], atol=1e-9)
    nodes, weights = legendre.leggauss(80)
    square = weights @ legendre.legval(nodes, fields["s"]) ** 2
    assert (fields["s"] ** 2 * 2 / (2 * np.arange(64) + 1)).sum() == pytest.approx(square, rel=1e-12)
    assert np.allclose(legendre.legval(np.linspace(-1, 1, 64), fields["s"]), fields["u"], atol=1e-8)


def test_a_law_for_periodic_axes_is_refused():
    with pytest.raises(ValidationError, match="input: "):
        LegendreTransformSpec(input=PeriodicGaussianSpec())
