"""The doubling map of the circle."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.dynamics import ON_CPU, Flow, Setting
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.systems.parameters import MapSpec, iterated, uniform


class CircleDoublingSpec(MapSpec):
    """Doubling map θ ← 2θ mod 2π: keeps the uniform measure, mixes, and its Koopman operator is a shift.

    The state is (cos θ, sin θ), and the map z ← z²/|z²|. An angle would jump at 2π, where linear models,
    means and errors see a distance that is not there; and doubling shifts the bits of an angle out, so that
    every orbit of a binary number ends at 0. Squaring rounds, and the orbit goes on.
    """

    kind: Literal["circle_doubling"] = "circle_doubling"

    reference = "Colbrook, Mezić and Stepanenko 2024, Limits and powers of Koopman learning"

    def describe(self) -> FieldsInfo:
        """Return an axis of cosine and sine."""
        axis = Axis("state", 2, geometry="index")
        properties = frozenset({"measure_preserving"})
        return FieldsInfo({"X": "1"}, (axis,), TimeAxis(1, 1.0), properties=properties)

    def problem(self, setting: Setting = ON_CPU) -> Flow:
        """Return the map."""
        return iterated(_doubled)

    def initial(self, count: int, generator: torch.Generator) -> Float[Tensor, "count 2 1"]:
        """Draw uniformly on the circle."""
        angle = 2 * math.pi * uniform(count, 1, 1, generator=generator)
        return torch.cat((angle.cos(), angle.sin()), dim=1)

    def lyapunov_time(self) -> float:
        """Return 1 / ln 2."""
        return 1 / math.log(2)


def _doubled(state: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
    cosine, sine = state[..., 0], state[..., 1]
    doubled = torch.stack((cosine * cosine - sine * sine, 2 * cosine * sine), dim=-1)
    return doubled / (cosine * cosine + sine * sine)[..., None]
