"""MultiONet: a deep operator network that sums over several hidden layers."""

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveInt, model_validator

from koopcast.layers.field_encoder import Encoder
from koopcast.layers.sensors import CoordinateFeatures
from koopcast.layers.towers import TowerActivation, TowerSizes
from koopcast.mapping import Signature
from koopcast.operators.base import OperatorSpec
from koopcast.operators.grids import grid_faults
from koopcast.operators.multionet_network import Architecture, MultiONet
from koopcast.spec import Problem

DEFAULT_HIDDEN = {"none": (), "mlp": (256, 128), "cnn": (32, 64)}


class MultiONetSpec(OperatorSpec):
    """A branch network of the input times a trunk network of the place, of equal widths, multiplied and
    summed layer by layer; with one layer in the sum it is a DeepONet.
    """

    kind: Literal["multionet"] = "multionet"
    width: PositiveInt = 64
    """Units of every layer of branch and trunk."""
    layers: int = Field(5, ge=2, le=32)
    """Layers of branch and trunk."""
    sum_layers: PositiveInt = 4
    """Layers, from the last one back, whose inner products are summed: 1 to `layers`."""
    branch_activation: TowerActivation = "silu_id"
    """Of the branch: `silu_id` is silu(x) + x. `silu` alone halves what differs from input to input in each
    layer."""
    trunk_activation: TowerActivation = "tanh_sin"
    """Of the trunk; `tanh_sin` is tanh(sin π(x + 1)) + x, `silu_sin` silu(sin π(x + 1)) + x."""
    encoder: Encoder = "none"
    """In front of the branch: nothing, hidden layers, or convolutions of stride 2 for fields."""
    hidden: tuple[PositiveInt, ...] | None = None
    """Widths of the hidden layers, or channels of the convolutions. Default: 256, 128 and 32, 64."""
    features: PositiveInt = 64
    """Numbers that an encoder hands to the branch."""
    latent: PositiveInt | None = None
    """Inner products that are mixed to the output variables; default: as many as there are variables."""
    trunk_features: CoordinateFeatures = "none"
    """What the trunk sees: coordinates scaled to (-1, 1), or with `fourier` their waves as well, which
    respect periodic axes. With more than one output record their time is a coordinate."""
    frequencies: PositiveInt = 4
    """Waves of each coordinate in the Fourier features."""

    any_resolution: ClassVar[bool] = False
    reference = (
        "Zang and Koutsourelakis 2025 (DGenNO); here copies of the branch share all layers but the first,"
        " and periodic axes may enter by their waves"
    )

    @model_validator(mode="after")
    def _options_have_a_meaning(self) -> "MultiONetSpec":
        if self.sum_layers > self.layers:
            raise ValueError(f"sum_layers: {self.sum_layers} is above {self.layers}, the layers; lower it")
        defaults = type(self).model_fields
        if self.encoder == "none":
            for name in ("hidden", "features"):
                if getattr(self, name) != defaults[name].default:
                    raise ValueError(f"{name}: there is no encoder; remove it, or set encoder: mlp")
        if self.trunk_features == "none" and self.frequencies != defaults["frequencies"].default:
            raise ValueError("frequencies: there are no Fourier features; set trunk_features: fourier")
        return self

    def faults(self, signature: Signature) -> Iterator[Problem]:
        """Refuse what is not a grid."""
        yield from super().faults(signature)
        yield from grid_faults(self.kind, signature)

    def build(self, signature: Signature, generator: torch.Generator) -> MultiONet:
        """Return the untrained network."""
        return MultiONet(
            Architecture(
                shape=signature.shape,
                periodic=tuple(axis.periodic for axis in signature.axes),
                channels_in=signature.channels_in,
                frames=signature.frames_out,
                variables=len(signature.outputs),
                sizes=TowerSizes(
                    self.width, self.layers, self.sum_layers, self.branch_activation, self.trunk_activation
                ),
                latent=self.latent or len(signature.outputs),
                encoder=self.encoder,
                hidden=DEFAULT_HIDDEN[self.encoder] if self.hidden is None else self.hidden,
                features=self.features,
                coordinates=self.trunk_features,
                frequencies=self.frequencies,
            ),
            generator,
        )
