"""Values of the field at grid points."""

from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from koopcast.observations.base import OperatorSpec, Placed, Scene


class IndexSpec(OperatorSpec):
    """The observed variables at the grid points that the locations choose."""

    kind: Literal["index"] = "index"

    reference = "the usual set-up of twin experiments"

    @property
    def is_of_cells(self) -> bool:
        """Return True."""
        return True

    def place(self, scene: Scene, generator: torch.Generator) -> Placed:
        """Return the cells of the sites."""
        return at_points(scene.locations.draw(scene.truth, scene.record, scene.batch, generator), scene)


def at_points(sites: Int[Tensor, "batch time site"], scene: Scene) -> Placed:
    """Return the cells of the observed variables at grid points."""
    index = cells(sites, scene.channels, scene.truth.info.num_channels)
    return Placed(index, None, len(scene.channels))


def cells(
    sites: Int[Tensor, "batch time site"], channels: tuple[int, ...], num_channels: int
) -> Int[Tensor, "batch time obs"]:
    """Return the cells of channels at each site, channel fastest; fixed sites stay one row."""
    fixed = [1 if sites.stride(dim) == 0 else size for dim, size in enumerate(sites.shape[:2])]
    rows = sites[: fixed[0], : fixed[1]]
    found = (rows[..., None] * num_channels + torch.tensor(channels)).flatten(2)
    return found.expand(sites.shape[0], sites.shape[1], -1)
