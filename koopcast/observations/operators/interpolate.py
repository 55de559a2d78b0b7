"""Values of the field between grid points."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from koopcast.grids import FieldsInfo
from koopcast.numerics.geometry import domain_of
from koopcast.numerics.interpolation import Stencil, stencil
from koopcast.observations.base import Operator, OperatorSpec, Placed, Scene, at_times
from koopcast.observations.operators.index import cells
from koopcast.spec import Problem


class InterpolateSpec(OperatorSpec):
    """The observed variables at any coordinates, multilinear between grid points.

    It is exact for functions that are linear in each coordinate; longitudes and other closed axes go on past
    their seam. A site off the grid, or beside a masked point, reports nothing.
    """

    kind: Literal["interpolate"] = "interpolate"

    reference = "the forward operator of point observations; Press et al. 2007, section 3.6"

    def place(self, scene: Scene, generator: torch.Generator) -> Placed:
        """Return the stencils of the sites."""
        around, times = surroundings(scene, generator)
        num_channels = scene.truth.info.num_channels
        corners = torch.tensor(scene.channels) + around.points[..., None] * num_channels
        # (batch, time, site, corner, channel) -> (batch, time, obs, corner), channel fastest.
        index = corners.transpose(3, 4).flatten(2, 3)
        weights = around.weights.repeat_interleave(len(scene.channels), dim=2)
        shape = (-1, times, -1, -1)
        return Placed(
            index=cells(around.nearest, scene.channels, num_channels).expand(shape[:3]),
            operator=Interpolation(index.expand(shape), weights.expand(shape)),
            per_site=len(scene.channels),
            present=is_on_data(around, scene).repeat_interleave(len(scene.channels), dim=2),
        )

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Refuse axes along which nothing lies between two points."""
        for axis in fields.axes:
            if axis.name == "point":
                yield Problem((), "scattered points have nothing between them; use `index`")


@dataclass(frozen=True)
class Interpolation(Operator):
    """A weighted mean of a few cells for each observation."""

    index: Int[Tensor, "batch time obs corner"]
    weights: Float[Tensor, "batch time obs corner"]

    def of(self, cells: Float[Tensor, "batch member cell"], time: int) -> Float[Tensor, "batch member obs"]:
        """Return the means."""
        total: Tensor | float = 0.0
        for corner in range(self.index.shape[3]):
            index = self.index[:, time, None, :, corner].expand(-1, cells.shape[1], -1)
            total = total + cells.gather(2, index) * self.weights[:, time, None, :, corner]
        assert isinstance(total, Tensor)
        return total

    def at(self, times: Int[Tensor, " time"]) -> "Interpolation":
        """Return the stencils of these times."""
        return Interpolation(at_times(self.index, times), at_times(self.weights, times))


def surroundings(scene: Scene, generator: torch.Generator) -> tuple[Stencil, int]:
    """Return the stencils of the sites `(batch, time, site)`, one time where they stay; and how many times
    there are.
    """
    places = scene.locations.places(scene.truth, scene.record, scene.batch, generator).double()
    rows = places[:, :1] if places.stride(1) == 0 else places
    return stencil(domain_of(scene.truth), rows), places.shape[1]


def is_on_data(around: Stencil, scene: Scene) -> Tensor:
    """Return which sites are on the grid with data at every corner that counts, at every time."""
    valid = scene.truth.always_valid().flatten()
    return around.inside & (valid[around.points] | (around.weights == 0)).all(dim=-1)
