"""Latent spectral model."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt

from koopcast.grids import Axis
from koopcast.mapping import Signature
from koopcast.operators.base import OperatorSpec
from koopcast.operators.grids import grid_faults
from koopcast.operators.lsm_network import LSM, Architecture, Norm
from koopcast.spec import Problem

DEFAULT_LEVELS = 4
"""Levels where `levels` is left open and the grid has room for as many."""
MAX_LEVELS = 5


class LSMSpec(OperatorSpec):
    """A U-Net whose skips map each patch of the field through a few latent tokens; 1 to 3 space axes, on the
    grid of the training alone.
    """

    kind: Literal["lsm"] = "lsm"
    width: PositiveInt = 16
    """Channels of the finest level, a multiple of `heads`; they double from level to level, but for the
    last."""
    levels: Annotated[int, Field(ge=1, le=MAX_LEVELS)] | None = None
    """Grids of the U-Net, each with half the points of the one above it. Default: as many as leave a patch
    along each axis, at most 4."""
    patch: PositiveInt | tuple[PositiveInt, ...] = 4
    """Points of a patch along each axis, on every level: one number, or one an axis."""
    tokens: PositiveInt = 4
    """Latent tokens that stand for a patch, in each head."""
    basis: PositiveInt = 12
    """Sines, and cosines, of a token in its latent map."""
    heads: PositiveInt = 8
    """Parts of the channels that attend by themselves."""
    spectral: bool = True
    """Whether the skips pass neural spectral blocks; `false` leaves a plain U-Net."""
    padding: Literal["auto"] | tuple[NonNegativeInt, ...] = "auto"
    """Points appended at the far end of each axis, so that every level holds whole patches; zeros, on a
    periodic axis the values of the near end. `auto`: the fewest."""
    scale_attention: bool = False
    """Divide the logits of attention by the root of the channels a head."""
    norm: Norm = "batch"
    """What normalises each channel after a convolution. `batch`: mean and variance over the samples and
    points that are computed at once, which is `training.micro_batch` (by default at most 2^17 points) and not
    `training.batch_size`; their running means, stored with the weights, serve outside of training.
    Few samples at once make them noisy, and with a single one training sees what the running means are not:
    take `instance` then, mean and variance over the points of each sample, in training and after it."""

    any_resolution: ClassVar[bool] = False
    reference = (
        "Wu et al. 2023; keys have no bias (a softmax does not see it), convolutions wrap on periodic axes "
        "that need no padding"
    )

    def faults(self, signature: Signature) -> Iterator[Problem]:
        """Refuse what is not a grid, heads that share no channels, and levels that hold no whole patches."""
        yield from super().faults(signature)
        if self.width % self.heads:
            lower = self.width // self.heads * self.heads
            near = f"{self.heads}" if lower == 0 else f"{lower} or {lower + self.heads}"
            yield Problem(("width",), f"{self.width} is not divisible by {self.heads} heads; take {near}")
        problems = [*grid_faults(self.kind, signature), *self._faulty_counts(signature)]
        yield from problems
        if problems:
            return
        levels = self.num_levels(signature)
        for index, axis in enumerate(signature.axes):
            yield from self._faulty_levels(axis, self.patches(signature)[index], levels)
            yield from self._faulty_padding(index, axis, signature)
        if all(_bottom(size, levels) == 1 for size in signature.shape):
            yield Problem(
                ("levels",), f"{levels} levels leave a single point, which no norm takes; use fewer"
            )

    def _faulty_counts(self, signature: Signature) -> Iterator[Problem]:
        for name in ("patch", "padding"):
            given = getattr(self, name)
            if isinstance(given, tuple) and len(given) != len(signature.axes):
                yield Problem(
                    (name,), f"{len(given)} numbers for {len(signature.axes)} space axes; give one an axis"
                )

    def _faulty_levels(self, axis: Axis, patch: int, levels: int) -> Iterator[Problem]:
        if axis.size < patch:
            yield Problem(
                ("patch",), f"{patch} points are more than axis '{axis.name}' has ({axis.size}); lower patch"
            )
        elif _bottom(axis.size, levels) < patch:
            most = max(n for n in range(1, levels) if _bottom(axis.size, n) >= patch)
            yield Problem(
                ("levels",),
                f"{levels} levels leave {_bottom(axis.size, levels)} of {axis.size} points of axis "
                f"'{axis.name}', fewer than a patch of {patch}; at most {most} levels, or a smaller patch",
            )

    def _faulty_padding(self, index: int, axis: Axis, signature: Signature) -> Iterator[Problem]:
        if self.padding == "auto":
            return
        given, unit = self.padding[index], self._unit(index, signature)
        total = axis.size + given
        if total % unit:
            legal = [size - axis.size for size in (total // unit * unit, (total // unit + 1) * unit)]
            near = " or ".join(str(count) for count in legal if count >= 0)
            yield Problem(
                ("padding", index),
                f"{axis.size} + {given} points of axis '{axis.name}' are no multiple of {unit}, the patch "
                f"times 2 to the power of levels - 1; take {near}, or auto",
            )
        if axis.periodic and given > axis.size:
            yield Problem(
                ("padding", index),
                f"{given} is more than once around axis '{axis.name}' ({axis.size} points)",
            )

    def build(self, signature: Signature, generator: torch.Generator) -> LSM:
        """Return the untrained network for fields like these."""
        return LSM(
            Architecture(
                channels_in=signature.channels_in,
                channels_out=signature.channels_out,
                patch=self.patches(signature),
                appended=self.appended(signature),
                periodic=tuple(axis.periodic for axis in signature.axes),
                width=self.width,
                levels=self.num_levels(signature),
                tokens=self.tokens,
                basis=self.basis,
                heads=self.heads,
                spectral=self.spectral,
                scale_attention=self.scale_attention,
                norm=self.norm,
            ),
            generator,
        )

    def patches(self, signature: Signature) -> tuple[int, ...]:
        """Return the points of a patch along each axis."""
        return self.patch if isinstance(self.patch, tuple) else (self.patch,) * len(signature.axes)

    def num_levels(self, signature: Signature) -> int:
        """Return the number of grids."""
        if self.levels is not None:
            return self.levels
        sizes = list(zip(signature.shape, self.patches(signature), strict=True))
        fitting = [
            levels
            for levels in range(1, DEFAULT_LEVELS + 1)
            if all(_bottom(size, levels) >= max(2, patch) for size, patch in sizes)
        ]
        return max(fitting, default=1)

    def appended(self, signature: Signature) -> tuple[int, ...]:
        """Return the points added at the far end of each axis."""
        if self.padding != "auto":
            return self.padding
        return tuple(-size % self._unit(index, signature) for index, size in enumerate(signature.shape))

    def _unit(self, index: int, signature: Signature) -> int:
        coarsening: int = 2 ** (self.num_levels(signature) - 1)
        return self.patches(signature)[index] * coarsening


def _bottom(size: int, levels: int) -> int:
    coarsening: int = 2 ** (levels - 1)
    return -(-size // coarsening)
