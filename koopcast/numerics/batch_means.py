"""Means of correlated series, and how well they are known."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student

FEWEST = 4
"""Batches below which nothing is said."""


def mean_and_half_width(
    series: Sequence[Float[np.ndarray, "_"]], confidence: float = 0.95
) -> tuple[float, float]:
    """Return the mean of stationary series that are independent of one another, and its half-width.

    Each series of n values is cut into about √n batches of neighbours, whose means are nearly independent
    where the correlation in time is short beside √n; their scatter gives the error of the mean (batch
    means; Law 2015, section 9.5.3). The half-width is NaN where there are fewer than four batches in all.
    """
    whole = [np.asarray(each, dtype=np.float64) for each in series if len(each)]
    if not whole:
        return np.nan, np.nan
    batches = np.concatenate([_batch_means(each) for each in whole])
    mean = float(np.mean(np.concatenate(whole)))
    if batches.size < FEWEST:
        return mean, np.nan
    error = batches.std(ddof=1) / np.sqrt(batches.size)
    return mean, float(student.ppf((1 + confidence) / 2, batches.size - 1) * error)


def _batch_means(values: Float[np.ndarray, " time"]) -> Float[np.ndarray, " batch"]:
    """Return the means of batches of equal length; values at the start that fill none are left out."""
    length = max(1, int(np.ceil(np.sqrt(values.size))))
    count = values.size // length
    result: np.ndarray = values[values.size - count * length :].reshape(count, length).mean(axis=1)
    return result
