"""Maps whose rows are partly known: older frames are copies, and the constant stays 1."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """Which rows of a map of `size` observables are regressed.

    The newest `rank` of the `width` coordinates are, and what follows the constant; the constant is the first
    observable after the coordinates, where there are any.
    """

    size: int
    rank: int
    width: int

    def regressed(self) -> Bool[Tensor, " state"]:
        """Return which rows are."""
        result = torch.ones(self.size, dtype=torch.bool)
        result[self.rank : self.width + 1] = False
        return result

    def assembled(self, coefficients: Float[Tensor, "state target"]) -> Float[Tensor, "state state"]:
        """Return the map: regressed rows, copies of newer coordinates, and the row of the constant."""
        K = torch.zeros(self.size, self.size, dtype=coefficients.dtype)
        K[self.regressed()] = coefficients.mT
        K[self.rank : self.width, : self.width - self.rank] = torch.eye(self.width - self.rank, dtype=K.dtype)
        if self.size > self.width:
            K[self.width, self.width] = 1
        return K
