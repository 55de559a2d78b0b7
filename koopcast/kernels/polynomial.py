"""The polynomial kernel."""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from koopcast.kernels.base import KernelSpec


class PolynomialKernelSpec(KernelSpec):
    """(1 + x·y/c²)ᵖ with c the mean norm of the training points: all monomials up to degree p."""

    kind: Literal["polynomial"] = "polynomial"
    degree: Annotated[int, Field(ge=1, le=20)] = 3
    """Degree p."""

    reference = "Williams, Rowley & Kevrekidis 2015; scale of Colbrook, Mezić & Stepanenko 2024"

    def prepare(self, points: Float[Tensor, "point coordinate"]) -> dict[str, Tensor]:
        """Measure the norm."""
        size = points.norm(dim=1).mean()
        return {"scale": torch.where(size > 0, size, 1.0).reshape(1)}

    def exact(
        self,
        x: Float[Tensor, "row coordinate"],
        y: Float[Tensor, "column coordinate"],
        tensors: Mapping[str, Tensor],
    ) -> Float[Tensor, "row column"]:
        """Return the powers."""
        return (1 + (x / tensors["scale"]) @ (y / tensors["scale"]).mT) ** self.degree
