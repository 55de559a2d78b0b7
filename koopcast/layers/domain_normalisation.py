"""Normalisation of features by integrals over the domain."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers.normalisation import EPSILON
from koopcast.layers.quadrature import quadrature


class DomainNormalisation(nn.Module):
    """y = a (x - m) / √(v + 1e-5) + b with m = ∫ x and v = ∫ (x - m)², averages over the domain and over the
    channels of a group.

    The integrals are sums with quadrature weights, so that statistics converge with the grid, closed axes
    included. Scale a and shift b are one number a channel.

    Args:
        channels: Number of channels.
        groups: Groups of consecutive channels; as many as channels: each by itself (instance), 1: all
            together.
        periodic: Which axes are periodic.
    """

    def __init__(self, channels: int, groups: int, periodic: Sequence[bool]) -> None:
        super().__init__()
        self.groups = groups
        self.periodic = tuple(periodic)
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, "batch *space channel"]) -> Float[Tensor, "batch *space channel"]:
        """Return the normalised features."""
        weights = quadrature(x.shape[1:-1], self.periodic, dtype=x.dtype, device=x.device).flatten()
        points = x.flatten(1, -2)
        mean = self._over_group(weights @ points)
        variance = self._over_group(weights @ (points - mean[:, None]).square())
        scale = self.scale * torch.rsqrt(variance + EPSILON)
        result = torch.addcmul((self.shift - mean * scale)[:, None], points, scale[:, None])
        return result.reshape(x.shape)

    def _over_group(self, values: Float[Tensor, "batch channel"]) -> Float[Tensor, "batch channel"]:
        """Return the mean over the channels of each group, at each channel."""
        if self.groups == values.shape[-1]:
            return values
        grouped: Tensor = values.unflatten(-1, (self.groups, -1))
        return grouped.mean(-1, keepdim=True).expand_as(grouped).flatten(-2)
