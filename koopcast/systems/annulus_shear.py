"""Two maps of the disc that the same data belong to, though their spectra differ."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor

from koopcast.dynamics import ON_CPU, Flow, Setting
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.systems.parameters import MapSpec, iterated, uniform


class AnnulusShearSpec(MapSpec):
    """Half turns of the disc, (r, t) ← (r, t + π + φ(r)) with φ = 0 or a bump on a ring without samples.

    φ(r) = A exp(1 - 1/(1 - s²)) for |s| < 1, s running from -1 to 1 across the ring. The data of both maps
    are the same bytes. The spectrum is {1, -1} without the bump and the whole unit circle with it, so no
    method can certify spectra from the data alone. The state is Cartesian, (r cos t, r sin t).
    """

    kind: Literal["annulus_shear"] = "annulus_shear"
    sheared: bool = False
    """Whether the ring turns by φ more."""
    ring: tuple[float, float] = (0.5, 0.6)
    """Inner and outer radius of the ring, within (0, 1)."""
    amplitude: PositiveFloat = Field(math.pi, le=math.pi)
    """Largest extra turn A, in radians."""

    reference = "Colbrook, Mezić and Stepanenko 2024, Limits and powers of Koopman learning"

    @model_validator(mode="after")
    def _ring_lies_in_the_disc(self) -> "AnnulusShearSpec":
        inner, outer = self.ring
        if not 0 < inner < outer < 1:
            raise ValueError(f"ring: {self.ring} must satisfy 0 < inner < outer < 1; correct the radii")
        return self

    def describe(self) -> FieldsInfo:
        """Return an axis of two Cartesian coordinates."""
        axis = Axis("state", 2, geometry="index")
        properties = frozenset({"exact_solution", "exact_spectrum", "measure_preserving"})
        return FieldsInfo({"X": "1"}, (axis,), TimeAxis(1, 1.0), properties=properties)

    def problem(self, setting: Setting = ON_CPU) -> Flow:
        """Return the map."""
        return iterated(self._turned)

    def _turned(self, state: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        if not self.sheared:
            return -state
        x, y = state[..., 0], state[..., 1]
        turn = self.bump(torch.hypot(x, y))
        turned = torch.stack((turn.cos() * x - turn.sin() * y, turn.sin() * x + turn.cos() * y), dim=-1)
        # Off the ring the half turn itself, so that the data of both maps agree to the last bit.
        return -torch.where(turn[..., None] == 0, state, turned)

    def bump(self, radius: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Return φ(r), smooth, and 0 off the ring."""
        inner, outer = self.ring
        s = (2 * radius - inner - outer) / (outer - inner)
        is_inside = s.abs() < 1
        gap = torch.where(is_inside, 1 - s * s, 1.0)
        return torch.where(is_inside, self.amplitude * torch.exp(1 - 1 / gap), 0.0)

    def initial(self, count: int, generator: torch.Generator) -> Float[Tensor, "count 2 1"]:
        """Draw uniformly on the disc without the ring."""
        inner, outer = self.ring
        square = (1 - outer**2 + inner**2) * uniform(count, 1, 1, generator=generator)
        # A hair's breadth beyond the edges, where rounding of the radius could fall into the ring.
        radius = torch.where(
            square < (inner * (1 - 1e-9)) ** 2,
            square,
            (square + outer**2 - inner**2) * (1 + 1e-9),
        ).sqrt()
        angle = 2 * math.pi * uniform(count, 1, 1, generator=generator)
        return torch.cat((radius * angle.cos(), radius * angle.sin()), dim=1)

    def exact(self, initial: Float[Tensor, "batch 2 1"], time: float) -> Float[Tensor, "batch 2 1"]:
        """Return the states by adding to their angles."""
        x, y = initial[:, 0, 0], initial[:, 1, 0]
        radius = torch.hypot(x, y)
        angle = torch.atan2(y, x) + time * (math.pi + (self.bump(radius) if self.sheared else 0.0))
        return torch.stack((radius * angle.cos(), radius * angle.sin()), dim=1)[..., None]

    def lyapunov_time(self) -> float:
        """Return 1: nothing grows."""
        return 1.0
