"""Training windows of a learned observer: noisy measurements, masks and first states drawn from records."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.observations.synthetic import ObservationError

GRID_STEPS = (2, 3, 4)
"""Spacings of the regular sub-grids that random masks hold."""
LEAST_SHARE = 0.2
"""Smallest share of points that random masks hold."""


@dataclass(frozen=True)
class Drawing:
    """How windows are drawn; numbers in units of each variable's spread."""

    warmup: int
    p_observe: tuple[float, float]
    """Range of the probability of a measurement after the warm-up; each window has its own."""
    noise: tuple[ObservationError, ObservationError]
    """Range of the error of measurements, ends included; each window has its own, uniform in decibels."""
    has_random_masks: bool
    start_std: float = 0.3
    """Spread of the noise on a first state that is near the truth."""


@dataclass(frozen=True)
class Window:
    """A first state, and the measurements of the records that follow it."""

    start: Float[Tensor, "batch *space channel"]
    values: Float[Tensor, "batch time *space channel"]
    masks: Float[Tensor, "batch time *space channel"]


def draw_window(
    truth: Float[Tensor, "batch frame *space channel"],
    drawing: Drawing,
    spread: Float[Tensor, " channel"],
    generator: torch.Generator,
) -> Window:
    """Return a window over normalised records; half of the first states are 0, half the truth plus noise.

    Measurements are there at each of the first `warmup` times, and then with the window's own probability.

    Args:
        truth: Records, normalised.
        drawing: How.
        spread: Standard deviation of each variable in physical units.
        generator: Of all draws, on the CPU.
    """
    device = truth.device
    truth = truth.cpu()
    later = truth[:, 1:]
    blank = [1] * (truth.ndim - 2)
    share = torch.rand(len(truth), generator=generator).reshape(-1, 1, *blank)
    low, high = (_scaled(error, spread.cpu()).log() for error in drawing.noise)
    std = torch.exp(low + share * (high - low))
    values = later + std * torch.randn(later.shape, generator=generator)
    times = _times(later.shape[:2], drawing, generator).reshape(*later.shape[:2], *blank)
    sites = _sites(truth.shape[2:-1], len(truth), drawing, generator)[:, None, ..., None]
    near = truth[:, 0] + drawing.start_std * torch.randn(truth[:, 0].shape, generator=generator)
    is_near = torch.rand(len(truth), generator=generator) < 0.5
    start = torch.where(is_near.reshape(-1, *blank), near, 0.0)
    masks = (times * sites).expand_as(values)
    return Window(start.to(device), values.to(device), masks.to(device))


def _scaled(error: ObservationError, spread: Float[Tensor, " channel"]) -> Float[Tensor, " channel"]:
    """Return the standard deviation of an error in units of each variable's spread."""
    variance = spread.square()
    return (error.variances(variance) / variance.where(variance > 0, 1.0)).sqrt()


def _times(shape: Sequence[int], drawing: Drawing, generator: torch.Generator) -> Float[Tensor, "batch time"]:
    """Return 1 at times with a measurement."""
    low, high = drawing.p_observe
    probability = low + (high - low) * torch.rand(shape[0], 1, generator=generator)
    arrives = torch.rand(*shape, generator=generator) < probability
    arrives[:, : drawing.warmup] = True
    return arrives.float()


def _sites(
    shape: Sequence[int], count: int, drawing: Drawing, generator: torch.Generator
) -> Float[Tensor, "batch *space"]:
    """Return 1 at measured points: everywhere; half of random masks are sub-grids or random points."""
    masks = torch.ones(count, *shape)
    if not drawing.has_random_masks:
        return masks
    kinds = torch.randint(4, (count,), generator=generator).tolist()
    for mask, kind in zip(masks, kinds, strict=True):
        if kind == 1:
            step = GRID_STEPS[int(torch.randint(len(GRID_STEPS), (), generator=generator))]
            offsets = torch.randint(step, (len(shape),), generator=generator).tolist()
            mask.zero_()
            mask[tuple(slice(offset, None, step) for offset in offsets)] = 1.0
        elif kind == 2:
            share = LEAST_SHARE + (1 - LEAST_SHARE) * torch.rand((), generator=generator)
            mask.copy_(torch.rand(shape, generator=generator) < share)
    return masks
