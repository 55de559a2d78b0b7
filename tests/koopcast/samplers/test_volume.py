from itertools import product

import numpy as np
import pytest
from scipy.stats import chisquare

from koopcast.errors import InvalidInput
from koopcast.samplers.volume import VolumeSpec

PHI = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 3.0]])
VALUES = np.array([2.0, -1.0, 5.0])
NU = np.diag(PHI @ np.linalg.inv(PHI.T @ PHI) @ PHI.T) / 2
WEIGHT = 1 / (3 * NU)
TUPLES = list(product(range(3), repeat=3))


def law() -> np.ndarray:
    """Return the density ∝ det(Σ w φ φᵀ) under ν³, by enumeration."""
    mass = [
        np.prod(NU[list(rows)]) * np.linalg.det((PHI[list(rows)].T * WEIGHT[list(rows)]) @ PHI[list(rows)])
        for rows in TUPLES
    ]
    return np.array(mass) / np.sum(mass)


def test_draws_follow_the_determinant_of_the_gram_matrix() -> None:
    draw, generator = VolumeSpec().drawing(PHI), np.random.default_rng(0)
    drawn = [tuple(draw(3, generator).index.tolist()) for _ in range(1500)]
    counts = np.array([drawn.count(rows) for rows in TUPLES])
    likely = law() > 1e-12
    assert counts[~likely].sum() == 0
    assert chisquare(counts[likely], 1500 * law()[likely]).pvalue > 1e-3


def test_under_that_law_the_weighted_fit_is_unbiased_without_any_error() -> None:
    rows = VolumeSpec().rows(PHI, 6, np.random.default_rng(1))
    assert np.allclose(rows.weight, WEIGHT[rows.index])
    mean = np.zeros(2)
    for rows_of, probability in zip(TUPLES, law(), strict=True):
        index = list(rows_of)
        if probability > 1e-12:
            root = np.sqrt(WEIGHT[index])
            c = np.linalg.lstsq(PHI[index] * root[:, None], VALUES[index] * root, rcond=None)[0]
            mean += probability * c
    assert np.allclose(mean, np.linalg.lstsq(PHI, VALUES, rcond=None)[0], atol=1e-12)


def test_independent_draws_from_the_same_density_are_biased() -> None:
    mean, total = np.zeros(2), 0.0
    for rows in TUPLES:
        index, mass = list(rows), np.prod(NU[list(rows)])
        if len(set(rows)) > 1:
            root = np.sqrt(WEIGHT[index])
            c = np.linalg.lstsq(PHI[index] * root[:, None], VALUES[index] * root, rcond=None)[0]
            mean, total = mean + mass * c, total + mass
    assert np.abs(mean / total - np.linalg.lstsq(PHI, VALUES, rcond=None)[0]).max() > 0.05


def test_fewer_rows_than_features_are_refused() -> None:
    with pytest.raises(InvalidInput, match="take 2 rows or more"):
        VolumeSpec().rows(PHI, 1, np.random.default_rng(0))
