"""Transformer whose attention is an integral over the domain: channels-last, on any grid."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers.attention import Form, IntegralAttention
from koopcast.layers.convolutions import DomainNorm, normalisation
from koopcast.layers.coordinates import num_positions, with_positions, with_waves
from koopcast.layers.extended_spectral import ExtendedSpectral
from koopcast.layers.pointwise import ChannelMLP, Linear

Positional = Literal["grid", "fourier", "none"]


@dataclass(frozen=True)
class TransformerArchitecture:
    """Sizes and choices of a transformer operator."""

    channels_in: int
    channels_out: int
    periodic: tuple[bool, ...]
    width: int
    layers: int
    heads: int
    head_channels: int
    form: Form = "softmax"
    rotary: bool = True
    positional: Positional = "fourier"
    position_waves: int = 4
    mlp_ratio: float = 2.0
    norm: DomainNorm = "instance"
    modes: tuple[int, ...] | None = None
    """Of the spectral layers beside the attention; None: no such layers."""

    frames: int = 1
    """Output frames."""
    query_waves: int | None = None
    """Random waves of a place that is asked for; None: the output is a map of the features at each point."""
    query_scale: float = 2.0
    """Standard deviation of their wave numbers, per length of an axis."""

    @property
    def num_positions(self) -> int:
        """Channels of the coordinates."""
        if self.positional == "grid":
            return num_positions(self.periodic)
        return 2 * self.position_waves * len(self.periodic) if self.positional == "fourier" else 0


class Transformer(nn.Module):
    """u = Q(E(a)) with an encoder E and a pointwise Q."""

    def __init__(self, chosen: TransformerArchitecture, generator: torch.Generator | None = None) -> None:
        super().__init__()
        width = chosen.width
        self.encoder = Encoder(chosen, generator)
        self.project = ChannelMLP(width, 2 * width, chosen.channels_out, generator=generator)

    def forward(
        self, x: Float[Tensor, "batch *space channel_in"]
    ) -> Float[Tensor, "batch *space channel_out"]:
        """Return the output fields on the grid of `x`."""
        result: Tensor = self.project(self.encoder(x))
        return result


class Encoder(nn.Module):
    """E(a) = norm(B_L(… B_1(P(a, x)))) with P pointwise and blocks B_l of attention."""

    def __init__(self, chosen: TransformerArchitecture, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.chosen = chosen
        width = chosen.width
        self.lift = Linear(chosen.channels_in + chosen.num_positions, width, generator=generator)
        self.blocks = nn.ModuleList(AttentionBlock(chosen, generator) for _ in range(chosen.layers))
        self.norm = normalisation(chosen.norm, width, chosen.periodic)

    def forward(self, x: Float[Tensor, "batch *space channel_in"]) -> Float[Tensor, "batch *space channel"]:
        """Return features on the grid of `x`."""
        h = self.lift(self._located(x))
        for block in self.blocks:
            h = block(h)
        result: Tensor = self.norm(h)
        return result

    def _located(self, x: Float[Tensor, "batch *space channel"]) -> Float[Tensor, "batch *space more"]:
        """Append the coordinates, or their waves."""
        chosen = self.chosen
        if chosen.positional == "grid":
            return with_positions(x, chosen.periodic)
        if chosen.positional == "none":
            return x
        return with_waves(x, chosen.periodic, chosen.position_waves)


class AttentionBlock(nn.Module):
    """h = x + A(norm x), then y = h + V₂ gelu(V₁ norm(h)); with a spectral layer S beside the attention h =
    (x + A(norm x) + S(norm x)) / √3.
    """

    def __init__(self, chosen: TransformerArchitecture, generator: torch.Generator | None) -> None:
        super().__init__()
        width = chosen.width
        self.norms = nn.ModuleList(normalisation(chosen.norm, width, chosen.periodic) for _ in range(2))
        self.attention = IntegralAttention(
            width,
            chosen.heads,
            chosen.head_channels,
            chosen.periodic,
            form=chosen.form,
            rotary=chosen.rotary,
            generator=generator,
        )
        self.spectral = (
            None
            if chosen.modes is None
            else ExtendedSpectral(width, chosen.modes, chosen.periodic, generator=generator)
        )
        hidden = max(1, round(chosen.mlp_ratio * width))
        self.mlp = ChannelMLP(width, hidden, width, generator=generator)

    def forward(self, x: Float[Tensor, "batch *space channel"]) -> Float[Tensor, "batch *space channel"]:
        """Return the block's output on the same grid."""
        inner = self.norms[0](x)
        h = x + self.attention(inner)
        if self.spectral is not None:
            h = (h + self.spectral(inner)) / math.sqrt(3)
        result: Tensor = h + self.mlp(self.norms[1](h))
        return result
