"""The rotation of the circle."""

import math
from typing import ClassVar, Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from koopcast.dynamics import ON_CPU, Flow, Setting
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.systems.parameters import MapSpec, iterations, uniform


class CircleRotationSpec(MapSpec):
    """Rotation θ ← θ + α mod 2π: keeps the uniform measure, and e^{ikθ} has the Koopman eigenvalue e^{ikα}.

    The state is (cos θ, sin θ), which has no jump at 2π; n iterations are one turn by nα.
    """

    kind: Literal["circle_rotation"] = "circle_rotation"
    angle: float = math.pi * (math.sqrt(5) - 1)
    """Angle α of one iteration, in radians; by default the golden share of a turn, the most irrational."""

    reference = "Colbrook, Mezić and Stepanenko 2024, Limits and powers of Koopman learning"
    varied: ClassVar[tuple[str, ...]] = ("angle",)

    def describe(self) -> FieldsInfo:
        """Return an axis of cosine and sine."""
        axis = Axis("state", 2, geometry="index")
        properties = frozenset({"exact_solution", "exact_spectrum", "measure_preserving"})
        return FieldsInfo({"X": "1"}, (axis,), TimeAxis(1, 1.0), properties=properties)

    def problem(self, setting: Setting = ON_CPU) -> Flow:
        """Return turns by whole multiples of the angle."""
        angle = setting.value("angle", self.angle, 0)

        def advance(state: Float[Tensor, "*batch 2"], time: float) -> Float[Tensor, "*batch 2"]:
            turn = torch.as_tensor(angle, dtype=torch.float64, device=state.device) * iterations(time)
            c, s = turn.cos().to(state.dtype), turn.sin().to(state.dtype)
            x, y = state[..., 0], state[..., 1]
            return torch.stack((c * x - s * y, s * x + c * y), dim=-1)

        return Flow(advance)

    def initial(self, count: int, generator: torch.Generator) -> Float[Tensor, "count 2 1"]:
        """Draw uniformly on the circle."""
        angle = 2 * math.pi * uniform(count, 1, 1, generator=generator)
        return torch.cat((angle.cos(), angle.sin()), dim=1)

    def exact(self, initial: Float[Tensor, "batch 2 1"], time: float) -> Float[Tensor, "batch 2 1"]:
        """Return the states by adding to their angles."""
        angle = torch.atan2(initial[:, 1], initial[:, 0]) + self.angle * time
        return torch.stack((angle.cos(), angle.sin()), dim=1)

    def eigenvalues(self, modes: int) -> Complex[Tensor, " mode"]:
        """Return e^{ikα} for k = -modes..modes."""
        turn = self.angle * torch.arange(-modes, modes + 1, dtype=torch.float64)
        return torch.polar(torch.ones_like(turn), turn)

    def lyapunov_time(self) -> float:
        """Return 1: nothing grows."""
        return 1.0
