"""Maps that act at each point alone."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


def linear(
    channels_in: int, channels_out: int, *, bias: bool = True, generator: torch.Generator | None = None
) -> nn.Linear:
    """Return a linear map of the channels whose weights and bias are uniform in ± 1 / √channels_in."""
    layer = nn.utils.skip_init(nn.Linear, channels_in, channels_out, bias=bias)
    bound = 1 / math.sqrt(channels_in)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return layer


class ChannelMLP(nn.Module):
    """Two linear maps with a GELU between them, the same at every point."""

    def __init__(
        self, channels_in: int, hidden: int, channels_out: int, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.first = linear(channels_in, hidden, generator=generator)
        self.second = linear(hidden, channels_out, generator=generator)

    def forward(self, x: Float[Tensor, "*batch channel_in"]) -> Float[Tensor, "*batch channel_out"]:
        """Return V₂ gelu(V₁ x + c₁) + c₂."""
        result: Tensor = self.second(nn.functional.gelu(self.first(x)))
        return result


class Gate(nn.Module):
    """One factor a channel, 1 at the start."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Float[Tensor, "*batch channel"]) -> Float[Tensor, "*batch channel"]:
        """Return x times its factors."""
        return x * self.weight
