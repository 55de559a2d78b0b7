"""What may be said of eigenpairs: residuals, widened by what happens between the samples."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from koopcast.numerics.fill_distance import fill_distance
from koopcast.spec import Spec

WITHOUT_MODULUS = "residual only, no modulus of continuity given"
ROUND_OFF = 1e-7
Range = tuple[float, float, PositiveInt]


class ModulusSpec(Spec):
    """How much the pointwise residual |g(F(x)) - λ g(x)| / ‖g‖ can change with x."""

    type: Literal["lipschitz"] = "lipschitz"
    """`lipschitz`: at most `constant` times the distance."""
    constant: PositiveFloat
    """Per unit of distance of the coordinates that the dictionary sees."""


class PlaneSpec(Spec):
    """Points of the complex plane at which the pseudospectrum is evaluated."""

    re: Range = (-1.2, 1.2, 41)
    """Real parts: from, to, and how many."""
    im: Range = (-1.2, 1.2, 41)
    """Imaginary parts: from, to, and how many."""

    @model_validator(mode="after")
    def _ranges_ascend(self) -> "PlaneSpec":
        for name, (low, high, count) in (("re", self.re), ("im", self.im)):
            if not low < high or count < 2:
                raise ValueError(f"{name}: [{low:g}, {high:g}, {count}] must be [low, high, count >= 2]")
        return self

    def axes(self) -> tuple[Float[Tensor, " re"], Float[Tensor, " im"]]:
        """Return the coordinates along both axes."""
        re, im = (torch.linspace(*item, dtype=torch.float64) for item in (self.re, self.im))
        return re, im


@dataclass(frozen=True)
class Certificate:
    """What is added to residuals, and what they then certify."""

    widening: float = 0.0
    """Constant of the modulus times the fill distance."""
    fill_distance: float | None = None

    @classmethod
    def of(cls, modulus: ModulusSpec | None, samples: Float[Tensor, "sample coordinate"]) -> "Certificate":
        """Return the certificate of residuals measured at these samples."""
        if modulus is None:
            return cls()
        distance = fill_distance(samples.numpy())
        return cls(modulus.constant * distance, distance)

    def verified(self, residuals: Float[Tensor, " mode"], tolerance: float) -> Bool[Tensor, " mode"]:
        """Return which pairs have a widened residual within the tolerance."""
        return residuals + self.widening <= tolerance

    def tensors(self) -> dict[str, Tensor]:
        """Return it as a tensor of a model; a distance of -1 stands for one that nobody asked for."""
        distance = -1.0 if self.fill_distance is None else self.fill_distance
        return {"certificate": torch.tensor([self.widening, distance], dtype=torch.float64)}


def certificate_text(tensors: Mapping[str, Tensor]) -> str:
    """Return what the residuals of a model certify, in words."""
    widening, distance = tensors["certificate"].tolist()
    if distance < 0:
        return WITHOUT_MODULUS
    return (
        f"residuals widened by {widening:.3g}: the Lipschitz constant times the fill distance {distance:.3g} "
        "of the samples in their convex hull"
    )


def knee(residuals: Float[Tensor, " mode"]) -> int:
    """Return how many pairs stand before the knee of the sorted residuals.

    The knee is the pair farthest below the straight line between the first and the last; at least one pair
    is counted.
    """
    # Residuals of round-off size are alike.
    ordered = residuals.sort().values.clamp_min(ROUND_OFF)
    rise = ordered[-1] - ordered[0]
    if len(ordered) < 3 or not bool(rise > 0):
        return len(ordered)
    line = torch.linspace(0, 1, len(ordered), dtype=ordered.dtype)
    last = int((line - (ordered - ordered[0]) / rise).argmax())
    # A pair and its conjugate have the same residual, up to rounding.
    return int((ordered <= ordered[last] * (1 + 1e-6)).sum())
