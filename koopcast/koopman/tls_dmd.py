"""Dynamic mode decomposition by total least squares."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.errors import DataError
from koopcast.koopman.projection import LinearMapSpec

SMALLEST_PIVOT = 1e-10


class TLSDMDSpec(LinearMapSpec):
    """The linear map of (stacked) frames with errors in both frames of a pair.

    Least squares takes the first frame of a pair as exact; noise there draws eigenvalues inwards. Here the
    pairs (z, z') are moved as little as can be onto a graph z' = K z: the leading `rank` right singular
    vectors [V₁; V₂] of [Z Z'] span it, and K = V₂ V₁⁻¹. It removes the bias of noise that is white in the
    normalised frames.
    """

    kind: Literal["tls_dmd"] = "tls_dmd"

    reference = (
        "Hemati et al. 2017; pairs are projected on the singular directions of the first frames before"
    )

    def solve(
        self, states: Float[Tensor, "pair state"], following: Float[Tensor, "pair state"]
    ) -> tuple[Float[Tensor, "state state"], float]:
        """Return the map of total least squares."""
        num_pairs, size = states.shape
        if num_pairs < size:
            raise DataError(f"{num_pairs} training pairs are below the rank, {size}", "lower `rank`")
        V = torch.linalg.svd(torch.cat([states, following], dim=1), full_matrices=False).Vh[:size].mT
        pivots = torch.linalg.svdvals(V[:size])
        if float(pivots[-1]) < SMALLEST_PIVOT:
            raise DataError(
                f"a direction of the {size} that the states vary in is all but noise, and no map has it as "
                "its first frames",
                "lower `rank`",
            )
        return torch.linalg.solve(V[:size].mT, V[size:].mT).mT.contiguous(), float(size)
