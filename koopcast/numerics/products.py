"""Products of matrices that are symmetric."""

import torch
from jaxtyping import Float
from scipy.linalg.blas import dsyrk
from torch import Tensor


def gram(A: Float[Tensor, "row column"]) -> Float[Tensor, "column column"]:
    """Return AᵀA in float64, of which only one half is computed."""
    half = torch.from_numpy(dsyrk(1.0, A.numpy().T))
    return torch.triu(half) + torch.triu(half, 1).mT
