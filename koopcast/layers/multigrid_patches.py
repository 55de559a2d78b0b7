"""Patches of a periodic field, each seen together with coarser views of what surrounds it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from koopcast.errors import ShapeMismatch


@dataclass(frozen=True)
class MultigridPatches:
    """2^levels patches an axis, with `padding` times the whole axis added on both sides of each.

    To every patch belong windows of as many points from the field thinned by 2, 4, …, 2^levels about the same
    centre, as further channels. Nothing is cut at level 0: the field is its only patch.
    """

    levels: int
    padding: float

    @property
    def count(self) -> int:
        """Patches of each axis."""
        return int(2**self.levels)

    def margin(self, size: int) -> int:
        """Return the points added on each side along an axis of `size` points."""
        return round(self.padding * size) if self.levels > 0 else 0

    def window(self, size: int) -> int:
        """Return the points of a patch, margins too, along an axis of `size` points."""
        return size // self.count + 2 * self.margin(size)

    def split(
        self, field: Float[Tensor, "batch *space channel"], levels: int | None = None
    ) -> Float[Tensor, "patch batch *window more"]:
        """Return all patches, those of the last axis next to one another.

        Args:
            field: On a grid whose sizes are multiples of 2^levels.
            levels: Coarser views to go with each patch; default: all.

        Raises:
            ShapeMismatch: The grid cannot be cut into so many patches.
        """
        shape = field.shape[1:-1]
        if any(size % self.count for size in shape):
            raise ShapeMismatch(
                f"a grid of {'x'.join(map(str, shape))} points cannot be cut into {self.count} equal parts "
                "an axis",
                "use a grid of a multiple of it, or lower decomposition.levels",
            )
        views = range(1 + (self.levels if levels is None else levels))
        return torch.cat([self._view(field, level) for level in views], dim=-1)

    def join(
        self, patches: Float[Tensor, "patch batch *window channel"], shape: Sequence[int]
    ) -> Float[Tensor, "batch *space channel"]:
        """Return the field on the grid of `shape` made of the middles of the patches."""
        axes = len(shape)
        for dim, size in enumerate(shape, start=2):
            patches = patches.narrow(dim, self.margin(size), size // self.count)
        parts = patches.reshape(*[self.count] * axes, *patches.shape[1:])
        order = [axes, *(place for axis in range(axes) for place in (axis, axes + 1 + axis)), 2 * axes + 1]
        return parts.permute(order).reshape(patches.shape[1], *shape, patches.shape[-1])

    def _view(self, field: Tensor, level: int) -> Tensor:
        """Return the windows of every patch, of the field thinned by 2^level."""
        axes = field.ndim - 2
        shape = field.shape[1:-1]
        windows = [self._places(size, level).to(field.device) for size in shape]
        for dim, places in enumerate(windows, start=1):
            field = field.index_select(dim, places.flatten())
        sizes = [size for places in windows for size in places.shape]
        parts = field.reshape(len(field), *sizes, field.shape[-1])
        counts, points = range(1, 2 * axes, 2), range(2, 2 * axes + 1, 2)
        parts = parts.permute(*counts, 0, *points, 2 * axes + 1)
        return parts.reshape(self.count**axes, *parts.shape[axes:])

    def _places(self, size: int, level: int) -> Int[Tensor, "patch point"]:
        """Return the points of every patch's window, about the patch's middle on the thinned grid."""
        step, window = 2**level, self.window(size)
        middles = (2 * torch.arange(self.count) + 1) * (size // self.count)
        first = middles // (2 * step) - window // 2
        places: Tensor = (first[:, None] + torch.arange(window)) % (size // step) * step
        return places
