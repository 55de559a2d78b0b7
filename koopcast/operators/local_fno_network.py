"""Fourier neural operator with local integrals and derivatives beside its spectral layers."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers.base_grid import BaseGrid
from koopcast.layers.convolutions import DomainNorm, normalisation
from koopcast.layers.coordinates import num_positions, with_positions
from koopcast.layers.extended_spectral import ExtendedSpectral
from koopcast.layers.finite_difference import FiniteDifference
from koopcast.layers.local_integral import LocalIntegral
from koopcast.layers.pointwise import ChannelMLP, Gate, Linear

Where = Literal["all", "last", "none"]


@dataclass(frozen=True)
class LocalArchitecture:
    """Sizes and choices of a Fourier neural operator with local layers."""

    channels_in: int
    channels_out: int
    modes: tuple[int, ...]
    grid: BaseGrid
    """To which the weights of the local layers refer."""
    width: int
    layers: int
    radius: float
    rings: int = 2
    sectors: int = 4
    integral: Where = "all"
    """Blocks with a local integral."""
    derivative: Where = "last"
    """Blocks with a derivative."""
    extension: float = 0.25
    """Zeros behind closed axes for the spectral layers, in units of the axis."""
    mlp_ratio: float = 0.5
    norm: DomainNorm = "none"
    has_positions: bool = True

    def has(self, where: Where, layer: int) -> bool:
        """Return whether a block has the part that stands in blocks `where`."""
        return where == "all" or (where == "last" and layer == self.layers - 1)


class LocalFNO(nn.Module):
    """u = Q(B_L(… B_1(P(a, x)))) with P and Q pointwise and blocks B_l that join near and far."""

    def __init__(self, chosen: LocalArchitecture, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.chosen = chosen
        width = chosen.width
        positions = num_positions(chosen.grid.periodic) if chosen.has_positions else 0
        self.lift = ChannelMLP(chosen.channels_in + positions, 2 * width, width, generator=generator)
        self.blocks = nn.ModuleList(LocalBlock(chosen, layer, generator) for layer in range(chosen.layers))
        self.project = ChannelMLP(width, 2 * width, chosen.channels_out, generator=generator)

    def forward(
        self, x: Float[Tensor, "batch *space channel_in"]
    ) -> Float[Tensor, "batch *space channel_out"]:
        """Return the output fields on the grid of `x`."""
        h = self.lift(with_positions(x, self.chosen.grid.periodic) if self.chosen.has_positions else x)
        for block in self.blocks:
            h = block(h)
        result: Tensor = self.project(h)
        return result


class LocalBlock(nn.Module):
    """h = gelu(norm(S x + W x + D x + F x)), then y = gelu(V₂ gelu(V₁ h) + g x): S the spectral layer, D the
    local integral, F the derivative; the last block has no outer gelus.
    """

    def __init__(self, chosen: LocalArchitecture, layer: int, generator: torch.Generator | None) -> None:
        super().__init__()
        width = chosen.width
        self.is_last = layer == chosen.layers - 1
        self.parts = nn.ModuleList(
            [
                ExtendedSpectral(
                    width,
                    chosen.modes,
                    chosen.grid.periodic,
                    extension=chosen.extension,
                    generator=generator,
                ),
                Linear(width, width, bias=False, generator=generator),
            ]
        )
        if chosen.has(chosen.integral, layer):
            shape = (chosen.rings, chosen.sectors)
            self.parts.append(
                LocalIntegral(
                    width,
                    width,
                    chosen.grid,
                    radius=chosen.radius,
                    shape=shape,
                    has_bias=False,
                    generator=generator,
                )
            )
        if chosen.has(chosen.derivative, layer):
            self.parts.append(FiniteDifference(width, width, 3, chosen.grid, generator=generator))
        self.norm = normalisation(chosen.norm, width, chosen.grid.periodic)
        has_mlp = chosen.mlp_ratio > 0
        hidden = max(1, round(chosen.mlp_ratio * width))
        self.mlp = ChannelMLP(width, hidden, width, generator=generator) if has_mlp else None
        self.gate = Gate(width)

    def forward(self, x: Float[Tensor, "batch *space channel"]) -> Float[Tensor, "batch *space channel"]:
        """Return the block's output on the same grid."""
        h = self.parts[0](x)
        for part in self.parts[1:]:
            h = h + part(x)
        h = self._activated(self.norm(h))
        if self.mlp is None:
            return h
        return self._activated(self.mlp(h) + self.gate(x))

    def _activated(self, x: Tensor) -> Tensor:
        return x if self.is_last else nn.functional.gelu(x)
