"""Maps that act at each point alone."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers.chain import Link, chain


class Linear(nn.Module):
    """y = x W + b over the last axis, W stored (in, out) like the spectral weights.

    In this layout the weight's gradient xᵀ g has the few input channels as its rows, which BLAS does up to
    six times faster than gᵀ x. Weights and bias are uniform in ± 1 / √channels_in at the start.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        bias: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        bound = 1 / math.sqrt(channels_in)
        self.weight = nn.Parameter(torch.empty(channels_in, channels_out))
        self.bias = nn.Parameter(torch.empty(channels_out)) if bias else None
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=generator)

    def forward(self, x: Float[Tensor, "*batch channel_in"]) -> Float[Tensor, "*batch channel_out"]:
        """Return x W + b."""
        return chain(x, [self.link()])

    def link(self, added: Tensor | None = None, factor: Tensor | None = None) -> Link:
        """Return the map as a link of a chain, with something added to its result."""
        return Link(self.weight, self.bias, added, factor)


class ChannelMLP(nn.Module):
    """Two linear maps with a GELU between them, the same at every point."""

    def __init__(
        self, channels_in: int, hidden: int, channels_out: int, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.first = Linear(channels_in, hidden, generator=generator)
        self.second = Linear(hidden, channels_out, generator=generator)

    def forward(self, x: Float[Tensor, "*batch channel_in"]) -> Float[Tensor, "*batch channel_out"]:
        """Return gelu(x V₁ + c₁) V₂ + c₂."""
        return chain(x, self.links())

    def links(self, added: Tensor | None = None, factor: Tensor | None = None) -> list[Link]:
        """Return the maps as links of a chain, with something added to their result."""
        return [self.first.link(), self.second.link(added, factor)]


class Gate(nn.Module):
    """One factor a channel, 1 at the start."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Float[Tensor, "*batch channel"]) -> Float[Tensor, "*batch channel"]:
        """Return x times its factors."""
        return x * self.weight
