"""Networks that are asked at places: on a grid, or anywhere in the domain."""

from abc import abstractmethod

from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers.sensors import Queries


class QueriedNetwork(nn.Module):
    """A network that sees its input at the points of one grid and answers at any place and time."""

    queries: Queries

    def forward(
        self, x: Float[Tensor, "batch *space channel_in"]
    ) -> Float[Tensor, "batch *space channel_out"]:
        """Return the output fields on the grid of `x`."""
        shape = x.shape[1:-1]
        values: Tensor = self.on_grid(x).unflatten(2, shape).movedim(1, -2).flatten(-2)
        return values

    def on_grid(
        self, x: Float[Tensor, "batch *space channel_in"]
    ) -> Float[Tensor, "batch time point variable"]:
        """Return the output at the points of the grid of `x`, at the times of the output frames."""
        return self.at(x, self.queries.points(x.shape[1:-1], x))

    def at(
        self,
        x: Float[Tensor, "batch *space channel_in"],
        points: Float[Tensor, "point axis"],
        times: Float[Tensor, " time"] | None = None,
    ) -> Float[Tensor, "batch time point variable"]:
        """Return the output at any points of the domain, and any times.

        Args:
            x: Input fields, on the grid of the training where the network knows that grid alone.
            points: Coordinates in units of the domain: 0 to 1 along each axis.
            times: In units of the time of the last output frame; default: those of the frames.

        Raises:
            ShapeMismatch: The network answers on its grid alone.
        """
        return self.answer(x, self.queries(points, self.queries.times(x) if times is None else times))

    @abstractmethod
    def answer(
        self,
        x: Float[Tensor, "batch *space channel_in"],
        queries: Float[Tensor, "time point feature"],
    ) -> Float[Tensor, "batch time point variable"]:
        """Return the output where the features of place and time are these."""
