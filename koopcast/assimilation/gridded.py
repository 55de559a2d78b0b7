"""Observations laid out on the cells of a state."""

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.assimilation.base import Observed


def on_cells(
    values: Float[Tensor, "batch obs"], observed: Observed, num_cells: int
) -> tuple[Float[Tensor, "batch cell"], Float[Tensor, "batch cell"]]:
    """Return values per observation as fields, 0 where nothing is observed, and the mask of what is.

    A cell that several observations see has their mean, each weighted by one over its error variance.
    """
    assert observed.cell is not None, "the observed cells are given"
    weight = observed.scale.square()
    empty = torch.zeros(len(weight), num_cells, dtype=weight.dtype, device=weight.device)
    total = empty.scatter_add(1, observed.cell, weight)
    share = weight / total.gather(1, observed.cell).where(weight > 0, 1.0)
    return empty.scatter_add(1, observed.cell, share * values), (total > 0).to(weight.dtype)
