"""Sums of the first few waves of a periodic axis, with random amplitudes and phases."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from koopcast.errors import ShapeMismatch
from koopcast.grids import Axis
from koopcast.numerics.arrays import normal
from koopcast.numerics.periodic_series import fault
from koopcast.random_fields.base import RandomFieldSpec


class RandomCosinesSpec(RandomFieldSpec):
    """Waves Σ_m a_m cos(2π m x / L + φ_m): mean zero, random amplitudes and phases."""

    kind: Literal["random_cosines"] = "random_cosines"
    modes: PositiveInt = 4
    """Wave numbers 1..modes of the domain."""
    amplitude: PositiveFloat = 1.0
    """Standard deviation of the field in space, on average."""

    reference = "Gaussian weights of equal variance; any start will do where an attractor forgets it"

    def draw(
        self, axes: tuple[Axis, ...], count: int, generator: torch.Generator
    ) -> Float[Tensor, "count points"]:
        """Draw fields; the numbers drawn do not depend on the nodes."""
        if (problem := self.fault(axes)) is not None:
            raise ShapeMismatch(*problem.split("; ", 1))
        points, modes = axes[0].size, self.modes
        coefficients = torch.complex(
            normal(count, modes, generator=generator), normal(count, modes, generator=generator)
        )
        spectrum = torch.zeros(count, points // 2 + 1, device=generator.device, dtype=torch.complex128)
        # Each mode has the variance 2 |coefficient|²; |complex normal|² has the mean 2.
        spectrum[:, 1 : modes + 1] = coefficients * (self.amplitude / math.sqrt(4 * modes))
        fields: Tensor = torch.fft.irfft(spectrum, n=points, norm="forward")
        return fields

    def fault(self, axes: tuple[Axis, ...]) -> str | None:
        """Return what is wrong with axes that are not one periodic axis that resolves the waves."""
        if (problem := fault(self.kind, axes, dimensions=(1,))) is not None:
            return problem
        if 2 * self.modes >= axes[0].size:
            return (
                f"modes: {self.modes} is not below {axes[0].size / 2:g}, the Nyquist limit of "
                f"{axes[0].size} points; lower modes or raise points"
            )
        return None
