"""Spatiotemporal Fourier neural operator."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt

from koopcast.layers.spectral_convolution import Backend
from koopcast.mapping import Signature
from koopcast.operators.base import OperatorSpec
from koopcast.operators.sfno_network import SFNO, Architecture
from koopcast.spec import Problem

DEFAULT_MODES = 16
"""Kept modes of each space axis where `modes` is left open and the grid holds as many."""
MAX_AXES = 2


class SFNOSpec(OperatorSpec):
    """From frames to frames by multipliers of the low Fourier modes of space and time; 1 or 2 periodic axes.

    The same weights take any number of frames and return any number; training fixes what is usual.
    """

    kind: Literal["sfno"] = "sfno"
    modes: PositiveInt | tuple[PositiveInt, ...] | None = None
    """Kept Fourier modes of each space axis, both signs counted: one number, or one an axis. Default: 16, or
    half the points of a smaller grid."""
    time_modes: PositiveInt = 5
    """Kept waves in time, the mean included; frames that hold fewer use those."""
    width: PositiveInt = 10
    """Channels inside."""
    layers: Annotated[int, Field(ge=1, le=16)] = 4
    """Blocks, the one that lifts to the latent frames included."""
    latent_steps: PositiveInt = 10
    """Frames inside."""
    mlp_ratio: PositiveFloat = 4.0
    """Hidden channels of the pointwise network in each block, in units of the width."""
    beta: float = Field(0.01, ge=-1, le=1)
    """Rate β of e^{βt}, with which the encoding of time grows over 100 frames: about that of the energy."""
    delta: PositiveFloat = 0.1
    """Factor of the output operator's bias field."""
    divergence_free: tuple[str, ...] | None = None
    """Variables that are the components of a velocity along the axes, in their order: the gradient part is
    taken away. Default: none."""
    backend: Backend = "fft"
    """Transforms by FFT, which suits few frames best, by truncated matrix products (`dft`), or by the sizes
    (`auto`)."""

    reference = (
        "Cao et al. 2025 (Spectral-Refiner); here inputs and encoding stand side by side, sines alternate "
        "with cosines, and time counts from the last frame given"
    )
    any_resolution: ClassVar[bool] = True

    def takes_frames(self) -> bool:
        """Return that a map takes and returns any number of frames."""
        return True

    def faults(self, signature: Signature) -> Iterator[Problem]:
        """Refuse closed axes, modes that grid or latent frames do not hold, maps that do not look ahead."""
        yield from super().faults(signature)
        if not 1 <= len(signature.axes) <= MAX_AXES:
            yield Problem((), f"{len(signature.axes)} space axes; sfno takes 1 to {MAX_AXES}")
            return
        for axis in signature.axes:
            if not axis.periodic:
                yield Problem((), f"axis '{axis.name}' is not periodic; sfno lives on the torus, use fno")
        if not signature.ahead:
            yield Problem((), "sfno predicts records after those given; use fno for fields of the same time")
        if self.time_modes > (limit := self.latent_steps // 2 + 1):
            yield Problem(
                ("time_modes",),
                f"{self.time_modes} is above {limit}, the waves that {self.latent_steps} latent_steps hold; "
                "lower it",
            )
        if self.normalize_input != self.normalize_output and self._carries(signature):
            yield Problem(
                ("normalize_output",),
                f"{self.normalize_output} differs from normalize_input, {self.normalize_input}, and the last "
                "frame given is added to those returned; give both the same",
            )
        yield from self._faulty_modes(signature)
        yield from self._faulty_velocity(signature)

    def _carries(self, signature: Signature) -> bool:
        """Return whether the last frame given is added: a change from it needs none."""
        is_change = signature.is_dynamics and self.residual
        return not is_change and set(signature.outputs) <= set(signature.inputs)

    def _faulty_modes(self, signature: Signature) -> Iterator[Problem]:
        modes = self.modes if isinstance(self.modes, tuple) else self.kept_modes(signature)
        if len(modes) != len(signature.axes):
            yield Problem(
                ("modes",), f"{len(modes)} numbers for {len(signature.axes)} axes; give one an axis"
            )
            return
        for index, (axis, count) in enumerate(zip(signature.axes, modes, strict=True)):
            if count > axis.size:
                path = ("modes", index) if isinstance(self.modes, tuple) else ("modes",)
                yield Problem(
                    path, f"{count} is above {axis.size}, the points of axis '{axis.name}'; lower it"
                )

    def _faulty_velocity(self, signature: Signature) -> Iterator[Problem]:
        names = self.divergence_free
        if names is None:
            return
        missing = [name for name in names if name not in signature.outputs]
        if len(names) != len(signature.axes) or missing or len(set(names)) < len(names):
            yield Problem(
                ("divergence_free",),
                f"{', '.join(names)} are not one output for each of {len(signature.axes)} axes (outputs: "
                f"{', '.join(signature.outputs)})",
            )
        if self.normalize_output != "none" or (signature.is_dynamics and self.residual):
            yield Problem(
                ("divergence_free",),
                "components in units of their own spread have no divergence; set normalize_output: none and "
                "residual: false",
            )
        spacings = {1 if axis.length is None else axis.length for axis in signature.axes}
        if len(spacings) > 1:
            yield Problem(("divergence_free",), "the axes have different lengths; take a square")

    def build(self, signature: Signature, generator: torch.Generator) -> SFNO:
        """Return the untrained network."""
        names, outputs, velocity = signature.inputs, signature.outputs, self.divergence_free
        carried = tuple(names.index(name) for name in outputs) if self._carries(signature) else None
        components = None if velocity is None else tuple(outputs.index(name) for name in velocity)
        return SFNO(
            Architecture(
                inputs=len(names),
                outputs=len(outputs),
                frames_out=signature.frames_out,
                modes=self.kept_modes(signature),
                periodic=tuple(axis.periodic for axis in signature.axes),
                time_modes=self.time_modes,
                width=self.width,
                layers=self.layers,
                latent_steps=self.latent_steps,
                mlp_ratio=self.mlp_ratio,
                beta=self.beta,
                delta=self.delta,
                carried=carried,
                divergence_free=components,
                backend=self.backend,
            ),
            generator,
        )

    def kept_modes(self, signature: Signature) -> tuple[int, ...]:
        """Return the modes of each space axis."""
        if self.modes is None:
            return tuple(max(1, min(DEFAULT_MODES, size // 2)) for size in signature.shape)
        return self.modes if isinstance(self.modes, tuple) else (self.modes,) * len(signature.axes)
