import numpy as np
import pytest

from koopcast.errors import InvalidInput
from koopcast.samplers.dpp import DPPSpec

PHI = np.vander(np.linspace(-1, 1, 5), 2)


def test_the_fit_to_every_draw_is_the_projection_in_mean() -> None:
    # Two rows fix two coefficients: c = Φ_S⁻¹ u_S. Under det² its mean is the least-squares fit to all rows.
    u = np.array([3.0, -1.0, 0.5, 2.0, 7.0])
    draw, generator = DPPSpec().drawing(PHI), np.random.default_rng(0)
    fits = []
    for _ in range(600):
        index = draw(2, generator).index
        fits.append(np.linalg.solve(PHI[index], u[index]))
    error = np.mean(fits, axis=0) - np.linalg.lstsq(PHI, u, rcond=None)[0]
    assert (np.abs(error) < 4 * np.std(fits, axis=0) / np.sqrt(600)).all()


def test_points_lie_apart() -> None:
    generator = np.random.default_rng(1)
    laid = [np.sort(DPPSpec().points(12, 1, generator).points[:, 0]) for _ in range(10)]
    # In the angle θ, u = (1 - cos θ) / 2, points of the arcsine law lie π / 12 apart in mean.
    gaps = np.concatenate([np.diff(np.arccos(1 - 2 * points)) for points in laid]) / (np.pi / 12)
    # Of independent points a share 1 - exp(-0.2) = 0.18 of the gaps would be below 0.2.
    assert (gaps < 0.2).mean() < 0.05


def test_any_count_but_the_number_of_features_is_refused() -> None:
    assert DPPSpec().faulty_count(2, 2) is None
    with pytest.raises(InvalidInput, match=r"one row a feature, 2, not 4; .* repeated_dpp"):
        DPPSpec().rows(PHI, 4, np.random.default_rng(0))
    with pytest.raises(InvalidInput, match="one row a feature, 10, not 12"):
        DPPSpec(degree=3).points(12, 2, np.random.default_rng(0))


def test_without_a_degree_there_are_as_many_functions_as_points() -> None:
    assert DPPSpec().num_functions(17, 3) == 17
    assert DPPSpec(degree=2).num_functions(17, 3) == 10
    assert DPPSpec(degree=2, basis="fourier").num_functions(17, 1) == 5
