"""Points that represent a kernel on a set."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

Kernel = Callable[[Tensor, Tensor], Tensor]


def pivoted(
    kernel: Kernel, points: Float[Tensor, "point coordinate"], count: int
) -> Int[Tensor, " landmark"]:
    """Return the pivots of the Cholesky factorisation of the Gram matrix, largest remainder first.

    Once nothing is left to represent, the first points not taken yet follow.
    """
    diagonal = torch.cat([kernel(part, part).diagonal() for part in points.split(64)])
    start = float(diagonal.max())
    columns = torch.zeros(len(points), count, dtype=points.dtype)
    chosen: list[int] = []
    for place in range(count):
        pivot = int(diagonal.argmax())
        if float(diagonal[pivot]) <= len(points) * torch.finfo(points.dtype).eps * start:
            rest = [index for index in range(len(points)) if index not in set(chosen)]
            return torch.tensor(chosen + rest[: count - place])
        column = kernel(points, points[pivot : pivot + 1])[:, 0]
        column = column - columns[:, :place] @ columns[pivot, :place]
        columns[:, place] = column / diagonal[pivot].sqrt()
        diagonal = (diagonal - columns[:, place].square()).clamp_min(0)
        diagonal[pivot] = 0
        chosen.append(pivot)
    return torch.tensor(chosen)
