"""Physics-informed dynamic mode decomposition: the best map among those of one structure."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import PositiveInt
from torch import Tensor

from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.koopman.projection import Fit, ProjectedSpec, Projection, assembled, project
from koopcast.koopman.snapshots import Snapshots, firsts, read_snapshots
from koopcast.koopman.waves import shift_equivariant
from koopcast.models import Model
from koopcast.numerics.structured_maps import (
    orthogonal_map,
    stencil_map,
    symmetric_map,
    triangular_map,
)
from koopcast.spec import Problem
from koopcast.subsets import SubsetSpec

MAX_VALUES = 2000
"""Values of a frame up to which a map between all of them is stored."""
PROJECTED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "orthogonal": orthogonal_map,
    "symmetric": symmetric_map,
    "skew_symmetric": partial(symmetric_map, sign=-1),
}
"""Structures that a projection on orthonormal directions keeps."""


class PiDMDSpec(ProjectedSpec):
    """The best linear map of frames that has a structure which the physics asks for.

    In the leading singular directions of (stacked) frames: `orthogonal` (energy is conserved), `symmetric`
    (reversible, no oscillation), `skew_symmetric`. Between the values of a frame, cells in order of their
    axes and variables fastest: `diagonal`, `local` (each value follows from cells at most `reach` away along
    every axis; reach 1 on a line is tridiagonal), `upper_triangular` (from itself and later values alone).
    `circulant`: equivariant to shifts along the periodic axes, any map across the others; there the
    directions are Fourier modes. Structures are those of normalised anomalies: of values divided by one
    number a variable, times the root of the cell's area.
    """

    kind: Literal["pi_dmd"] = "pi_dmd"
    manifold: Literal[
        "circulant", "diagonal", "local", "orthogonal", "skew_symmetric", "symmetric", "upper_triangular"
    ] = "orthogonal"
    """The structure."""
    reach: PositiveInt = 1
    """For `local`: how many cells away a value still acts."""

    reference = "Baddoo, Herrmann, McKeon, Kutz & Brunton 2023"

    def own_rules(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Yield what the method alone rules out, and options that the structure does not have."""
        if self.manifold not in PROJECTED:
            for name, value in {"delays": 1, "svd": "auto"}.items():
                if getattr(self, name) != value:
                    yield Problem((name,), f"'{self.manifold}' maps frames as they are; leave {name} out")
        if self.manifold != "local" and "reach" in self.model_fields_set:
            yield Problem(("reach",), f"'{self.manifold}' has no reach; remove it")
        if fault := self._faulty_grid(fields):
            yield Problem(("manifold",), fault)
        elif self._is_between_values and "rank" in self.model_fields_set:
            yield Problem(("rank",), f"'{self.manifold}' maps all values of a frame; leave rank out")
        elif self.manifold == "circulant" and self.rank == "optimal":
            yield Problem(("rank",), "'circulant' keeps Fourier modes; give their number or a share")

    def fit(self, data: FieldData, generator: torch.Generator, subset: SubsetSpec | None = None) -> Model:
        """Return the model of the training window."""
        self.refuse(data.shape_info)
        if self.manifold in PROJECTED:
            projection = project(data, self, generator)
            states, following = projection.pairs(subset, generator)
            K = PROJECTED[self.manifold](states, following)
        else:
            snapshots = read_snapshots(data, self)
            if self.manifold == "circulant":
                projection, solve = shift_equivariant(snapshots, data.info, self.rank)
            else:
                projection, solve = _of_values(snapshots), partial(self._between, snapshots, data.info)
            states, following = projection.pairs(subset, generator)
            K = solve(states, following)
        return assembled(data.info, self.delays, projection, Fit(K, states, following, self._spent(K)))

    @property
    def _is_between_values(self) -> bool:
        return self.manifold in ("diagonal", "local", "upper_triangular")

    def _faulty_grid(self, fields: FieldsInfo) -> str | None:
        values = fields.num_cells * fields.num_channels
        if self._is_between_values and values > MAX_VALUES:
            return f"'{self.manifold}' maps {values} values of a frame, above {MAX_VALUES}; use fewer cells"
        if self.manifold == "circulant" and not any(axis.periodic for axis in fields.axes):
            return "'circulant' needs a periodic axis, and the fields have none; use local"
        if self.manifold == "circulant" and fields.is_masked:
            return "'circulant' needs data in every cell, and the fields have a mask; use local"
        return None

    def _between(
        self,
        snapshots: Snapshots,
        info: FieldsInfo,
        states: Float[Tensor, "pair value"],
        following: Float[Tensor, "pair value"],
    ) -> Float[Tensor, "value value"]:
        if self.manifold == "upper_triangular":
            _refuse_dependent(states)
            return triangular_map(states, following)
        reach = self.reach if self.manifold == "local" else None
        return stencil_map(states, following, _neighbours(snapshots.tensors["cells"], info, reach))

    def _spent(self, K: Float[Tensor, "state state"]) -> float:
        """Return the coefficients of the map for each of its targets."""
        size = len(K)
        free = {"orthogonal": (size - 1) / 2, "skew_symmetric": (size - 1) / 2, "symmetric": (size + 1) / 2}
        return free.get(self.manifold, float((K != 0).sum()) / size)


def _of_values(snapshots: Snapshots) -> Projection:
    """Return frames as states, unprojected."""
    size = snapshots.values.shape[2]
    unit = torch.eye(size, dtype=torch.float64)
    newest = partial(snapshots.newest, firsts(snapshots.is_present, 1))
    tensors = snapshots.tensors | {"basis": unit, "directions": unit.clone()}
    return Projection(
        snapshots.values, snapshots.is_present, tensors, torch.ones((), dtype=torch.float64), newest
    )


def _refuse_dependent(states: Float[Tensor, "pair value"]) -> None:
    singular = torch.linalg.svdvals(states)
    rank = int((singular > singular[0] * max(states.shape) * torch.finfo(states.dtype).eps).sum())
    if rank < states.shape[1]:
        raise DataError(
            f"'upper_triangular' needs pairs in all {states.shape[1]} directions of a frame, and the "
            f"training part has {rank}",
            "train on more records, or use local",
        )


def _neighbours(cells: Tensor, info: FieldsInfo, reach: int | None) -> Int[Tensor, "value neighbour"]:
    """Return the values within `reach` of each value's cell, of all variables; None: the value alone.

    A neighbour beyond an edge, or in a cell without data, is -1.
    """
    channels = torch.arange(info.num_channels)
    count = int(cells.sum())
    if reach is None:
        return torch.arange(count * len(channels))[:, None]
    number = torch.full(cells.shape, -1)
    number[cells] = torch.arange(count)
    offsets = torch.cartesian_prod(*[torch.arange(-reach, reach + 1)] * cells.dim()).reshape(-1, cells.dim())
    places = torch.nonzero(cells)[:, None] + offsets
    is_inside = torch.ones(places.shape[:2], dtype=torch.bool)
    for axis, described in enumerate(info.axes):
        if described.periodic:
            is_inside &= 2 * offsets[:, axis].abs() < described.size + (offsets[:, axis] > 0)
            places[..., axis] %= described.size
        else:
            is_inside &= (places[..., axis] >= 0) & (places[..., axis] < described.size)
            places[..., axis].clamp_(0, described.size - 1)
    near = torch.where(is_inside, number[places.unbind(-1)], -1)
    values = torch.where(near[..., None] >= 0, near[..., None] * len(channels) + channels, -1).flatten(1)
    return values.repeat_interleave(len(channels), dim=0)
