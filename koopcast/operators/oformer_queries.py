"""Transformer that is asked at places: its decoder attends to the features of the whole field."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers.attention import Asked, IntegralAttention
from koopcast.layers.pointwise import ChannelMLP
from koopcast.layers.queried import QueriedNetwork
from koopcast.layers.sensors import Queries
from koopcast.operators.oformer_network import Encoder, TransformerArchitecture


class QueriedTransformer(QueriedNetwork):
    """u(y) = Q(h + V₂ gelu(V₁ h)) with h = q(y) + ∫ κ(q(y), k(x)) v(x) dx.

    The query q is a network of random waves of the place, and of the time where there are several frames; k
    and v are read from the encoder's features. With rotary positions κ knows the offset y - x.
    """

    def __init__(self, chosen: TransformerArchitecture, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.queries = Queries(chosen.periodic, chosen.frames, None)
        self.axes, width = len(chosen.periodic), chosen.width
        self.encoder = Encoder(chosen, generator)
        self.waves = RandomWaves(
            self.queries.coordinates.periodic, chosen.query_waves or 1, chosen.query_scale, generator
        )
        self.query = ChannelMLP(self.waves.size, width, width, generator=generator)
        self.attention = IntegralAttention(
            width,
            chosen.heads,
            chosen.head_channels,
            chosen.periodic,
            form=chosen.form,
            rotary=chosen.rotary,
            generator=generator,
        )
        hidden = max(1, round(chosen.mlp_ratio * width))
        self.mlp = ChannelMLP(width, hidden, width, generator=generator)
        self.project = ChannelMLP(width, 2 * width, chosen.channels_out // chosen.frames, generator=generator)

    def answer(
        self,
        x: Float[Tensor, "batch *space channel_in"],
        queries: Float[Tensor, "time point feature"],
    ) -> Float[Tensor, "batch time point variable"]:
        """Return the output at these coordinates, the time first where there are several frames."""
        coordinates = queries.flatten(0, 1)
        q = self.query(self.waves(coordinates)).expand(x.shape[0], -1, -1)
        h = q + self.attention(self.encoder(x), Asked(q, coordinates[:, -self.axes :]))
        result: Tensor = self.project(h + self.mlp(h)).unflatten(1, queries.shape[:2])
        return result


class RandomWaves(nn.Module):
    """cos 2πb·y and sin 2πb·y for normal wave vectors b, whole numbers along periodic axes.

    Args:
        periodic: Which coordinates close on themselves.
        count: Number of wave vectors.
        scale: Standard deviation of their entries, before they are rounded.
        generator: Draws them.
    """

    def __init__(
        self, periodic: Sequence[bool], count: int, scale: float, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        b = scale * torch.randn(len(periodic), count, generator=generator)
        around = torch.tensor(list(periodic))
        b[around] = b[around].round()
        self.register_buffer("vectors", b)
        self.size = 2 * count

    def forward(self, y: Float[Tensor, "*batch axis"]) -> Float[Tensor, "*batch feature"]:
        """Return the waves at coordinates from 0 to 1."""
        phases = (2 * math.pi) * y @ self.get_buffer("vectors").to(y.dtype)
        return torch.cat((phases.cos(), phases.sin()), dim=-1)
