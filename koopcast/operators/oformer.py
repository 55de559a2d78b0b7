"""Transformer as an operator."""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import nn

from koopcast.layers.attention import Form
from koopcast.layers.convolutions import DomainNorm
from koopcast.mapping import Signature
from koopcast.operators.base import OperatorSpec
from koopcast.operators.grids import grid_faults
from koopcast.operators.modes import faulty_modes
from koopcast.operators.oformer_network import Positional, Transformer, TransformerArchitecture
from koopcast.operators.oformer_queries import QueriedTransformer
from koopcast.spec import Problem


class OFormerSpec(OperatorSpec):
    """Blocks of attention in which every point is a token and sums are integrals over the domain; 1 to 3
    space axes.
    """

    kind: Literal["oformer"] = "oformer"
    attention: Form = "galerkin"
    """`softmax`: weighted mean over all points, whose cost grows with their square; `galerkin`: linear in the
    keys, whose cost grows with their number."""
    width: PositiveInt = 32
    """Channels inside."""
    layers: Annotated[int, Field(ge=1, le=16)] = 3
    """Blocks."""
    heads: PositiveInt = 4
    """Attentions side by side."""
    head_channels: PositiveInt = 8
    """Channels of each."""
    rotary: bool = True
    """Turn queries and keys with the coordinates, so that their product knows the offset of two points; needs
    two channels of a head an axis."""
    positional: Positional = "fourier"
    """Extra input channels: x from 0 to 1 on closed axes, sin 2πx and cos 2πx on periodic ones (`grid`), or
    more waves of each axis (`fourier`)."""
    position_waves: PositiveInt | None = None
    """Waves of each axis under `positional: fourier`. Default: 4."""
    mlp_ratio: PositiveFloat = 2.0
    """Hidden channels of the pointwise network in each block, in units of the width."""
    norm: DomainNorm = "instance"
    """Give features mean 0 and variance 1 over the domain before each part of a block: each channel by itself
    (`instance`), all together (`group`)."""
    spectral_modes: PositiveInt | None = None
    """Kept Fourier modes of a spectral layer beside each attention; the sum of both and their input is then
    divided by √3. Default: no such layer."""

    decoder: Literal["pointwise", "query"] = "pointwise"
    """`pointwise`: a map of the features at each point of the input's grid; `query`: any place of the domain
    attends to the features of the whole field, and times between the output records may be asked for."""
    query_waves: PositiveInt | None = None
    """Random waves of a place that is asked for, under `decoder: query`. Default: 32."""
    query_scale: PositiveFloat | None = None
    """Standard deviation of their wave numbers, per length of an axis. Default: 2."""

    reference = (
        "Li, Meidani and Barati Farimani 2023 (OFormer), Cao 2021 (the linear form), Berner et al. 2025 "
        "(quadrature in the softmax, the spectral layer). Waves of the rotation are at most 8, and random "
        "waves are whole along periodic axes. Later times are asked for as places are; theirs are steps of "
        "the features"
    )

    def faults(self, signature: Signature) -> Iterator[Problem]:
        """Refuse what is not a grid, heads too narrow to turn, and modes that the grid cannot hold."""
        yield from super().faults(signature)
        problems = list(grid_faults(self.kind, signature))
        yield from problems
        if problems:
            return
        fewest = 2 * len(signature.axes)
        if self.rotary and self.head_channels < fewest:
            yield Problem(
                ("head_channels",),
                f"{self.head_channels} channels hold no pair for each of {fewest // 2} axes; take {fewest} "
                "or more, or set rotary: false",
            )
        if self.position_waves is not None and self.positional != "fourier":
            yield Problem(
                ("position_waves",), f"has no meaning for positional '{self.positional}'; remove it"
            )
        for option in ("query_waves", "query_scale"):
            if getattr(self, option) is not None and self.decoder != "query":
                yield Problem((option,), f"has no meaning for decoder '{self.decoder}'; remove it")
        yield from faulty_modes("spectral_modes", self.spectral_modes, signature)

    def build(self, signature: Signature, generator: torch.Generator) -> nn.Module:
        """Return the untrained network for fields like these."""
        network = QueriedTransformer if self.decoder == "query" else Transformer
        return network(self.architecture(signature), generator)

    def architecture(self, signature: Signature) -> TransformerArchitecture:
        """Return what the network is built of."""
        axes = len(signature.axes)
        return TransformerArchitecture(
            channels_in=signature.channels_in,
            channels_out=signature.channels_out,
            periodic=tuple(axis.periodic for axis in signature.axes),
            width=self.width,
            layers=self.layers,
            heads=self.heads,
            head_channels=self.head_channels,
            form=self.attention,
            rotary=self.rotary,
            positional=self.positional,
            position_waves=self.position_waves or 4,
            mlp_ratio=self.mlp_ratio,
            norm=self.norm,
            modes=None if self.spectral_modes is None else (self.spectral_modes,) * axes,
            frames=signature.frames_out,
            query_waves=(self.query_waves or 32) if self.decoder == "query" else None,
            query_scale=self.query_scale or 2.0,
        )
