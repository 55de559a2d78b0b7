"""The multigrid neural operator as a network: its linear maps are V-cycles of small convolutions."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers.padded_convolution import (
    PaddedConvolution,
    Padding,
    Prolongation,
    channels_first,
    channels_last,
)


@dataclass(frozen=True)
class Architecture:
    """Sizes and choices of a multigrid neural operator; `shape` and `padding` have one entry a space axis,
    `smoothing` one pair (steps on the way down, steps on the way up) a level, finest first.
    """

    channels_in: int
    channels_out: int
    shape: tuple[int, ...]
    padding: tuple[Padding, ...]
    smoothing: tuple[tuple[int, int], ...]
    width: int = 24
    layers: int = 4
    residual_restrict: bool = False
    out_skip: bool = False


class MgNO(nn.Module):
    """u ← gelu(W_l u + B_l u) for each layer l, W_l a V-cycle and B_l pointwise; then a pointwise map."""

    def __init__(self, architecture: Architecture, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.architecture = chosen = architecture
        channels = [chosen.channels_in, *[chosen.width] * (chosen.layers - 1)]
        self.cycles = nn.ModuleList(VCycle(chosen, count, generator) for count in channels)
        self.pointwise = nn.ModuleList(
            PaddedConvolution(count, chosen.width, chosen.padding, kernel=1, bias=True, generator=generator)
            for count in channels
        )
        self.project = PaddedConvolution(
            chosen.width, chosen.channels_out, chosen.padding, kernel=1, generator=generator
        )

    def forward(
        self, x: Float[Tensor, "batch *space channel_in"]
    ) -> Float[Tensor, "batch *space channel_out"]:
        """Return the output fields on the grid that the network was built for."""
        u = channels_first(x)
        for cycle, pointwise in zip(self.cycles, self.pointwise, strict=True):
            u = nn.functional.gelu(cycle(u) + pointwise(u))
        result = channels_last(self.project(u))
        return result + x[..., -result.shape[-1] :] if self.architecture.out_skip else result


class VCycle(nn.Module):
    """A linear map f -> u: one multigrid V-cycle for A u = f, in which every operator is learned.

    From the finest level down: u ← u + S (f - A u) several times, u = 0 before the first; then f ← R f, or
    R (f - A u), and u ← Π u on the next level. From the coarsest level up: u ← u + P u_coarse, then steps
    as before. Each S, A, R, Π and P has its own weights.

    Args:
        chosen: Sizes and choices.
        channels: Channels of f; u has as many as the network is wide.
        generator: Draws the weights.
    """

    def __init__(self, chosen: Architecture, channels: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        before, after = zip(*chosen.smoothing, strict=True)
        sizes = level_shapes(chosen.shape, len(before))
        self.down = nn.ModuleList(
            Smoothing(chosen, channels, count, generator, starts=level == 0)
            for level, count in enumerate(before)
        )
        self.up = nn.ModuleList(Smoothing(chosen, channels, count, generator) for count in after)
        self.restrict = nn.ModuleList(Restriction(chosen, channels, generator) for _ in sizes[1:])
        self.prolong = nn.ModuleList(
            Prolongation(chosen.width, chosen.padding, fine, generator=generator) for fine in sizes[:-1]
        )

    def forward(self, f: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch width *space"]:
        """Return u on the grid of f."""
        u: Tensor = self.down[0](None, f)
        finer: list[tuple[Tensor, Tensor]] = []
        for restrict, smooth in zip(self.restrict, self.down[1:], strict=True):
            finer.append((u, f))
            u, f = restrict(u, f)
            u = smooth(u, f)
        u = self.up[-1](u, f)
        for level in reversed(range(len(finer))):
            kept, f = finer[level]
            u = self.up[level](kept + self.prolong[level](u), f)
        return u


class Smoothing(nn.Module):
    """`count` steps u ← u + S (f - A u), each with its own S and A.

    Where it starts a cycle, u = 0 before its first step, which is S f.
    """

    def __init__(
        self,
        chosen: Architecture,
        channels: int,
        count: int,
        generator: torch.Generator | None,
        *,
        starts: bool = False,
    ) -> None:
        super().__init__()
        assert count > 0 or not starts, "a cycle starts with a step"
        self.starts = starts
        self.S = nn.ModuleList(
            PaddedConvolution(channels, chosen.width, chosen.padding, generator=generator)
            for _ in range(count)
        )
        self.A = nn.ModuleList(
            PaddedConvolution(chosen.width, channels, chosen.padding, generator=generator)
            for _ in range(count - starts)
        )

    def forward(self, u: Tensor | None, f: Tensor) -> Tensor:
        """Return u after the steps."""
        if u is None:
            u = self.S[0](f)
        for S, A in zip(self.S[int(self.starts) :], self.A, strict=True):
            u = u + S(f - A(u))
        return u


class Restriction(nn.Module):
    """u and the right-hand side on the next coarser grid: Π u, and R f or R (f - A u)."""

    def __init__(self, chosen: Architecture, channels: int, generator: torch.Generator | None) -> None:
        super().__init__()
        width, padding = chosen.width, chosen.padding
        self.R = PaddedConvolution(channels, channels, padding, stride=2, generator=generator)
        self.Pi = PaddedConvolution(width, width, padding, stride=2, generator=generator)
        self.A = (
            PaddedConvolution(width, channels, padding, generator=generator)
            if chosen.residual_restrict
            else None
        )

    def forward(self, u: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
        """Return both."""
        return self.Pi(u), self.R(f if self.A is None else f - self.A(u))


def level_shapes(shape: Sequence[int], levels: int) -> list[tuple[int, ...]]:
    """Return the points of each axis on each level: half of the finer level, rounded up."""
    shapes = [tuple(shape)]
    while len(shapes) < levels:
        shapes.append(tuple(-(-size // 2) for size in shapes[-1]))
    return shapes
