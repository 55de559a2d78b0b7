"""One fully connected network of the input and the place together."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.layers.perceptron import Activation, Perceptron, activation, glorot
from koopcast.layers.queried import QueriedNetwork
from koopcast.layers.sensors import Queries, Sensors


class FNN(QueriedNetwork):
    """G(u)(y) = F(u(x_1), ..., u(x_m), y) with a perceptron F of one output a variable.

    The first layer is a sum of a map of the sensors and one of the coordinates, each evaluated once: the same
    network as on their concatenation.

    Args:
        sensors: Where the input is seen.
        queries: Which places are asked for.
        channels_in: Channels of the input.
        variables: Output variables.
        hidden: Sizes of the hidden layers, one or more.
        name: The activation.
        generator: Draws the weights.
    """

    def __init__(
        self,
        sensors: Sensors,
        queries: Queries,
        channels_in: int,
        variables: int,
        hidden: Sequence[int],
        name: Activation,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.sensors, self.queries = sensors, queries
        values = math.prod(sensors.counts) * channels_in
        self.first = glorot(values + queries.size, hidden[0], generator)
        self.rest = Perceptron((*hidden, variables), name, generator=generator)
        self._activation = activation(name)

    def answer(
        self,
        x: Float[Tensor, "batch *space channel_in"],
        queries: Float[Tensor, "time point feature"],
    ) -> Float[Tensor, "batch time point variable"]:
        """Return the output where the features of place and time are these."""
        u = self.sensors(x).flatten(1)
        weight, bias = self.first.weight, self.first.bias
        seen = u @ weight[: u.shape[1]] + bias
        h = self._activation(seen[:, None, None] + queries @ weight[u.shape[1] :])
        result: Tensor = self.rest(h)
        return result
