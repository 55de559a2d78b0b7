"""What operators share that see their input at fixed sensors and answer at any place."""

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from koopcast.errors import OutsideDomain, ShapeMismatch
from koopcast.grids import Axis
from koopcast.layers.perceptron import Activation
from koopcast.layers.queried import QueriedNetwork
from koopcast.layers.resampling import ResampledNetwork
from koopcast.mapping import Signature
from koopcast.operators.base import OperatorSpec
from koopcast.operators.grids import grid_faults
from koopcast.operators.trained import OperatorMap
from koopcast.spec import Problem


class SensingSpec(OperatorSpec):
    """Options of operators that see their input at sensors: points of the training grid."""

    sensors: PositiveInt | tuple[PositiveInt, ...] | Literal["from_data"] = "from_data"
    """Equally spaced sensors along each axis, moved to the nearest grid points: one number, one an axis, or
    all points of the grid. The values at the sensors should be of order 1: keep `normalize_input`."""
    activation: Activation = "relu"
    """Of all hidden layers; `sin` and `tanh` are smooth in the place."""

    any_resolution: ClassVar[bool] = False

    def faults(self, signature: Signature) -> Iterator[Problem]:
        """Refuse what is not a grid, and more sensors than it has points."""
        yield from super().faults(signature)
        yield from grid_faults(self.kind, signature)
        if self.sensors == "from_data":
            return
        if isinstance(self.sensors, tuple) and len(self.sensors) != len(signature.axes):
            yield Problem(
                ("sensors",),
                f"{len(self.sensors)} numbers for {len(signature.axes)} space axes; give one an axis",
            )
            return
        for index, (count, axis) in enumerate(zip(self.counts(signature), signature.axes, strict=True)):
            if count > axis.size:
                path = ("sensors", index) if isinstance(self.sensors, tuple) else ("sensors",)
                yield Problem(
                    path, f"{count} is above {axis.size}, the points of axis '{axis.name}'; lower it"
                )

    def counts(self, signature: Signature) -> tuple[int, ...]:
        """Return the sensors along each axis."""
        if self.sensors == "from_data":
            return signature.shape
        return self.sensors if isinstance(self.sensors, tuple) else (self.sensors,) * len(signature.axes)


def inner(network: nn.Module) -> nn.Module:
    """Return the network that interpolation to its grid and back is wrapped around."""
    return network.network if isinstance(network, ResampledNetwork) else network


@torch.no_grad()
def predict_at(
    model: OperatorMap,
    given: Float[Tensor, "batch frame *space channel_in"],
    coordinates: Float[Tensor, "point axis"],
    times: Float[Tensor, " time"] | None = None,
) -> Float[Tensor, "batch time point channel_out"]:
    """Return the outputs of a map in physical units at any places of its domain.

    Args:
        model: A map whose network answers at any place.
        given: Input fields, on the grid of the training where the network knows that grid alone.
        coordinates: Distances from the first node of each axis, in the units of the axes.
        times: Times after the last given record, in units of the time from there to the last output record;
            default: those of the output records.

    Raises:
        ShapeMismatch: The network, or its normaliser, works on one grid alone.
        OutsideDomain: A place lies beyond the ends of an axis.
    """
    network = inner(model.network)
    if not isinstance(network, QueriedNetwork) or model.outputs.is_cellwise:
        raise ShapeMismatch(
            f"'{model.spec.kind}' or its `pixel` normaliser gives outputs on its grid alone",
            "choose deeponet, fnn or oformer with decoder: query, and normalize_output: channel",
        )
    places = [_unit(axis, coordinates[:, i]) for i, axis in enumerate(model.signature.axes)]
    points = torch.stack(places, dim=-1).to(torch.float32)
    return model.outputs.denormalise(network.at(model.features(given), points, times))


def _unit(axis: Axis, coordinate: Float[Tensor, " point"]) -> Float[Tensor, " point"]:
    intervals = axis.size if axis.periodic else max(1, axis.size - 1)
    length = float(intervals) if axis.length is None else axis.length
    place = coordinate / length
    if axis.periodic:
        return place % 1
    if len(place) and not (float(place.min()) >= -1e-6 and float(place.max()) <= 1 + 1e-6):
        raise OutsideDomain(
            f"places from {axis.name} = {float(coordinate.min()):g} to {float(coordinate.max()):g} leave the "
            f"axis, which is {length:g} long",
            "give distances from its first node",
        )
    return place
