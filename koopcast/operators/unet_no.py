"""U-Net as an operator."""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field

from koopcast.mapping import Signature
from koopcast.operators.convolutional import ConvolutionalSpec
from koopcast.operators.unet_no_network import UNet
from koopcast.spec import Problem

FEWEST = 2
"""Intervals that the coarsest level has at least along each axis."""


class UNetSpec(ConvolutionalSpec):
    """Residual blocks on ever coarser grids and back; 1 or 2 space axes. Coarser levels have fixed spacings,
    whatever the grid of the input, but for `conv: plain`, which halves it.
    """

    kind: Literal["unet_no"] = "unet_no"
    width: Annotated[int, Field(ge=1)] = 16
    """Channels of the finest level."""
    multipliers: tuple[Annotated[int, Field(ge=1, le=16)], ...] = Field((1, 2, 2), min_length=1, max_length=8)
    """Channels of each level, finest first, in units of the width; each level has twice the spacing of the
    one above it."""

    reference = (
        "Berner et al. 2025, for networks as operators; Ronneberger et al. 2015. Features go down as means "
        "under hats and up by linear interpolation, in place of strides and transposed convolutions"
    )

    def faults(self, signature: Signature) -> Iterator[Problem]:
        """Refuse more levels than the base grid has room for."""
        problems = list(super().faults(signature))
        yield from problems
        if problems:
            return
        counts = self.base(signature).intervals(self.base(signature).shape)
        most = next(levels for levels in range(1, 32) if min(counts) / 2**levels < FEWEST)
        if len(self.multipliers) > most:
            yield Problem(
                ("multipliers",),
                f"{len(self.multipliers)} levels leave fewer than {FEWEST} intervals of the {min(counts)} of "
                f"the base grid's shortest axis; give at most {most}",
            )

    def build(self, signature: Signature, generator: torch.Generator) -> UNet:
        """Return the untrained network for fields like these."""
        return UNet(self.architecture(signature), self.multipliers, generator)
