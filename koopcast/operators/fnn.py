"""Fully connected network of input and place, with which deep operator networks are compared."""

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt, model_validator

from koopcast.layers.sensors import CoordinateFeatures, Queries, Sensors
from koopcast.mapping import Signature
from koopcast.operators.fnn_network import FNN
from koopcast.operators.sensing import SensingSpec


class FNNSpec(SensingSpec):
    """One fully connected network of the input's values at sensors and the place, side by side."""

    kind: Literal["fnn"] = "fnn"
    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (100, 100)
    """Hidden layers."""
    coordinate_features: CoordinateFeatures = "none"
    """What the network sees of a place: coordinates scaled to (-1, 1), or with `fourier` their waves as well,
    which respect periodic axes. With more than one output record their time is a coordinate."""
    frequencies: PositiveInt = 4
    """Waves of each coordinate in the Fourier features."""

    reference = "baseline of Lu et al. 2021 (DeepONet): two hidden layers of 100"

    @model_validator(mode="after")
    def _frequencies_have_a_meaning(self) -> "FNNSpec":
        default = type(self).model_fields["frequencies"].default
        if self.coordinate_features == "none" and self.frequencies != default:
            raise ValueError("frequencies: there are no Fourier features; set coordinate_features: fourier")
        return self

    def build(self, signature: Signature, generator: torch.Generator) -> FNN:
        """Return the untrained network."""
        periodic = tuple(axis.periodic for axis in signature.axes)
        return FNN(
            Sensors(signature.shape, periodic, self.counts(signature)),
            Queries(periodic, signature.frames_out, self.coordinate_features, self.frequencies),
            signature.channels_in,
            len(signature.outputs),
            self.hidden,
            self.activation,
            generator,
        )
