"""Vision transformer as an operator."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt

from koopcast.layers.attention import Form
from koopcast.layers.convolutions import DomainNorm
from koopcast.mapping import Signature
from koopcast.operators.base import OperatorSpec
from koopcast.operators.grids import grid_faults
from koopcast.operators.oformer_network import TransformerArchitecture
from koopcast.operators.vit_no_network import PatchArchitecture, PatchTransformer
from koopcast.spec import Problem


class ViTSpec(OperatorSpec):
    """Attention among patches of the domain, each of which is one token; 1 to 3 space axes."""

    kind: Literal["vit_no"] = "vit_no"
    patches: Literal["physical", "plain"] = "physical"
    """`physical`: as many patches on every grid, each the same part of the domain; `plain`: `patch` points of
    whatever grid make a patch, whose weights belong to the training grid."""
    patch: PositiveInt = 4
    """Points of the training grid along each axis of a patch; where they do not fill an axis, the field is
    resampled to the nearest number that does."""
    allow_resolution_shift: bool = False
    """Let `patches: plain` act on another grid than that of training, where they cover another part of the
    domain."""
    attention: Form = "softmax"
    """`softmax`: weighted mean over all tokens; `galerkin`: linear in the keys."""
    width: PositiveInt = 64
    """Channels of a token."""
    layers: Annotated[int, Field(ge=1, le=16)] = 4
    """Blocks."""
    heads: PositiveInt = 4
    """Attentions side by side."""
    head_channels: PositiveInt = 16
    """Channels of each."""
    channels: PositiveInt = 16
    """Channels that a token gives to each point of its patch."""
    position_waves: PositiveInt = 4
    """Waves of each axis that tell a token where the centre of its patch lies."""
    mlp_ratio: PositiveFloat = 2.0
    """Hidden channels of the network in each block, in units of the width."""
    norm: DomainNorm = "instance"
    """Give features mean 0 and variance 1 over the tokens before each part of a block: each channel by itself
    (`instance`), all together (`group`)."""

    transfer_hint: ClassVar[str] = "set patches: physical, resample_io or allow_resolution_shift"
    reference = (
        "Dosovitskiy et al. 2021 (ViT), Berner et al. 2025 (patches of fixed physical size). Positions are "
        "functions of the patch's centre in place of a table; a pointwise map of the input is added to what "
        "the tokens give back, since a patch holds no more detail than the training grid"
    )

    def transfers(self) -> bool:
        """Return whether patches keep their size, or its change is allowed or avoided."""
        keeps_size = self.patches == "physical" or self.resample_io != "none"
        return super().transfers() and (keeps_size or self.allow_resolution_shift)

    def faults(self, signature: Signature) -> Iterator[Problem]:
        """Refuse what is not a grid, and patches larger than it."""
        yield from super().faults(signature)
        if self.allow_resolution_shift and self.patches == "physical":
            yield Problem(("allow_resolution_shift",), "patches of fixed size work on any grid; remove it")
        problems = list(grid_faults(self.kind, signature))
        yield from problems
        if problems:
            return
        shortest = min(signature.axes, key=lambda axis: axis.size)
        if self.patch > shortest.size:
            yield Problem(
                ("patch",),
                f"{self.patch} is above {shortest.size}, the points of axis '{shortest.name}'; lower it",
            )

    def build(self, signature: Signature, generator: torch.Generator) -> PatchTransformer:
        """Return the untrained network for fields like these."""
        counts = tuple(max(1, round(size / self.patch)) for size in signature.shape)
        axes = len(signature.axes)
        blocks = TransformerArchitecture(
            channels_in=signature.channels_in,
            channels_out=signature.channels_out,
            # Patches share the domain in equal parts, on closed axes too.
            periodic=(True,) * axes,
            width=self.width,
            layers=self.layers,
            heads=self.heads,
            head_channels=self.head_channels,
            form=self.attention,
            rotary=False,
            position_waves=self.position_waves,
            mlp_ratio=self.mlp_ratio,
            norm=self.norm,
        )
        return PatchTransformer(
            PatchArchitecture(
                periodic=tuple(axis.periodic for axis in signature.axes),
                patch=self.patch,
                counts=counts if self.patches == "physical" else None,
                channels=self.channels,
                blocks=blocks,
            ),
            generator,
        )
