import numpy as np
import pytest
from scipy.signal import lfilter

from koopcast.numerics.batch_means import mean_and_half_width


def autoregressive(rho, size, seed):
    """A stationary AR(1) series with mean 3 and variance 1."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=size) * (1 - rho**2) ** 0.5
    noise[0] = generator.normal()
    return 3 + lfilter([1], [1, -rho], noise)


@pytest.mark.parametrize(("rho", "least"), [(0.0, 0.92), (0.9, 0.86)])
def test_the_interval_holds_the_mean_of_a_correlated_series_about_as_often_as_it_says(rho, least):
    hits = 0
    for seed in range(400):
        mean, half_width = mean_and_half_width([autoregressive(rho, 2000, seed)])
        hits += abs(mean - 3) <= half_width
    # The standard error of a share of 0.95 over 400 series is 0.011; batches of 45 shorten the interval at
    # a correlation time of 10 by a few per cent more.
    assert least < hits / 400 < 0.985


def test_an_interval_that_knows_no_correlation_would_be_far_too_short():
    values = autoregressive(0.9, 2000, 1)
    naive = 1.96 * values.std() / 2000**0.5
    # The variance of the mean is (1 + ρ) / (1 - ρ) = 19 times that of independent values.
    assert mean_and_half_width([values])[1] > 2.5 * naive


def test_series_that_are_independent_add_their_batches():
    many = [autoregressive(0.5, 400, seed) for seed in range(16)]
    mean, half_width = mean_and_half_width(many)
    assert mean == pytest.approx(np.mean(many))
    one = np.mean([mean_and_half_width([each])[1] for each in many])
    assert half_width == pytest.approx(one / 4, rel=0.15)


def test_too_few_values_have_a_mean_and_no_interval():
    assert mean_and_half_width([np.array([1.0, 3.0])])[0] == 2.0
    assert np.isnan(mean_and_half_width([np.array([1.0, 3.0])])[1])
    assert np.isnan(mean_and_half_width([np.array([])])[0])
