"""Arc-cosine kernels: infinitely wide random networks of one layer."""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.kernels.base import KernelSpec


class ArcCosineSpec(KernelSpec):
    """2 E[σ(w·x) σ(w·y)] over standard normal w, σ a step or a ramp, of points with a coordinate 1 added."""

    kind: Literal["arc_cosine"] = "arc_cosine"
    order: Literal[0, 1] = 1
    """0: the step, 1 - ϑ/π; 1: the ramp, ‖x‖‖y‖ (sin ϑ + (π - ϑ) cos ϑ)/π, ϑ the angle between x and y."""

    reference = "Cho & Saul 2009"

    def prepare(self, points: Float[Tensor, "point coordinate"]) -> dict[str, Tensor]:
        """Measure the mean distance from the mean: points count in units of it."""
        mean = points.mean(dim=0)
        spread = (points - mean).norm(dim=1).mean()
        return {"mean": mean, "scale": torch.where(spread > 0, spread, 1.0).reshape(1)}

    def exact(
        self,
        x: Float[Tensor, "row coordinate"],
        y: Float[Tensor, "column coordinate"],
        tensors: Mapping[str, Tensor],
    ) -> Float[Tensor, "row column"]:
        """Return the expectation in closed form."""
        left, right = (
            torch.cat([(u - tensors["mean"]) / tensors["scale"], torch.ones_like(u[:, :1])], dim=1)
            for u in (x, y)
        )
        size = left.norm(dim=1)[:, None] * right.norm(dim=1)
        cosine = (left @ right.mT / size).clamp(-1, 1)
        if x is y:
            cosine.fill_diagonal_(1)
        angle = cosine.acos()
        ramp: Tensor = size * (angle.sin() + (math.pi - angle) * cosine) / math.pi
        step: Tensor = 1 - angle / math.pi
        return step if self.order == 0 else ramp
