"""The spatiotemporal Fourier neural operator as a network: any number of frames in, any number out."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers.normalisation import FeatureNormalisation
from koopcast.layers.pointwise import ChannelMLP, Linear
from koopcast.layers.positions import grid_positions
from koopcast.layers.spectral_bias import SpectralBias
from koopcast.layers.spectral_convolution import Backend, SpectralConvolution

FRAMES_A_UNIT = 100
"""Frames to a unit of the time that the encoding knows."""


@dataclass(frozen=True)
class Architecture:
    """Sizes and choices; `modes` and `periodic` have one entry a space axis."""

    inputs: int
    outputs: int
    frames_out: int
    modes: tuple[int, ...]
    periodic: tuple[bool, ...]
    time_modes: int = 5
    width: int = 10
    layers: int = 4
    latent_steps: int = 10
    mlp_ratio: float = 4.0
    beta: float = 0.01
    delta: float = 0.1
    carried: tuple[int, ...] | None = None
    """Which inputs the outputs continue: their last frame is added to every frame that is returned."""
    divergence_free: tuple[int, ...] | None = None
    """Which outputs are the components of a velocity, in the order of the axes."""
    backend: Backend = "auto"

    @property
    def space_time_modes(self) -> tuple[int, ...]:
        """Kept modes of all axes, both signs counted, time last."""
        return (*self.modes, 2 * (self.time_modes - 1))


class SFNO(nn.Module):
    """u(t) = u(0) + Q(B_L(… B_1(P(a)))), over space and time at once.

    The lifting P passes from the frames that are given to `latent_steps` frames, the output operator Q from
    there to as many as are asked for; neither number is in the weights.
    """

    def __init__(self, chosen: Architecture, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.architecture = chosen
        width = chosen.width
        features = chosen.inputs + max(width, len(chosen.modes) + 1)
        self.norm = FeatureNormalisation(features, "group")
        self.lift = Linear(features, width, generator=generator)
        self.blocks = nn.ModuleList(
            Block(chosen, is_first=layer == 0, generator=generator) for layer in range(chosen.layers)
        )
        self.reduce = Linear(width, chosen.outputs, generator=generator)
        self.output = OutputOperator(chosen, generator)

    def forward(
        self, x: Float[Tensor, "batch *space channel_in"], frames_out: int | None = None
    ) -> Float[Tensor, "batch *space channel_out"]:
        """Return `frames_out` frames (default: those of the training) after the ones given."""
        chosen = self.architecture
        steps = chosen.frames_out if frames_out is None else frames_out
        result: Tensor = self.output(self.latent(x), steps)
        if chosen.carried is not None:
            result = result + self._last(x)[..., None, :]
        if chosen.divergence_free is not None:
            result = without_divergence(result, chosen.divergence_free)
        return torch.flatten(result, -2)

    def latent(
        self, x: Float[Tensor, "batch *space channel_in"]
    ) -> Float[Tensor, "batch *space window variable"]:
        """Return what the output operator is given: zeros, as many as there are frames behind them, then the
        last given frame where it is carried on (else zeros), then the latent frames.
        """
        frames = x.unflatten(-1, (-1, self.architecture.inputs))
        v = self.lift(self.norm(torch.cat([frames, self._encoding(frames)], dim=-1)))
        for block in self.blocks:
            v = block(v)
        z = self.reduce(v)
        first = torch.zeros_like(z[..., :1, :])
        if self.architecture.carried is not None:
            first = self._last(x)[..., None, :]
        z = torch.cat([first, z], dim=-2)
        return torch.cat([torch.zeros_like(z), z], dim=-2)

    def _last(self, x: Float[Tensor, "batch *space channel_in"]) -> Float[Tensor, "batch *space variable"]:
        assert self.architecture.carried is not None
        return x[..., -self.architecture.inputs :][..., list(self.architecture.carried)]

    def _encoding(
        self, frames: Float[Tensor, "batch *space frame variable"]
    ) -> Float[Tensor, "batch *space frame feature"]:
        """Return coordinates, time t = 0 at the last given frame, and e^{βt} sin, cos of π (k + 1) t."""
        chosen, (*space, count) = self.architecture, frames.shape[1:-1]
        t = torch.arange(1 - count, 1, dtype=frames.dtype, device=frames.device) / FRAMES_A_UNIT
        waves = [
            (chosen.beta * t).exp() * (torch.cos if k % 2 else torch.sin)(math.pi * (k + 1) * t)
            for k in range(chosen.width - len(space) - 1)
        ]
        grid = grid_positions(space, chosen.periodic, dtype=frames.dtype, device=frames.device)
        in_time = torch.stack([t, *waves], dim=-1)
        parts = (
            grid[..., None, :].expand(*space, count, -1),
            in_time.expand(*space, count, -1),
        )
        encoding = torch.cat(parts, dim=-1)
        return encoding.expand(len(frames), *encoding.shape)


class Block(nn.Module):
    """v⁺ = gelu(MLP(K v) + W v); the first one passes to the latent frames, W sees its last frame alone."""

    def __init__(
        self, chosen: Architecture, *, is_first: bool, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        width = chosen.width
        self.latent_steps = chosen.latent_steps if is_first else None
        self.spectral = SpectralConvolution(
            width, width, chosen.space_time_modes, backend=chosen.backend, generator=generator
        )
        self.mlp = ChannelMLP(width, max(1, round(chosen.mlp_ratio * width)), width, generator=generator)
        self.skip = Linear(width, width, bias=False, generator=generator)

    def forward(
        self, v: Float[Tensor, "batch *space frame channel"]
    ) -> Float[Tensor, "batch *space latent channel"]:
        """Return the features of the latent frames."""
        kept, shape = v, tuple(v.shape[1:-1])
        if self.latent_steps is not None:
            kept, shape = v[..., -1:, :], (*v.shape[1:-2], self.latent_steps)
        result: Tensor = self.mlp(self.spectral(v, shape)) + self.skip(kept)
        return nn.functional.gelu(result)


class OutputOperator(nn.Module):
    """Q z = K z + δ b on the window of `SFNO.latent`, with n frames from its middle on.

    The window is twice as long as the time to be predicted, since time does not repeat: its first half, zeros
    where it enters, is dropped where it leaves. b is a complex number a kept mode.
    """

    def __init__(self, chosen: Architecture, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.delta = chosen.delta
        self.spectral = SpectralConvolution(
            chosen.outputs,
            chosen.outputs,
            chosen.space_time_modes,
            backend=chosen.backend,
            generator=generator,
        )
        self.bias = SpectralBias(chosen.outputs, chosen.space_time_modes)

    def forward(
        self, z: Float[Tensor, "batch *space window variable"], steps: int
    ) -> Float[Tensor, "batch *space frame variable"]:
        """Return `steps` frames."""
        shape = (*z.shape[1:-2], 2 * (steps + 1))
        window: Tensor = self.spectral(z, shape) + self.delta * self.bias(shape)
        return window[..., steps + 2 :, :]


def without_divergence(
    frames: Float[Tensor, "batch *space frame variable"], components: tuple[int, ...]
) -> Float[Tensor, "batch *space frame variable"]:
    """Return the frames with the gradient part of a velocity taken away: û - k (k·û) / |k|² (Leray).

    Args:
        frames: On periodic axes of one spacing.
        components: Which variables are the components along each axis, in the order of the axes.
    """
    space = frames.shape[1:-2]
    dims = tuple(range(1, 1 + len(space)))
    place = list(components)
    spectrum = torch.fft.rfftn(frames[..., place], dim=dims)
    lines = [_waves(size, is_half=dim == len(space) - 1, like=frames) for dim, size in enumerate(space)]
    k = torch.stack(torch.meshgrid(*lines, indexing="ij"), dim=-1)[..., None, :]
    along = (spectrum * k).sum(-1, keepdim=True) / k.square().sum(-1, keepdim=True).clamp_min(1)
    velocity = torch.fft.irfftn(spectrum - k * along, s=space, dim=dims)
    result = frames.clone()
    result[..., place] = velocity
    return result


def _waves(size: int, *, is_half: bool, like: Tensor) -> Float[Tensor, " wave"]:
    """Return the wave numbers of an axis; the one at Nyquist has no sign, and no derivative."""
    waves: Tensor = torch.fft.fftfreq(size, 1 / size, dtype=like.dtype, device=like.device)
    if size % 2 == 0:
        waves[size // 2] = 0
    return waves.narrow(0, 0, size // 2 + 1) if is_half else waves
