"""Random Fourier features: a few functions that stand for a whole kernel."""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from koopcast.koopman.dictionaries.base import DictionarySpec


class RandomFourierSpec(DictionarySpec):
    """1, the coordinates, and √(2/D) cos(w·u + b) with frequencies w of the spectrum of a kernel."""

    kind: Literal["random_fourier"] = "random_fourier"
    features: PositiveInt = 50
    """Their number D."""
    kernel: Literal["gaussian", "laplacian"] = "gaussian"
    """Inner products tend to exp(-‖u - v‖²/c²), or to exp(-‖u - v‖/c), as D grows."""
    width: PositiveFloat = 1.0
    """Length c, as a multiple of the mean distance of the training data from their mean."""

    reference = "Rahimi & Recht 2007; DeGennaro & Urban 2019 (EDMD)"

    def prepare(
        self, coordinates: Float[Tensor, "pair coordinate"], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Draw frequencies and phases."""
        spread = (coordinates - coordinates.mean(dim=0)).norm(dim=1).mean()
        scale = self.width * torch.where(spread > 0, spread, 1.0)
        shape = (coordinates.shape[1], self.features)
        w = torch.randn(shape, generator=generator, dtype=coordinates.dtype)
        if self.kernel == "gaussian":
            w = w * 2**0.5
        else:
            # The spectrum of exp(-‖u‖/c) is a Cauchy law: normal over the root of χ² of one degree.
            w = w / torch.randn(self.features, generator=generator, dtype=w.dtype).abs()
        b = 2 * math.pi * torch.rand(self.features, generator=generator, dtype=w.dtype)
        return {"frequency": w / scale, "phase": b}

    def lift(
        self, coordinates: Float[Tensor, "batch coordinate"], tensors: Mapping[str, Tensor]
    ) -> Float[Tensor, "batch observable"]:
        """Return 1 and the features."""
        phase = coordinates @ tensors["frequency"] + tensors["phase"]
        return torch.cat(
            [torch.ones_like(coordinates[:, :1]), (2 / self.features) ** 0.5 * phase.cos()], dim=1
        )

    def num_observables(self, num_coordinates: int) -> int:
        """Return their number, and the constant."""
        return self.features + 1
