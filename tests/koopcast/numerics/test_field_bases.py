import math

import pytest
import torch

from koopcast.numerics.field_bases import low_frequencies


@pytest.mark.parametrize("shape", [(8,), (9,), (4, 5), (2, 3, 4)])
@pytest.mark.parametrize("is_periodic", [True, False])
def test_waves_are_orthonormal_and_all_of_them_span_the_grid(
    shape: tuple[int, ...], is_periodic: bool
) -> None:
    cells = math.prod(shape)
    E = low_frequencies(shape, (is_periodic,) * len(shape), cells)
    torch.testing.assert_close(E.mT @ E, torch.eye(cells, dtype=E.dtype), rtol=0.0, atol=1e-12)


def test_low_frequencies_come_first() -> None:
    # On 8 x 8 periodic points: the constant, four waves of frequency 1 along one axis, four of it along both.
    E = low_frequencies((8, 8), (True, True), 9)
    j = torch.arange(8, dtype=torch.float64)
    rows, columns = torch.meshgrid(j, j, indexing="ij")
    low = torch.cos(2 * math.pi * rows / 8) * torch.sin(2 * math.pi * columns / 8) + 3
    kept = E @ (E.mT @ low.flatten())
    torch.testing.assert_close(kept, low.flatten(), rtol=0.0, atol=1e-12)
    high = torch.cos(4 * math.pi * rows / 8).flatten()
    assert (E.mT @ high).abs().max() < 1e-12
