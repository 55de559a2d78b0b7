"""Gains of a learned observer: what an innovation says of the whole field."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers.pointwise import ChannelMLP, Linear
from koopcast.layers.spectral_convolution import SpectralConvolution
from koopcast.operators.fno_network import FNO, Architecture

GainForm = Literal["free", "odd", "linear", "static"]


@dataclass(frozen=True)
class GainChoice:
    """Form and sizes of a gain; `architecture` has the channels of the state in and out."""

    form: GainForm
    architecture: Architecture
    terms: int = 4
    kappa: float = 0.5


class FreeGain(nn.Module):
    """K(x, e, m) = κ e + N(x, e, m), and with `is_odd` κ e + N(x, e, m) - N(x, 0, m), which is 0 at e = 0.

    N is a Fourier neural operator whose last layer is 0 at the start: training sets out from nudging.
    """

    def __init__(self, choice: GainChoice, generator: torch.Generator | None) -> None:
        super().__init__()
        channels = choice.architecture.channels_out
        self.is_odd = choice.form == "odd"
        self.static = StaticGain(channels, choice.kappa)
        self.operator = quiet(FNO(replace(choice.architecture, channels_in=3 * channels), generator))

    def forward(
        self,
        x: Float[Tensor, "batch *space channel"],
        e: Float[Tensor, "batch *space channel"],
        m: Float[Tensor, "batch *space channel"],
    ) -> Float[Tensor, "batch *space channel"]:
        """Return the correction."""
        result: Tensor = self.static(x, e, m) + self.operator(torch.cat([x, e, m], dim=-1))
        if self.is_odd:
            result = result - self.operator(torch.cat([x, torch.zeros_like(e), m], dim=-1))
        return result


class LinearGain(nn.Module):
    """K(x, e, m) = κ e + Σ_j α_j(x, m) S_j e: multipliers from a pointwise network, S_j spectral and local.

    It is linear in e, as the gain of a Kalman filter is.
    """

    def __init__(self, choice: GainChoice, generator: torch.Generator | None) -> None:
        super().__init__()
        sizes = choice.architecture
        channels, terms = sizes.channels_out, choice.terms
        self.terms = terms
        self.static = StaticGain(channels, choice.kappa)
        self.spectral = SpectralConvolution(
            channels, terms * channels, sizes.modes, backend=sizes.backend, generator=generator
        )
        nn.init.zeros_(self.spectral.bias)
        self.spectral.bias.requires_grad_(False)
        self.local = Linear(channels, terms * channels, bias=False, generator=generator)
        self.features = FNO(replace(sizes, channels_in=2 * channels, channels_out=sizes.width), generator)
        self.multipliers = ChannelMLP(sizes.width, sizes.width, terms * channels, generator=generator)
        _silence(self.multipliers)

    def forward(
        self,
        x: Float[Tensor, "batch *space channel"],
        e: Float[Tensor, "batch *space channel"],
        m: Float[Tensor, "batch *space channel"],
    ) -> Float[Tensor, "batch *space channel"]:
        """Return the correction."""
        alpha = self.multipliers(self.features(torch.cat([x, m], dim=-1)))
        terms = (alpha * (self.spectral(e) + self.local(e))).unflatten(-1, (self.terms, -1))
        result: Tensor = self.static(x, e, m) + terms.sum(dim=-2)
        return result


class StaticGain(nn.Module):
    """K(x, e, m) = κ e with one number a variable: nudging."""

    def __init__(self, channels: int, kappa: float) -> None:
        super().__init__()
        self.kappa = nn.Parameter(torch.full((channels,), kappa))

    def forward(
        self,
        x: Float[Tensor, "batch *space channel"],
        e: Float[Tensor, "batch *space channel"],
        m: Float[Tensor, "batch *space channel"],
    ) -> Float[Tensor, "batch *space channel"]:
        """Return κ e."""
        return self.kappa * e


def gain_network(choice: GainChoice, generator: torch.Generator | None) -> nn.Module:
    """Return the untrained gain: (forecast, innovation, mask) -> correction."""
    match choice.form:
        case "static":
            return StaticGain(choice.architecture.channels_out, choice.kappa)
        case "linear":
            return LinearGain(choice, generator)
        case _:
            return FreeGain(choice, generator)


def quiet(network: FNO) -> FNO:
    """Return the network after its last layer was set to 0."""
    _silence(network.project)
    return network


def _silence(last: ChannelMLP) -> None:
    nn.init.zeros_(last.second.weight)
    if last.second.bias is not None:
        nn.init.zeros_(last.second.bias)
