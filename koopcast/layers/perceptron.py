"""Fully connected networks with a choice of activation."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers.pointwise import Linear

Activation = Literal["relu", "gelu", "tanh", "sin"]


def activation(name: Activation) -> Callable[[Tensor], Tensor]:
    """Return the function of that name."""
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "relu": nn.functional.relu,
        "gelu": nn.functional.gelu,
        "tanh": torch.tanh,
        "sin": torch.sin,
    }
    return functions[name]


class Perceptron(nn.Module):
    """x ← σ(x W + b) layer by layer, the last without σ; weights normal after Glorot, biases 0 at the start.

    Args:
        sizes: Numbers of the input, of each hidden layer, and of the output.
        name: The activation σ.
        is_activated_last: Apply σ to the output as well.
        generator: Draws the weights.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        name: Activation,
        *,
        is_activated_last: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(glorot(n, m, generator) for n, m in pairwise(sizes))
        self._activation = activation(name)
        self._activated = len(self.layers) - 1 + is_activated_last

    def forward(self, x: Float[Tensor, "*batch channel_in"]) -> Float[Tensor, "*batch channel_out"]:
        """Return the output."""
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index < self._activated:
                x = self._activation(x)
        return x


class Perceptrons(nn.Module):
    """Independent perceptrons of the same sizes that see the same input, one number each."""

    def __init__(
        self,
        count: int,
        sizes: Sequence[int],
        name: Activation,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        pairs = list(pairwise((*sizes, 1)))
        self.weights = nn.ParameterList(torch.empty(count, n, m) for n, m in pairs)
        self.biases = nn.ParameterList(torch.zeros(count, 1, m) for _, m in pairs)
        self._activation = activation(name)
        for stack in self.weights:
            for weight in stack:
                nn.init.xavier_normal_(weight, generator=generator)

    def forward(self, x: Float[Tensor, "batch channel_in"]) -> Float[Tensor, "batch count"]:
        """Return the output of each."""
        h = x.expand(len(self.weights[0]), *x.shape)
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.baddbmm(bias, h, weight)
            if index + 1 < len(self.weights):
                h = self._activation(h)
        return h[..., 0].T


def glorot(channels_in: int, channels_out: int, generator: torch.Generator | None = None) -> Linear:
    """Return a linear map with weights N(0, 2 / (channels_in + channels_out)) and no bias at the start."""
    layer = Linear(channels_in, channels_out, generator=generator)
    nn.init.xavier_normal_(layer.weight, generator=generator)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
