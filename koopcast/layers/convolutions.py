"""The choice among convolutions, and the residual block made of two of them."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers.base_grid import BaseGrid
from koopcast.layers.convolution import Convolution
from koopcast.layers.domain_normalisation import DomainNormalisation
from koopcast.layers.finite_difference import FiniteDifference
from koopcast.layers.interpolated_convolution import InterpolatedConvolution
from koopcast.layers.local_integral import LocalIntegral
from koopcast.layers.pointwise import Linear

ConvolutionKind = Literal["plain", "kernel_interp", "disco", "finite_diff"]
DomainNorm = Literal["none", "instance", "group"]


@dataclass(frozen=True)
class ConvolutionChoice:
    """A kind of convolution and the size of its kernel."""

    kind: ConvolutionKind
    kernel: int
    """Taps of each axis (`plain`, `kernel_interp`, `finite_diff`)."""
    radius: float
    """Of the disc, in units of the domain's shortest axis (`disco`)."""
    rings: int = 2
    sectors: int = 4

    def build(
        self,
        channels_in: int,
        channels_out: int,
        grid: BaseGrid,
        generator: torch.Generator | None,
        *,
        magnification: float = 1.0,
    ) -> nn.Module:
        """Return the layer for weights that refer to `grid`; discs are `magnification` times as wide."""
        if self.kind == "disco":
            return LocalIntegral(
                channels_in,
                channels_out,
                grid,
                radius=self.radius * magnification,
                shape=(self.rings, self.sectors),
                generator=generator,
            )
        if self.kind == "finite_diff":
            return ValueAndSlope(channels_in, channels_out, self.kernel, grid, generator=generator)
        layer = Convolution if self.kind == "plain" else InterpolatedConvolution
        return layer(channels_in, channels_out, self.kernel, grid, generator=generator)


class ValueAndSlope(nn.Module):
    """y = x W + b + differences of x: a first-order differential operator with constant coefficients."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        grid: BaseGrid,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.value = Linear(channels_in, channels_out, generator=generator)
        self.slope = FiniteDifference(channels_in, channels_out, kernel, grid, generator=generator)

    def forward(
        self, x: Float[Tensor, "batch *space channel_in"]
    ) -> Float[Tensor, "batch *space channel_out"]:
        """Return the sum."""
        result: Tensor = self.value(x) + self.slope(x)
        return result


class ResidualBlock(nn.Module):
    """y = x P + C₂ gelu(norm(C₁ gelu(norm(x)))), P the identity where the channels stay as many."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        convolutions: tuple[nn.Module, nn.Module],
        *,
        norm: DomainNorm,
        periodic: tuple[bool, ...],
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(convolutions)
        self.norms = nn.ModuleList(
            normalisation(norm, channels, periodic) for channels in (channels_in, channels_out)
        )
        self.skip = (
            nn.Identity()
            if channels_in == channels_out
            else Linear(channels_in, channels_out, bias=False, generator=generator)
        )

    def forward(
        self, x: Float[Tensor, "batch *space channel_in"]
    ) -> Float[Tensor, "batch *space channel_out"]:
        """Return the block's output on the same grid."""
        h = x
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            h = convolution(nn.functional.gelu(norm(h)))
        result: Tensor = self.skip(x) + h
        return result


def normalisation(norm: DomainNorm, channels: int, periodic: tuple[bool, ...]) -> nn.Module:
    """Return the normalisation over the domain: each channel by itself, all together, or none."""
    if norm == "none":
        return nn.Identity()
    return DomainNormalisation(channels, channels if norm == "instance" else 1, periodic)
