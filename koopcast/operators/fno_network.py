"""The Fourier neural operator as a network: channels-last, on any grid."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers import fourier
from koopcast.layers.chain import Link, chain
from koopcast.layers.factorised_weights import DENSE, Compression, FactorisedWeights
from koopcast.layers.normalisation import FeatureNormalisation
from koopcast.layers.pointwise import ChannelMLP, Gate, Linear
from koopcast.layers.positions import grid_positions
from koopcast.layers.spectral_convolution import Backend, SpectralConvolution

Skip = Literal["linear", "identity", "gate", "none"]
Norm = Literal["none", "instance", "group"]


@dataclass(frozen=True)
class Architecture:
    """Sizes and choices of a Fourier neural operator; `modes` and `periodic` have one entry a space axis."""

    channels_in: int
    channels_out: int
    modes: tuple[int, ...]
    periodic: tuple[bool, ...]
    width: int = 24
    layers: int = 4
    lift_ratio: float = 2.0
    proj_ratio: float = 2.0
    mlp_ratio: float = 0.5
    skip: Skip = "linear"
    norm: Norm = "none"
    padding: float = 0.0
    positional: Literal["grid", "none"] = "grid"
    backend: Backend = "auto"
    compression: Compression = DENSE

    def hidden(self, ratio: float) -> int:
        """Return the width of a hidden layer."""
        return max(1, round(ratio * self.width))


class FNO(nn.Module):
    """u = Q(B_L(… B_1(P(a, x)))) with P and Q pointwise, and blocks B_l that see the whole domain."""

    def __init__(self, architecture: Architecture, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.architecture = chosen = architecture
        positions = len(chosen.modes) if chosen.positional == "grid" else 0
        self.lift = ChannelMLP(
            chosen.channels_in + positions,
            chosen.hidden(chosen.lift_ratio),
            chosen.width,
            generator=generator,
        )
        self.joint = _joint_weights(chosen, generator)
        self.blocks = nn.ModuleList(
            Block(chosen, is_last=layer == chosen.layers - 1, generator=generator)
            for layer in range(chosen.layers)
        )
        self.project = ChannelMLP(
            chosen.width, chosen.hidden(chosen.proj_ratio), chosen.channels_out, generator=generator
        )

    def forward(
        self, x: Float[Tensor, "batch *space channel_in"]
    ) -> Float[Tensor, "batch *space channel_out"]:
        """Return the output fields on the grid of `x`."""
        shape = x.shape[1:-1]
        if self.architecture.positional == "grid":
            x = self._with_positions(x)
        x = self._padded(self.lift(x))
        for layer, block in enumerate(self.blocks):
            x = block(x, None if self.joint is None else (self.joint, layer))
        if x.shape[1:-1] != shape:
            for dim, size in enumerate(shape, start=1):
                x = x.narrow(dim, 0, size)
        result: Tensor = self.project(x)
        return result

    def _with_positions(self, x: Float[Tensor, "batch *space channel"]) -> Float[Tensor, "batch *space more"]:
        grid = grid_positions(x.shape[1:-1], self.architecture.periodic, dtype=x.dtype, device=x.device)
        return torch.cat([x, grid.expand(x.shape[0], *grid.shape)], dim=-1)

    def _padded(self, x: Float[Tensor, "batch *space channel"]) -> Float[Tensor, "batch *padded channel"]:
        """Append zeros behind the closed axes, so that the periodic transform does not join their two ends.

        The period is then 1 + padding lengths of the axis on every grid, as nearly as its points allow.
        """
        longer = 1 + self.architecture.padding
        widths = [
            0 if is_periodic else max(0, round(longer * (size - 1)) - size)
            for size, is_periodic in zip(x.shape[1:-1], self.architecture.periodic, strict=True)
        ]
        if not any(widths):
            return x
        return nn.functional.pad(x, (0, 0, *(side for width in reversed(widths) for side in (0, width))))


class Block(nn.Module):
    """h = gelu(norm(S x) + W x), then y = gelu(norm(V₂ gelu(V₁ h) + g x)); the last block has no outer
    gelus.
    """

    def __init__(self, chosen: Architecture, *, is_last: bool, generator: torch.Generator | None) -> None:
        super().__init__()
        width = chosen.width
        self.is_last = is_last
        self.spectral = SpectralConvolution(
            width,
            width,
            chosen.modes,
            backend=chosen.backend,
            compression=chosen.compression,
            generator=generator,
        )
        self.skip = _skip(chosen.skip, width, generator)
        has_mlp = chosen.mlp_ratio > 0
        self.mlp = (
            ChannelMLP(width, chosen.hidden(chosen.mlp_ratio), width, generator=generator)
            if has_mlp
            else None
        )
        self.gate = Gate(width) if has_mlp else None
        self.norms = nn.ModuleList(
            FeatureNormalisation(width, chosen.norm) for _ in range(1 + has_mlp) if chosen.norm != "none"
        )

    def forward(
        self, x: Float[Tensor, "batch *space channel"], joint: tuple[FactorisedWeights, int] | None = None
    ) -> Float[Tensor, "batch *space channel"]:
        """Return the block's output on the same grid; `joint` are the spectral weights of all layers."""
        if isinstance(self.skip, Linear) and len(self.norms) == 0:
            made, matrix = self.spectral.factors_of(x, joint=joint)
            skip = Link(self.skip.weight, added=made, matrix=matrix)
            if self.is_last:
                return self._mixed(chain(x, [skip]), x)
            return chain(x, [skip, *self._links(x)], activated=True)
        s = self._normalised(self.spectral(x, joint=joint), 0)
        h = self._activated(s if self.skip is None else s + self.skip(x))
        return h if self.mlp is None else self._activated(self._normalised(self._mixed(h, x), 1))

    def _mixed(self, h: Tensor, x: Tensor) -> Tensor:
        links = self._links(x)
        return chain(h, links) if links else h

    def _links(self, x: Tensor) -> list[Link]:
        return [] if self.mlp is None or self.gate is None else self.mlp.links(x, self.gate.weight)

    def _normalised(self, x: Tensor, which: int) -> Tensor:
        return self.norms[which](x) if len(self.norms) > 0 else x

    def _activated(self, x: Tensor) -> Tensor:
        return x if self.is_last else nn.functional.gelu(x)


def _joint_weights(chosen: Architecture, generator: torch.Generator | None) -> FactorisedWeights | None:
    if not chosen.compression.joint:
        return None
    mode = [band.size for band in fourier.bands(chosen.modes)]
    return chosen.compression.weights(
        mode, (chosen.width, chosen.width), layers=chosen.layers, generator=generator
    )


def _skip(kind: Skip, width: int, generator: torch.Generator | None) -> nn.Module | None:
    if kind == "linear":
        return Linear(width, width, bias=False, generator=generator)
    return {"identity": nn.Identity(), "gate": Gate(width), "none": None}[kind]
