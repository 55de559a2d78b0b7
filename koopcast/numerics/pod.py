"""Proper orthogonal decomposition of frames that need not fit into memory."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.errors import DataError

OVERSAMPLING = 16
POWER_ITERATIONS = 4

Blocks = Callable[[], Iterable[Float[Tensor, "frame value"]]]
"""Hands out all frames, block by block, once a call."""


@dataclass(frozen=True)
class Modes:
    """The directions in which frames vary most, float64."""

    mean: Float[Tensor, " value"]
    directions: Float[Tensor, "value mode"]
    """Orthonormal; the largest entry of each is positive."""
    singular: Float[Tensor, " mode"]
    """Singular values of the frames without their mean, decreasing."""

    def refuse_fewer(self, wanted: int | None) -> None:
        """Refuse modes that the frames do not have; None takes what there is.

        Raises:
            DataError: There are fewer than wanted.
        """
        found = len(self.singular)
        if wanted is not None and found < wanted:
            raise DataError(
                f"{wanted} modes asked, but the frames vary in {found} directions", "lower `modes`"
            )

    def coefficients(self, frames: Float[Tensor, "frame value"]) -> Float[Tensor, "frame mode"]:
        """Return the components of frames along the directions."""
        return (frames.to(torch.float64) - self.mean) @ self.directions


def decompose(blocks: Blocks, modes: int, generator: np.random.Generator) -> Modes:
    """Return the leading modes of all frames by subspace iteration (Halko, Martinsson and Tropp 2011).

    Each iteration reads the blocks once and keeps a matrix of values times modes alone.

    Raises:
        DataError: The frames vary in no direction.
    """
    count, total = 0, torch.zeros(0, dtype=torch.float64)
    for block in blocks():
        count, total = count + len(block), block.sum(0, dtype=torch.float64) + (total if count else 0)
    mean, size = total / max(1, count), len(total)
    width = min(size, modes + OVERSAMPLING)

    def departures() -> Iterator[Float[Tensor, "frame value"]]:
        return (block.to(torch.float64) - mean for block in blocks())

    # A basis of the whole space needs no iteration.
    Q = torch.eye(size, dtype=torch.float64)
    if width < size:
        Q = torch.linalg.qr(torch.from_numpy(generator.standard_normal((size, width)))).Q
        for _ in range(POWER_ITERATIONS):
            Q = torch.linalg.qr(reduce(torch.add, (A.mT @ (A @ Q) for A in departures()))).Q
    values, W = torch.linalg.eigh(reduce(torch.add, ((A @ Q).mT @ (A @ Q) for A in departures())))
    singular, directions = values.flip(0).clamp_min(0).sqrt()[:modes], (Q @ W.flip(1))[:, :modes]
    # Singular values are roots of a Gram matrix here: half the digits of the largest are left. Departures
    # from a constant are rounding.
    rounding = 1e-13 * float(mean.norm()) * count**0.5
    keep = int((singular > max(rounding, 1e-7 * float(singular.max()))).sum())
    if keep == 0:
        raise DataError("the training fields do not vary", "train on more records or another variable")
    directions = directions[:, :keep]
    largest = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True))
    return Modes(mean, directions * largest.sign(), singular[:keep])
