"""DGNO: solutions of Darcy flow learned from its equation alone."""

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator, model_validator
from torch import nn

from koopcast.layers.field_encoder import Encoder
from koopcast.layers.towers import TowerActivation, TowerSizes
from koopcast.mapping import Signature
from koopcast.models import Pairs
from koopcast.numerics.compact_functions import TestFunction
from koopcast.operators.base import OperatorSpec
from koopcast.operators.dgno_network import DGNO, Architecture, FieldKind, FluxLaw, Weights
from koopcast.operators.dgno_residuals import Centres
from koopcast.spec import Problem

AUTO_RADII = (0.125, 0.25)
MAX_LATTICE = 96
DEFAULT_HIDDEN = {"mlp": (256, 128), "cnn": (16, 32)}


class DGNOSpec(OperatorSpec):
    """Coefficient, solution and flux of -div(a grad u) = f, u = 0 on the boundary of the unit square, decoded
    from one latent vector. It is trained on coefficients alone, by weak residuals.
    """

    kind: Literal["dgno"] = "dgno"
    latent: int = Field(32, ge=8, le=256)
    """Numbers of the latent vector β, each in (-1, 1)."""
    field: FieldKind = "binary"
    """`binary`: the coefficient has two values, the decoder gives the logit of the higher; `continuous`."""
    source: float = 1.0
    """Right-hand side f of the equation, known and not 0."""
    encoder: Literal["mlp", "cnn"] = "cnn"
    """From the coefficient to β: hidden layers, or convolutions of stride 2."""
    hidden: tuple[PositiveInt, ...] | None = None
    """Widths of the hidden layers, or channels of the convolutions. Default: 256, 128 and 16, 32."""
    width: PositiveInt = 64
    """Units of every layer of the three decoders, which are MultiONets."""
    layers: int = Field(4, ge=2, le=32)
    """Layers of the decoders."""
    sum_layers: PositiveInt = 3
    """Layers that are summed in the decoders."""
    branch_activation: TowerActivation = "silu_id"
    """Of the decoders' branches, which see β; `silu` alone halves what differs from input to input in each
    layer."""
    trunk_activation: TowerActivation = "tanh_sin"
    """Of the decoders' trunks, which see the place."""
    test_function: TestFunction = "wendland"
    """Radial part of the test functions."""
    centers: int = Field(120, ge=4, le=10_000)
    """Test functions in a step, at centres drawn anew."""
    radius: PositiveFloat | tuple[PositiveFloat, ...] | Literal["auto"] = "auto"
    """Of the discs that hold a test function, or several sizes at once: `auto` is 0.125 and 0.25."""
    quadrature: int = Field(7, ge=5, le=33)
    """Points across the smallest disc. All discs share one lattice of points, shifted at random."""
    flux_law: FluxLaw = "weak"
    """s = a grad u is asked of averages with the test functions, or at each point as in the paper."""
    w_pde: NonNegativeFloat = 1.0
    """Weight of the residuals."""
    w_balance: PositiveFloat = 0.2
    """Weight of -div s = f among them."""
    w_data: NonNegativeFloat = 1.0
    """Weight of the coefficient's misfit after encoding and decoding: cross entropy or relative norm."""
    w_label: NonNegativeFloat = 1.0
    """Weight of the training loss of labelled samples."""
    labelled: float = Field(0.0, ge=0, le=1)
    """Share of the training samples whose solutions are seen too."""
    normalize_input: Literal["none"] = "none"
    """The equation speaks of physical units; the network scales for itself."""
    normalize_output: Literal["none"] = "none"
    """No statistics of solutions enter."""

    any_resolution: ClassVar[bool] = False
    learns_dynamics: ClassVar[bool] = False
    reference = (
        "Zang and Koutsourelakis 2025 (DGenNO). Here test functions reach the boundary, where they vanish by "
        "the factor of u; they share their points; and s = a grad u holds in the mean (`flux_law: weak`)"
    )

    @field_validator("source")
    @classmethod
    def _source_acts(cls, source: float) -> float:
        if source == 0:
            raise ValueError("without a source u is 0; give another number")
        return source

    @model_validator(mode="after")
    def _options_have_a_meaning(self) -> "DGNOSpec":
        if self.sum_layers > self.layers:
            raise ValueError(f"sum_layers: {self.sum_layers} is above {self.layers}, the layers; lower it")
        if max(self.radii()) >= 0.5:
            raise ValueError(f"radius: {max(self.radii()):g} is not below 0.5, half the domain; lower it")
        if self.centres().lattice > MAX_LATTICE:
            least = (self.quadrature - 1) / (2 * MAX_LATTICE)
            raise ValueError(
                f"radius: with {self.quadrature} points across, discs smaller than {least:.3g} need a "
                f"lattice of more than {MAX_LATTICE} points an axis; raise it, or lower quadrature"
            )
        return self

    def radii(self) -> tuple[float, ...]:
        """Return the sizes of the discs."""
        if self.radius == "auto":
            return AUTO_RADII
        return self.radius if isinstance(self.radius, tuple) else (self.radius,)

    def centres(self) -> Centres:
        """Return how test functions are laid out."""
        return Centres(self.test_function, self.radii(), self.quadrature, self.centers)

    def faults(self, signature: Signature) -> Iterator[Problem]:
        """Refuse what is not a map from one field to another on a square with its boundary."""
        yield from super().faults(signature)
        if signature.is_dynamics or signature.frames_in != 1 or signature.ahead:
            yield Problem((), "dgno maps a coefficient to a solution; give the step `mapping`")
        elif len(signature.inputs) != 1 or len(signature.outputs) != 1:
            yield Problem((), "dgno maps one variable to one; name `inputs` and `outputs` in `mapping`")
        lengths = {axis.length for axis in signature.axes}
        if len(signature.axes) != 2 or any(axis.periodic for axis in signature.axes) or lengths - {1.0}:
            yield Problem((), "dgno takes the unit square, nodes on its boundary included")

    def build(self, signature: Signature, generator: torch.Generator) -> DGNO:
        """Return the untrained network."""
        sizes = TowerSizes(
            self.width, self.layers, self.sum_layers, self.branch_activation, self.trunk_activation
        )
        encoder: Encoder = self.encoder
        rows, columns = signature.shape
        return DGNO(
            Architecture(
                shape=(rows, columns),
                latent=self.latent,
                field=self.field,
                centres=self.centres(),
                encoder=encoder,
                hidden=DEFAULT_HIDDEN[self.encoder] if self.hidden is None else self.hidden,
                solution=sizes,
                coefficient=sizes,
                flux_law=self.flux_law,
                source=self.source,
                weights=Weights(self.w_pde, self.w_balance, self.w_data, self.w_label),
                labelled=self.labelled,
            ),
            generator,
        )

    def calibrate(self, network: nn.Module, pairs: Pairs) -> None:
        """Take the values of the training coefficients.

        Raises:
            DataError: They are not those of the field that was named.
        """
        assert isinstance(network, DGNO)
        network.calibrate(torch.cat([inputs.flatten() for inputs, _ in pairs()]))
