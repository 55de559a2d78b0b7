"""Fourier neural operator."""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from koopcast.layers.spectral_convolution import Backend
from koopcast.mapping import Signature
from koopcast.operators.base import OperatorSpec
from koopcast.operators.fno_network import FNO, Architecture, Norm, Skip
from koopcast.spec import Problem

DEFAULT_MODES = 16
"""Kept modes of each axis where `modes` is left open and the grid holds as many."""
MAX_AXES = 3


class FNOSpec(OperatorSpec):
    """Blocks that add a learned multiplier of the low Fourier modes to a pointwise map; 1 to 3 space axes."""

    kind: Literal["fno"] = "fno"
    modes: PositiveInt | tuple[PositiveInt, ...] | None = None
    """Kept Fourier modes of each axis, both signs counted: one number, or one an axis. At most half the
    points: the product of two kept waves then still lies below the grid's Nyquist limit. Default: 16, or
    what the grid allows."""
    width: PositiveInt = 24
    """Channels inside."""
    layers: Annotated[int, Field(ge=1, le=16)] = 4
    """Blocks."""
    lift_ratio: PositiveFloat = 2.0
    """Hidden channels of the first pointwise map, in units of the width."""
    proj_ratio: PositiveFloat = 2.0
    """Hidden channels of the last pointwise map, in units of the width."""
    mlp_ratio: NonNegativeFloat = 0.5
    """Hidden channels of the pointwise network in each block, in units of the width; 0: none."""
    skip: Skip = "linear"
    """What is added to the spectral layer: a linear map of its input, the input, the input times a gate, or
    nothing."""
    norm: Norm = "none"
    """Normalise features over the domain after the spectral layer and after the pointwise network."""
    padding: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Zeros appended to each axis that is not periodic, as a fraction of its points."""
    positional: Literal["grid", "none"] = "grid"
    """`grid`: coordinates are extra input channels, j / N on periodic axes, j / (N - 1) on closed ones."""
    backend: Backend = "auto"
    """Transforms by truncated matrix products (`dft`), by FFT, or by what suits the sizes."""

    reference = (
        "Li et al. 2021; blocks as in the neuraloperator library 2.0 (Kossaifi et al. 2024), but odd"
        " grids and rescaled grids are exact"
    )

    def faults(self, signature: Signature) -> Iterator[Problem]:
        """Refuse what is not a grid, and modes that it cannot hold."""
        yield from super().faults(signature)
        if not 1 <= len(signature.axes) <= MAX_AXES:
            yield Problem((), f"{len(signature.axes)} space axes; fno takes 1 to {MAX_AXES}")
            return
        for axis in signature.axes:
            if axis.name == "point" or (axis.geometry == "index" and not axis.periodic):
                yield Problem((), f"axis '{axis.name}' is a list of values, not a grid; use a Koopman model")
        if self.padding > 0 and all(axis.periodic for axis in signature.axes):
            yield Problem(("padding",), "every axis is periodic, so nothing is padded; remove padding")
        yield from self._faulty_modes(signature)

    def _faulty_modes(self, signature: Signature) -> Iterator[Problem]:
        limits = [max(1, size // 2) for size in signature.shape]
        if isinstance(self.modes, int) and self.modes > min(limits):
            yield Problem(
                ("modes",),
                f"{self.modes} is above {min(limits)}, the Nyquist limit of grid {signature.shape}; "
                "lower modes",
            )
        if not isinstance(self.modes, tuple):
            return
        if len(self.modes) != len(limits):
            yield Problem(
                ("modes",), f"{len(self.modes)} numbers for {len(limits)} space axes; give one an axis"
            )
            return
        for index, (modes, limit) in enumerate(zip(self.modes, limits, strict=True)):
            if modes > limit:
                axis = f"axis '{signature.axes[index].name}' of {signature.axes[index].size} points"
                yield Problem(
                    ("modes", index), f"{modes} is above {limit}, the Nyquist limit of {axis}; lower it"
                )

    def build(self, signature: Signature, generator: torch.Generator) -> FNO:
        """Return the untrained network for fields like these."""
        return FNO(
            Architecture(
                channels_in=signature.channels_in,
                channels_out=signature.channels_out,
                modes=self.kept_modes(signature),
                periodic=tuple(axis.periodic for axis in signature.axes),
                width=self.width,
                layers=self.layers,
                lift_ratio=self.lift_ratio,
                proj_ratio=self.proj_ratio,
                mlp_ratio=self.mlp_ratio,
                skip=self.skip,
                norm=self.norm,
                padding=self.padding,
                positional=self.positional,
                backend=self.backend,
            ),
            generator,
        )

    def kept_modes(self, signature: Signature) -> tuple[int, ...]:
        """Return the modes of each axis."""
        if self.modes is None:
            return tuple(max(1, min(DEFAULT_MODES, size // 2)) for size in signature.shape)
        return self.modes if isinstance(self.modes, tuple) else (self.modes,) * len(signature.axes)
