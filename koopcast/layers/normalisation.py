"""Layers that give the features of a sample mean 0 and variance 1 over the domain."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

EPSILON = 1e-5


class FeatureNormalisation(nn.Module):
    """Remove the mean over the domain and divide by the standard deviation, then scale and shift each
    channel.

    Args:
        channels: Number of channels.
        over: `instance` each channel by itself; `group` all channels together.
    """

    def __init__(self, channels: int, over: Literal["instance", "group"]) -> None:
        super().__init__()
        self.over = over
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, "batch *space channel"]) -> Float[Tensor, "batch *space channel"]:
        """Return the normalised features; the same on any grid of the same field, as the grid is refined."""
        dims = tuple(range(1, x.ndim - 1 if self.over == "instance" else x.ndim))
        variance, mean = torch.var_mean(x, dim=dims, correction=0, keepdim=True)
        scale = self.scale * torch.rsqrt(variance + EPSILON)
        return torch.addcmul(self.shift - mean * scale, x, scale)
