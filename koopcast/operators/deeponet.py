"""Deep operator network."""

from collections.abc import Iterator
from math import prod
from typing import Literal

import torch
from pydantic import PositiveInt, model_validator
from torch import nn

from koopcast.layers.sensors import CoordinateFeatures
from koopcast.mapping import Signature
from koopcast.models import Pairs
from koopcast.operators.deeponet_network import Architecture, Basis, DeepONet, Modes
from koopcast.operators.sensing import SensingSpec, inner
from koopcast.spec import Problem


class DeepONetSpec(SensingSpec):
    """A branch network of the input's values at sensors times a trunk network of the place, summed over p
    terms.
    """

    kind: Literal["deeponet"] = "deeponet"
    p: PositiveInt = 40
    """Terms of the sum: outputs of the branch and of the trunk."""
    branch: tuple[PositiveInt, ...] = (40,)
    """Hidden layers of the branch, or channels of its convolutions, each of which halves the sensors."""
    branch_encoder: Literal["mlp", "cnn"] = "mlp"
    """The branch is fully connected, or begins with convolutions over the sensors (1 or 2 space axes)."""
    stacked: bool = False
    """A branch network of its own for every term, instead of one with p outputs."""
    basis: Basis = "trunk"
    """`trunk`: functions of the place found in training, known everywhere. `pod`: mean and leading modes of
    the training outputs, on their grid alone; the branch is then all that is trained."""
    trunk: tuple[PositiveInt, ...] = (40,)
    """Hidden layers of the trunk. Its last layer, of p numbers, is activated too."""
    trunk_features: CoordinateFeatures = "none"
    """What the trunk sees: coordinates scaled to (-1, 1), or with `fourier` their waves as well, which
    respect periodic axes. With more than one output record their time is a coordinate."""
    frequencies: PositiveInt = 4
    """Waves of each coordinate in the Fourier features."""
    output_bias: bool = True
    """Add one number to each output variable."""

    reference = (
        "Lu et al. 2021; basis `pod`: Lu et al. 2022 (A comprehensive and fair comparison), there without "
        "scaling. Here the sum is divided by √p, and branch and trunk may differ in depth and width"
    )

    @model_validator(mode="after")
    def _options_have_a_meaning(self) -> "DeepONetSpec":
        if self.stacked and self.branch_encoder == "cnn":
            raise ValueError("stacked: branches of their own are fully connected; set branch_encoder: mlp")
        defaults = type(self).model_fields
        if self.basis == "pod":
            for name in ("trunk", "trunk_features"):
                if getattr(self, name) != defaults[name].default:
                    raise ValueError(f"{name}: with basis 'pod' there is no trunk; remove it")
        if self.trunk_features == "none" and self.frequencies != defaults["frequencies"].default:
            raise ValueError("frequencies: there are no Fourier features; set trunk_features: fourier")
        return self

    def faults(self, signature: Signature) -> Iterator[Problem]:
        """Refuse convolutions in three dimensions, and more modes than there are values."""
        yield from super().faults(signature)
        if self.branch_encoder == "cnn" and len(signature.axes) > 2:
            yield Problem(
                ("branch_encoder",), f"{len(signature.axes)} space axes; cnn takes 1 or 2, so choose mlp"
            )
        values = prod(signature.shape) * signature.frames_out
        if self.basis == "pod" and self.p > values:
            yield Problem(("p",), f"{self.p} is above {values}, the values of an output variable; lower p")

    def build(self, signature: Signature, generator: torch.Generator) -> DeepONet:
        """Return the untrained network."""
        return DeepONet(
            Architecture(
                shape=signature.shape,
                periodic=tuple(axis.periodic for axis in signature.axes),
                sensors=self.counts(signature),
                channels_in=signature.channels_in,
                frames=signature.frames_out,
                variables=len(signature.outputs),
                branch=self.branch,
                trunk=self.trunk,
                p=self.p,
                activation=self.activation,
                stacked=self.stacked,
                output_bias=self.output_bias,
                branch_encoder=self.branch_encoder,
                basis=self.basis,
                trunk_features=self.trunk_features,
                frequencies=self.frequencies,
            ),
            generator,
        )

    def calibrate(self, network: nn.Module, pairs: Pairs) -> None:
        """Take the modes of the training outputs, where they are the basis."""
        network = inner(network)
        assert isinstance(network, DeepONet)
        if isinstance(network.basis, Modes):
            network.basis.fit(lambda: (outputs for _, outputs in pairs()))
