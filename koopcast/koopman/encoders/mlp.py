"""Fully connected encoder and decoder."""

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import nn

from koopcast.koopman.encoders.base import EncoderSpec, Ends
from koopcast.layers.perceptron import Activation, Perceptron

Hidden = Annotated[tuple[PositiveInt, ...], Field(max_length=16)]


class MLPSpec(EncoderSpec):
    """Fully connected layers over all values of a state; the decoder has the same in reverse."""

    kind: Literal["mlp"] = "mlp"
    hidden: Hidden = (96, 96)
    """Widths of the hidden layers."""
    activation: Activation = "gelu"
    """Between layers."""

    reference = "Lusch, Kutz and Brunton 2018"

    def encoder(self, ends: Ends, generator: torch.Generator) -> nn.Module:
        """Return the layers, narrowing to the latent vector."""
        sizes = (ends.cells * ends.channels_in, *self.hidden, ends.latent)
        return nn.Sequential(nn.Flatten(), Perceptron(sizes, self.activation, generator=generator))

    def decoder(self, ends: Ends, generator: torch.Generator) -> nn.Module:
        """Return the layers in reverse."""
        sizes = (ends.latent, *reversed(self.hidden), ends.cells * ends.channels_out)
        shape = (*(axis.size for axis in ends.axes), ends.channels_out)
        return nn.Sequential(Perceptron(sizes, self.activation, generator=generator), nn.Unflatten(1, shape))
