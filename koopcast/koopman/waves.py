"""Maps of frames that are equivariant to shifts along periodic axes, in the leading Fourier modes."""

import math
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from koopcast.errors import DataError
from koopcast.grids import FieldsInfo
from koopcast.koopman.base import Rank
from koopcast.koopman.projection import Projection
from koopcast.koopman.snapshots import Snapshots, firsts
from koopcast.numerics.structured_maps import circulant_symbols

Solve = Callable[[Tensor, Tensor], Tensor]


class Waves:
    """The Fourier modes of frames along the periodic axes of their grid; what lies across them is carried as
    channels.
    """

    def __init__(self, info: FieldsInfo) -> None:
        periodic = [index for index, axis in enumerate(info.axes) if axis.periodic]
        self._sizes = (*info.shape, info.num_channels)
        self._order = [*periodic, *(index for index in range(len(self._sizes)) if index not in periodic)]
        self.grid = tuple(info.shape[index] for index in periodic)
        waves = torch.cartesian_prod(*[torch.arange(size) for size in self.grid])
        waves = waves.reshape(-1, len(self.grid))
        opposite = -waves % torch.tensor(self.grid)
        number = self._number(opposite)
        is_first = torch.arange(len(waves)) <= number
        self.waves = waves[is_first]
        """One of each pair k, -k."""
        self.opposites = number[is_first]
        self.is_alone = self._number(self.waves) == self.opposites
        """Whether k = -k: a single real mode."""

    def split(self, values: Float[Tensor, "row value"]) -> Float[Tensor, "row *grid across"]:
        """Return frames with the periodic axes in front and all else behind."""
        fields = values.reshape(len(values), *self._sizes)
        return fields.permute(0, *(index + 1 for index in self._order)).flatten(1 + len(self.grid))

    def joined(self, fields: Float[Tensor, "row *grid across"]) -> Float[Tensor, "row value"]:
        """Return the reverse of `split`."""
        ordered = fields.reshape(len(fields), *(self._sizes[index] for index in self._order))
        back = torch.tensor(self._order).argsort().tolist()
        return ordered.permute(0, *(index + 1 for index in back)).flatten(1)

    def energy(self, values: Float[Tensor, "row value"]) -> Float[Tensor, " wave"]:
        """Return the sum of squares of frames in each pair of waves."""
        axes = tuple(range(1, 1 + len(self.grid)))
        squares = torch.fft.fftn(self.split(values), dim=axes, norm="ortho").abs().square()
        squares = squares.sum(dim=(0, -1)).flatten()
        own = squares[self._number(self.waves)]
        return torch.where(self.is_alone, own, own + squares[self.opposites])

    def modes(self, chosen: Int[Tensor, " chosen"]) -> Float[Tensor, "value direction"]:
        """Return the real, orthonormal modes of the chosen pairs: cosine and sine, for each value across."""
        across = math.prod(self._sizes) // math.prod(self.grid)
        phase = torch.zeros(len(chosen), *self.grid, dtype=torch.float64)
        for axis, size in enumerate(self.grid):
            turns = (self.waves[chosen, axis][:, None] * torch.arange(size) % size).to(phase.dtype)
            shape = [len(chosen), *(size if other == axis else 1 for other in range(len(self.grid)))]
            phase = phase + (2 * math.pi / size * turns).reshape(shape)
        parts = torch.cat([phase.cos(), phase.sin()[~self.is_alone[chosen]]])
        parts = parts / torch.linalg.vector_norm(parts.flatten(1), dim=1).reshape(-1, *[1] * len(self.grid))
        unit = torch.eye(across, dtype=torch.float64)
        fields = parts[:, None, ..., None] * unit.reshape(1, across, *[1] * len(self.grid), across)
        return self.joined(fields.flatten(0, 1)).mT

    def _number(self, waves: Int[Tensor, "wave axis"]) -> Int[Tensor, " wave"]:
        result = torch.zeros(len(waves), dtype=torch.int64)
        for axis, size in enumerate(self.grid):
            result = result * size + waves[:, axis]
        return result


def shift_equivariant(snapshots: Snapshots, info: FieldsInfo, rank: Rank) -> tuple[Projection, Solve]:
    """Return frames in their leading Fourier modes, and what finds the map of pairs of them.

    Raises:
        DataError: The rank is below the modes of one wave.
    """
    waves, frames = Waves(info), snapshots.frames()
    energy, total = waves.energy(frames), frames.square().sum()
    order = energy.argsort(descending=True, stable=True)
    across = frames.shape[1] // math.prod(waves.grid)
    sizes = torch.where(waves.is_alone, across, 2 * across)[order]
    if isinstance(rank, int):
        keep = int((sizes.cumsum(0) <= rank).sum())
        if keep == 0:
            raise DataError(f"rank {rank} is below {int(sizes[0])}, the modes of one wave", "raise `rank`")
    elif isinstance(rank, float):
        keep = min(len(order), int((energy[order].cumsum(0) / total < rank).sum()) + 1)
    else:
        keep = int((energy > energy.max() * 1e-28).sum())
    modes = waves.modes(order[:keep])
    size = (energy[order[0]] / len(frames)).sqrt()
    tensors = snapshots.tensors | {
        "factor": snapshots.tensors["factor"] * size,
        "basis": modes.contiguous(),
        "directions": modes.contiguous().clone(),
    }
    projection = Projection(
        snapshots.values @ modes / size,
        snapshots.is_present,
        tensors,
        energy[order[:keep]].sum() / total,
        partial(snapshots.newest, firsts(snapshots.is_present, 1)),
    )

    def solve(states: Float[Tensor, "pair state"], following: Float[Tensor, "pair state"]) -> Tensor:
        fields = (waves.split(part @ modes.mT) for part in (states, following))
        symbols = circulant_symbols(*fields)
        spectra = torch.fft.fftn(waves.split(modes.mT), dim=tuple(range(1, 1 + len(waves.grid))))
        moved = torch.einsum("...ij,r...j->r...i", symbols, spectra)
        moved = torch.fft.ifftn(moved, dim=tuple(range(1, 1 + len(waves.grid)))).real
        return (waves.joined(moved) @ modes).mT

    return projection, solve
