"""Residual convolutional network as an operator."""

from typing import Annotated, Literal

import torch
from pydantic import Field

from koopcast.mapping import Signature
from koopcast.operators.cnn_no_network import ResidualCNN
from koopcast.operators.convolutional import ConvolutionalSpec


class CNNSpec(ConvolutionalSpec):
    """Residual blocks of two convolutions on the grid of the input; 1 or 2 space axes."""

    kind: Literal["cnn_no"] = "cnn_no"
    layers: Annotated[int, Field(ge=1, le=16)] = 4
    """Residual blocks."""

    reference = (
        "Berner et al. 2025 (networks as operators), Liu-Schiaffini et al. 2024 (`disco`, `finite_diff`). "
        "An interpolated kernel falls to 0 beyond its taps, so that each keeps its sum on every grid, where "
        "the authors' code scales the sum of a constant kernel; differences go on straight beyond closed "
        "ends, where theirs see zeros"
    )

    def build(self, signature: Signature, generator: torch.Generator) -> ResidualCNN:
        """Return the untrained network for fields like these."""
        return ResidualCNN(self.architecture(signature), self.layers, generator)
