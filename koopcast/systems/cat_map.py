"""Arnold's cat map of the torus."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.dynamics import ON_CPU, Flow, Setting
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.systems.parameters import MapSpec, iterated, uniform


class CatMapSpec(MapSpec):
    """Cat map (θ, φ) ← (2θ + φ, θ + φ) mod 2π: invertible, keeps the area, hyperbolic everywhere.

    The state is (cos θ, sin θ, cos φ, sin φ): no jump at 2π, and no bits of an angle are shifted out. With
    z = e^{iθ} and w = e^{iφ} the map is w ← zw, z ← z·zw, kept on the torus.
    """

    kind: Literal["cat_map"] = "cat_map"

    reference = "Arnold and Avez 1968; Colbrook, Mezić and Stepanenko 2024"

    def describe(self) -> FieldsInfo:
        """Return an axis of two cosines and sines."""
        axis = Axis("state", 4, geometry="index")
        properties = frozenset({"measure_preserving"})
        return FieldsInfo({"X": "1"}, (axis,), TimeAxis(1, 1.0), properties=properties)

    def problem(self, setting: Setting = ON_CPU) -> Flow:
        """Return the map."""
        return iterated(_stretched_and_folded)

    def initial(self, count: int, generator: torch.Generator) -> Float[Tensor, "count 4 1"]:
        """Draw uniformly on the torus."""
        angle = 2 * math.pi * uniform(count, 2, 1, generator=generator)
        return torch.stack((angle.cos(), angle.sin()), dim=2).reshape(count, 4, 1)

    def lyapunov_time(self) -> float:
        """Return 1 / ln((3 + √5)/2)."""
        return 1 / math.log((3 + math.sqrt(5)) / 2)


def _stretched_and_folded(state: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
    z, w = torch.complex(state[..., 0], state[..., 1]), torch.complex(state[..., 2], state[..., 3])
    w = z * w
    z = z * w
    z, w = z / z.abs(), w / w.abs()
    return torch.stack((z.real, z.imag, w.real, w.imag), dim=-1)
