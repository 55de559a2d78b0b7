"""Dynamic mode decomposition forward and backward in time."""

from typing import Literal

import torch
from jaxtyping import Float
from scipy import linalg
from torch import Tensor

from koopcast.errors import DataError
from koopcast.koopman.projection import LinearMapSpec
from koopcast.numerics.ridge import ridge_regression

SMALLEST_PIVOT = 1e-10


class FBDMDSpec(LinearMapSpec):
    """The mean of the forward map of (stacked) frames and the inverse of the backward one.

    With F the least-squares map of pairs z → z' and B that of z' → z, noise draws the eigenvalues of both
    inwards; in K = F (B F)^(-1/2), the geometric mean of F and B⁻¹, this cancels to first order.
    """

    kind: Literal["fb_dmd"] = "fb_dmd"

    reference = (
        "Dawson et al. 2016; departs in the square root: (F B⁻¹)^(1/2) is the same where F and B commute, "
        "but has a sign for each eigenvalue to choose"
    )

    def solve(
        self, states: Float[Tensor, "pair state"], following: Float[Tensor, "pair state"]
    ) -> tuple[Float[Tensor, "state state"], float]:
        """Return the geometric mean."""
        num_pairs, size = states.shape
        if num_pairs < size:
            raise DataError(f"{num_pairs} training pairs are below the rank, {size}", "lower `rank`")
        F = ridge_regression(states, following, 0.0).coefficients.mT
        B = ridge_regression(following, states, 0.0).coefficients.mT
        values = torch.linalg.eigvals(B @ F)
        if float(values.abs().min()) < SMALLEST_PIVOT or bool(((values.real < 0) & (values.imag == 0)).any()):
            raise DataError(
                f"forward and backward maps of {size} directions do not undo one another: "
                f"an eigenvalue of their product is {complex(values[values.real.argmin()]):.2g}, and 1 "
                "without noise",
                "lower `rank`, or use tls_dmd",
            )
        root = torch.from_numpy(linalg.sqrtm((B @ F).numpy()).real)
        return torch.linalg.solve(root.mT, F.mT).mT.contiguous(), float(size)
