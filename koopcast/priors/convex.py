"""Networks that are convex in their input, and their gradients."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers.padded_convolution import PaddedConvolution, Padding

START = 0.1
"""Weights that must not be negative begin uniform in [0, 2 START / fan-in]."""


class ConvexNetwork(nn.Module):
    """f = ∇ψ with ψ = Σ w·y_L + u·x + ½ α |x|², y₁ = σ(U₁ x + b₁) and
    y_{l+1} = σ(W_l y_l + U_l x + b_l).

    σ is a softplus; W and w are not negative, so that ψ is convex and f a proximal operator of some function
    for all weights (Gribonval and Nikolova 2020).
    """

    def __init__(
        self,
        injections: Sequence[nn.Module],
        mixings: Sequence[nn.Module],
        ends: tuple[int, int],
        beta: float,
        alpha: float,
    ) -> None:
        super().__init__()
        channels, hidden = ends
        self.injections, self.mixings = nn.ModuleList(injections), nn.ModuleList(mixings)
        self.last = nn.Parameter(torch.full((hidden,), 1 / hidden))
        self.slope = nn.Parameter(torch.zeros(channels))
        self._beta, self._alpha = beta, alpha

    def potential(self, x: Float[Tensor, "batch channel *space"]) -> Float[Tensor, " batch"]:
        """Return ψ."""
        y = self._activated(self.injections[0](x))
        for mixing, injection in zip(self.mixings, list(self.injections)[1:], strict=True):
            y = self._activated(mixing(y) + injection(x))
        ends = torch.einsum("bc...,c->b", y, self.last) + torch.einsum("bc...,c->b", x, self.slope)
        square: Tensor = ends + 0.5 * self._alpha * x.flatten(1).square().sum(dim=1)
        return square

    def forward(self, x: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel *space"]:
        """Return f; differentiable where x or the weights ask for gradients."""
        is_recorded = torch.is_grad_enabled() and (x.requires_grad or self.last.requires_grad)
        # Assimilation may run in inference mode, whose tensors take no part in derivatives.
        with torch.inference_mode(False), torch.enable_grad():
            free = x if x.requires_grad else x.detach().clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self.potential(free).sum(), free, create_graph=is_recorded)
        return gradient

    @torch.no_grad()
    def project(self) -> None:
        """Set weights that must not be negative to 0 where they are."""
        self.last.clamp_min_(0)
        for mixing in self.mixings:
            for weight in mixing.parameters():
                weight.clamp_min_(0)

    def _activated(self, y: Tensor) -> Tensor:
        return nn.functional.softplus(y, beta=self._beta)


class Whole(nn.Module):
    """Gives a layer the whole field as one vector, and its output as channels without space."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch hidden"]:
        """Return the output."""
        result: Tensor = self.layer(x.flatten(1))
        return result


def dense(
    values: int,
    hidden: int,
    layers: int,
    *,
    channels: int,
    beta: float,
    alpha: float,
    generator: torch.Generator,
) -> ConvexNetwork:
    """Return a fully connected network of fields with so many values in all."""
    injections = [Whole(nn.Linear(values, hidden)) for _ in range(layers)]
    mixings = [nn.Linear(hidden, hidden, bias=False) for _ in range(layers - 1)]
    for injection in injections:
        _uniform(injection, values**-0.5, generator)
    return _started(injections, mixings, (channels, hidden), hidden, beta, alpha, generator)


def convolutional(
    channels: int,
    hidden: int,
    layers: int,
    *,
    kernel: int,
    padding: Sequence[Padding],
    beta: float,
    alpha: float,
    generator: torch.Generator,
) -> ConvexNetwork:
    """Return a network of convolutions, which knows no place."""

    def layer(n: int, *, bias: bool) -> PaddedConvolution:
        return PaddedConvolution(n, hidden, padding, kernel=kernel, bias=bias, generator=generator)

    injections = [layer(channels, bias=True) for _ in range(layers)]
    mixings = [layer(hidden, bias=False) for _ in range(layers - 1)]
    fan_in = hidden * kernel ** len(padding)
    return _started(injections, mixings, (channels, hidden), fan_in, beta, alpha, generator)


def _started(
    injections: Sequence[nn.Module],
    mixings: Sequence[nn.Module],
    ends: tuple[int, int],
    fan_in: int,
    beta: float,
    alpha: float,
    generator: torch.Generator,
) -> ConvexNetwork:
    for mixing in mixings:
        for weight in mixing.parameters():
            nn.init.uniform_(weight, 0, 2 * START / fan_in, generator=generator)
    return ConvexNetwork(injections, mixings, ends, beta, alpha)


def _uniform(module: nn.Module, bound: float, generator: torch.Generator) -> None:
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
