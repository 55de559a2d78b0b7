"""MultiONet as a network: a deep operator network whose hidden layers all take part in the sum."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers.field_encoder import Encoder, FieldEncoder
from koopcast.layers.sensors import CoordinateFeatures, Queries
from koopcast.layers.towers import LayeredProduct, TowerSizes


@dataclass(frozen=True)
class Architecture:
    """Sizes and choices of a MultiONet; `shape` and `periodic` have one entry a space axis."""

    shape: tuple[int, ...]
    periodic: tuple[bool, ...]
    channels_in: int
    frames: int
    variables: int
    sizes: TowerSizes = field(default_factory=TowerSizes)
    latent: int = 1
    encoder: Encoder = "none"
    hidden: tuple[int, ...] = ()
    features: int = 64
    coordinates: CoordinateFeatures = "none"
    frequencies: int = 4


class MultiONet(nn.Module):
    """u(y) = (1/l) Σ_i w_i ⟨a_i, x_i(y)⟩ + b over the last l layers of a branch that sees the input and a
    trunk that sees the place, and the time where several records are returned.
    """

    def __init__(self, chosen: Architecture, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.encoder = FieldEncoder(
            chosen.encoder,
            chosen.shape,
            chosen.periodic,
            channels=chosen.channels_in,
            hidden=chosen.hidden,
            outputs=chosen.features,
            generator=generator,
        )
        self.queries = Queries(chosen.periodic, chosen.frames, chosen.coordinates, chosen.frequencies)
        self.product = LayeredProduct(
            self.encoder.outputs,
            self.queries.size,
            chosen.sizes,
            outputs=chosen.variables,
            copies=chosen.latent,
            generator=generator,
        )

    def forward(
        self, x: Float[Tensor, "batch *space channel_in"]
    ) -> Float[Tensor, "batch *space channel_out"]:
        """Return the output fields on the grid of `x`, which is that of the training."""
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
        """Return the output at any points of the domain, and any times.

        Args:
            x: Input fields on the grid of the training.
            points: Coordinates in units of the domain: 0 to 1 along each axis.
            times: In units of the time of the last output frame; default: those of the frames.
        """
        queries = self.queries(points, self.queries.times(x) if times is None else times)
        values: Tensor = self.product(self.encoder(x), queries.flatten(0, 1))
        result: Tensor = values.unflatten(1, queries.shape[:2])
        return result
