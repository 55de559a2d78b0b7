import numpy as np
from scipy.stats import chisquare, kstest

from koopcast.samplers.iid import IIDSpec


def test_all_rows_are_alike() -> None:
    index = IIDSpec().rows(np.ones((10, 1)), 10_000, np.random.default_rng(0)).index
    assert chisquare(np.bincount(index, minlength=10)).pvalue > 1e-3


def test_every_coordinate_is_uniform() -> None:
    points = IIDSpec().points(2000, 3, np.random.default_rng(1)).points
    assert all(kstest(column, "uniform").pvalue > 1e-3 for column in points.T)
