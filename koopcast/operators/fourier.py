"""What the Fourier neural operators share: options, rules on the grid, the architecture."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from koopcast.layers.factorised_weights import Compression, Factorization, Implementation
from koopcast.layers.spectral_convolution import Backend
from koopcast.mapping import Signature
from koopcast.operators.base import OperatorSpec
from koopcast.operators.fno_network import Architecture, Norm, Skip
from koopcast.operators.grids import grid_faults
from koopcast.operators.modes import kept_modes
from koopcast.spec import Problem

DEFAULT_RANK = 0.1


class FourierSpec(OperatorSpec):
    """Options of blocks that add a learned multiplier of the low Fourier modes to a pointwise map."""

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
    """Zeros appended to each axis that is not periodic, as a fraction of its length."""
    positional: Literal["grid", "none"] = "grid"
    """`grid`: coordinates are extra input channels, j / N on periodic axes, j / (N - 1) on closed ones."""
    backend: Backend = "auto"
    """Transforms by truncated matrix products (`dft`), by FFT, or by what suits the sizes."""
    factorization: Factorization = "dense"
    """Form of the spectral weights: full tensors, or products of smaller ones (CP, Tucker, tensor train)."""
    rank: Annotated[float, Field(gt=0, le=1)] | None = None
    """Parameters of the factors as a fraction of those of dense weights, complex numbers counted as two; 1
    takes full ranks, which can hold any weight. Default: 0.1."""
    joint: bool = False
    """One product for the weights of all layers, which are an axis of it."""
    separable: bool = False
    """Multiply the modes of each channel by themselves, without mixing channels."""
    implementation: Implementation = "reconstructed"
    """Make the weights from their factors in each step, or contract the modes with one factor after the
    other."""

    @model_validator(mode="after")
    def _is_a_product(self) -> "FourierSpec":
        if self.factorization == "dense":
            given = [name for name in ("rank", "joint") if getattr(self, name)]
            if self.implementation == "factorized":
                given.append("implementation")
            if given:
                raise ValueError(
                    f"dense weights have no factors for {' and '.join(given)}; "
                    "set factorization to cp, tucker or tt"
                )
        if self.separable and self.implementation == "factorized":
            raise ValueError("separable weights are always reconstructed; remove implementation")
        return self

    def seen_shape(self, signature: Signature) -> tuple[int, ...]:
        """Return the points of each axis that the blocks see."""
        return signature.shape

    def faults(self, signature: Signature) -> Iterator[Problem]:
        """Refuse what is not a grid, and modes that it cannot hold."""
        yield from super().faults(signature)
        yield from grid_faults(self.kind, signature)
        if self.padding > 0 and all(axis.periodic for axis in signature.axes):
            yield Problem(("padding",), "every axis is periodic, so nothing is padded; remove padding")
        yield from self._faulty_modes(signature, self.seen_shape(signature))

    def _faulty_modes(self, signature: Signature, shape: tuple[int, ...]) -> Iterator[Problem]:
        limits = [max(1, size // 2) for size in shape]
        if isinstance(self.modes, int) and self.modes > min(limits):
            yield Problem(
                ("modes",),
                f"{self.modes} is above {min(limits)}, the Nyquist limit of grid {shape}; lower modes",
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
                axis = f"axis '{signature.axes[index].name}' of {shape[index]} points"
                yield Problem(
                    ("modes", index), f"{modes} is above {limit}, the Nyquist limit of {axis}; lower it"
                )

    def architecture(self, signature: Signature) -> Architecture:
        """Return sizes and choices of the network."""
        return Architecture(
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
            compression=Compression(
                self.factorization,
                DEFAULT_RANK if self.rank is None else self.rank,
                self.joint,
                self.separable,
                self.implementation,
            ),
        )

    def kept_modes(self, signature: Signature) -> tuple[int, ...]:
        """Return the modes of each axis."""
        if isinstance(self.modes, tuple):
            return self.modes
        shape = self.seen_shape(signature)
        axes = (replace(axis, size=size) for axis, size in zip(signature.axes, shape, strict=True))
        return kept_modes(self.modes, signature.on(tuple(axes)))
