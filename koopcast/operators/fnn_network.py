"""One fully connected network of the input and the place together."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers.perceptron import Activation, Perceptron, activation, glorot
from koopcast.layers.sensors import Queries, Sensors


class FNN(nn.Module):
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

    def forward(
        self, x: Float[Tensor, "batch *space channel_in"]
    ) -> Float[Tensor, "batch *space channel_out"]:
        """Return the output fields on the grid of `x`, which is that of the sensors."""
        shape = x.shape[1:-1]
        values = self.at(x, self.queries.points(shape, x))
        result: Tensor = values.unflatten(2, shape).movedim(1, -2).flatten(-2)
        return result

    def at(
        self,
        x: Float[Tensor, "batch *space channel_in"],
        points: Float[Tensor, "point axis"],
        times: Float[Tensor, " time"] | None = None,
    ) -> Float[Tensor, "batch time point variable"]:
        """Return the output at any points of the domain, 0 to 1 along each axis, and any times, 1 being that
        of the last output frame.
        """
        u = self.sensors(x).flatten(1)
        y = self.queries(points, self.queries.times(x) if times is None else times)
        weight, bias = self.first.weight, self.first.bias
        seen = u @ weight[: u.shape[1]] + bias
        h = self._activation(seen[:, None, None] + y @ weight[u.shape[1] :])
        result: Tensor = self.rest(h)
        return result
