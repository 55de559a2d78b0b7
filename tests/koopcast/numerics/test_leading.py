"""Leading eigenpairs and pivots."""

import numpy as np
import pytest
import torch

from koopcast.numerics.landmarks import pivoted
from koopcast.numerics.leading import leading_eigenpairs


@pytest.mark.parametrize("size", [40, 700])
def test_leading_eigenpairs_are_those_of_the_whole_decomposition(size: int) -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(size, 3)))
    A = torch.exp(-torch.cdist(x, x).square())
    values, V = leading_eigenpairs(A, 7)
    assert torch.allclose(values, torch.linalg.eigvalsh(A).flip(0)[:7], rtol=1e-10)
    assert torch.allclose(A @ V, V * values, atol=1e-9)
    assert torch.allclose(V.mT @ V, torch.eye(7, dtype=V.dtype), atol=1e-10)
    assert bool((V.gather(0, V.abs().argmax(dim=0, keepdim=True)) > 0).all())


def test_pivots_are_the_points_that_are_represented_worst() -> None:
    # Inner products: the longest first, then what is longest beside its direction; (2, 0) adds nothing.
    points = torch.tensor([[2.0, 0.0], [3.0, 0.0], [2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    assert pivoted(lambda x, y: x @ y.mT, points, 2).tolist() == [1, 3]
    assert pivoted(lambda x, y: x @ y.mT, points, 4).tolist() == [1, 3, 0, 2]
