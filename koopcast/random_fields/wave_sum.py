"""Sums of a few sine waves, sometimes folded, sometimes cut to a window."""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from koopcast.errors import ShapeMismatch
from koopcast.grids import Axis
from koopcast.numerics.geometry import implied_coordinates
from koopcast.random_fields.base import RandomFieldSpec


class WaveSumSpec(RandomFieldSpec):
    """Waves Σ A sin(2πm x/L + φ) on a periodic axis: A in (0, 1), m drawn alike from 1..modes."""

    kind: Literal["wave_sum"] = "wave_sum"
    waves: PositiveInt = 2
    """Waves of a field; two of them may have the same wave number."""
    modes: PositiveInt = 8
    """Highest wave number that is drawn."""
    fold_probability: float = Field(0.1, ge=0, le=1)
    """Chance that a field is replaced by its absolute value, with a random sign."""
    window_probability: float = Field(0.1, ge=0, le=1)
    """Chance that a field is kept only between two places, one in (0.1, 0.45), one in (0.55, 0.9) of L."""
    window_width: PositiveFloat = 0.01
    """Width of the hyperbolic tangents at the ends of the window, as a share of L."""

    reference = (
        "Takamoto et al. 2022, PDEBench: the initial states of its equations on an interval. There a wave "
        "number drawn twice is doubled, and numbers that were not drawn leave a constant behind; not here"
    )

    def draw(
        self, axes: tuple[Axis, ...], count: int, generator: torch.Generator
    ) -> Float[Tensor, "count points"]:
        """Draw fields at the nodes of one periodic axis; the numbers drawn do not depend on the nodes."""
        if (fault := self.fault(axes)) is not None:
            raise ShapeMismatch(*fault.split("; ", 1))
        waves = _uniform(count, 3, self.waves, generator=generator)
        choices = _uniform(count, 5, generator=generator)
        place = implied_coordinates(axes[0]).to(generator.device) / (axes[0].length or axes[0].size)
        number = 1 + (waves[:, 0] * self.modes).floor()
        angle = number[..., None] * place + waves[:, 2, :, None]
        field = (waves[:, 1, :, None] * torch.sin(2 * math.pi * angle)).sum(dim=1)
        sign = torch.where(choices[:, 1] < 0.5, 1.0, -1.0)[:, None]
        field = torch.where(_chance(choices[:, 0], self.fold_probability), sign * field.abs(), field)
        left, right = 0.1 + 0.35 * choices[:, 3, None], 0.55 + 0.35 * choices[:, 4, None]
        window = ((place - left) / self.window_width).tanh() - ((place - right) / self.window_width).tanh()
        return torch.where(_chance(choices[:, 2], self.window_probability), field * window / 2, field)

    def fault(self, axes: tuple[Axis, ...]) -> str | None:
        """Return what is wrong with axes that are not one periodic axis that resolves the waves."""
        if len(axes) != 1 or not axes[0].periodic:
            return "wave_sum draws fields on one periodic axis; choose another random field"
        if 2 * self.modes >= axes[0].size:
            return (
                f"modes: {self.modes} is not below {axes[0].size / 2:g}, the Nyquist limit of "
                f"{axes[0].size} points; lower modes or raise points"
            )
        return None


def _uniform(*shape: int, generator: torch.Generator) -> Float[Tensor, "*shape"]:
    """Draw independent numbers of (0, 1), float64, on the generator's device."""
    return torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64)


def _chance(number: Float[Tensor, " count"], probability: float) -> Bool[Tensor, "count 1"]:
    return (number < probability)[:, None]
