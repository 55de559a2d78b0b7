"""MultiONet as a network: a deep operator network whose hidden layers all take part in the sum."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.layers.field_encoder import Encoder, FieldEncoder
from koopcast.layers.queried import QueriedNetwork
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


class MultiONet(QueriedNetwork):
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

    def answer(
        self,
        x: Float[Tensor, "batch *space channel_in"],
        queries: Float[Tensor, "time point feature"],
    ) -> Float[Tensor, "batch time point variable"]:
        """Return the output where the features of place and time are these."""
        values: Tensor = self.product(self.encoder(x), queries.flatten(0, 1))
        result: Tensor = values.unflatten(1, queries.shape[:2])
        return result
