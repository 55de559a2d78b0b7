"""Fourier neural operator with local layers."""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt

from koopcast.layers.base_grid import BaseGrid
from koopcast.layers.convolutions import DomainNorm
from koopcast.mapping import Signature
from koopcast.operators.base import OperatorSpec
from koopcast.operators.convolutional import MAX_AXES
from koopcast.operators.discs import DISC, Disc, Radius, faulty_disc, usual_radius
from koopcast.operators.grids import grid_faults
from koopcast.operators.local_fno_network import LocalArchitecture, LocalFNO, Where
from koopcast.operators.modes import faulty_modes, kept_modes
from koopcast.spec import Problem


class LocalFNOSpec(OperatorSpec):
    """Fourier blocks to which an integral over a small disc and a derivative are added; 1 or 2 space axes."""

    kind: Literal["local_fno"] = "local_fno"
    modes: PositiveInt | None = None
    """Kept Fourier modes of each axis, both signs counted; at most half the points. Default: 16, or what the
    grid allows."""
    width: PositiveInt = 24
    """Channels inside."""
    layers: Annotated[int, Field(ge=1, le=16)] = 4
    """Blocks."""
    integral: Where = "all"
    """Blocks with an integral over a disc."""
    radius: Radius | None = None
    """Of the disc, in units of the domain's shortest axis. Default: 1.5 spacings of the training grid a
    ring."""
    disc: Disc | None = None
    """Rings (the centre counts as one) and sectors of the disc's basis. Default: 2 and 4."""
    derivative: Where = "last"
    """Blocks with a derivative, by differences of 3 points an axis."""
    extension: Annotated[float, Field(ge=0.1, le=1)] = 0.25
    """Zeros appended to closed axes for the spectral layers, in units of the axis: waves then have one period
    on every grid."""
    mlp_ratio: NonNegativeFloat = 0.5
    """Hidden channels of the pointwise network in each block, in units of the width; 0: none."""
    norm: DomainNorm = "none"
    """Give the sum in each block mean 0 and variance 1 over the domain: each channel by itself (`instance`),
    all together (`group`)."""
    positional: Literal["grid", "none"] = "grid"
    """`grid`: places are extra input channels: x from 0 to 1 on closed axes, sin 2πx and cos 2πx on periodic
    ones, where x itself would jump and its differences grow with the grid."""

    reference = (
        "Liu-Schiaffini et al. 2024; differences go on straight beyond closed ends, where the authors' code "
        "sees zeros"
    )

    def faults(self, signature: Signature) -> Iterator[Problem]:
        """Refuse what is not a line or a plane, modes that it cannot hold, and discs between points."""
        yield from super().faults(signature)
        problems = list(grid_faults(self.kind, signature))
        if not problems and len(signature.axes) > MAX_AXES:
            problems = [Problem((), f"{len(signature.axes)} space axes; {self.kind} takes 1 or {MAX_AXES}")]
        yield from problems
        if problems:
            return
        yield from faulty_modes("modes", self.modes, signature)
        if self.integral == "none":
            for option in ("radius", "disc"):
                if getattr(self, option) is not None:
                    yield Problem((option,), "no block has an integral; remove it")
            return
        chosen = self._architecture(signature)
        shape = (chosen.rings, chosen.sectors)
        option = "disc" if self.radius is None else "radius"
        yield from faulty_disc(chosen.grid, chosen.radius, shape, option, signature)

    def build(self, signature: Signature, generator: torch.Generator) -> LocalFNO:
        """Return the untrained network for fields like these."""
        return LocalFNO(self._architecture(signature), generator)

    def _architecture(self, signature: Signature) -> LocalArchitecture:
        grid = BaseGrid.of(signature.axes)
        rings, sectors = self.disc or DISC
        return LocalArchitecture(
            channels_in=signature.channels_in,
            channels_out=signature.channels_out,
            modes=kept_modes(self.modes, signature),
            grid=grid,
            width=self.width,
            layers=self.layers,
            radius=self.radius or usual_radius(rings, grid),
            rings=rings,
            sectors=sectors,
            integral=self.integral,
            derivative=self.derivative,
            extension=self.extension,
            mlp_ratio=self.mlp_ratio,
            norm=self.norm,
            has_positions=self.positional == "grid",
        )
