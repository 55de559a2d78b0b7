"""A network with one random hidden layer, between projections of whole fields, in double precision."""

from dataclasses import dataclass
from typing import Any

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.numerics.random_features import Activation, Choice, activate

SIZED_BY_DATA = ("head", "decoder")
"""Tensors with a side that the number of output modes decides."""


@dataclass(frozen=True)
class Sizes:
    """What a network is made of before it is fitted."""

    shape: tuple[int, ...]
    channels_in: int
    channels_out: int
    code: int
    """Numbers that stand for the input fields."""
    features: int
    """Random neurons; 0: none."""
    activation: Activation
    linear_part: bool
    has_encoder: bool
    """Whether the code is a projection; else it is the values of the fields themselves."""
    has_decoder: bool
    """Whether outputs are sums of modes; else every value has weights of its own."""
    bandwidths: tuple[float, ...]
    ridges: tuple[float, ...]
    """What validation chooses from."""

    @property
    def cells(self) -> int:
        """Points of the grid."""
        result = 1
        for size in self.shape:
            result *= size
        return result


class FeatureNetwork(nn.Module):
    """u = offset + D Bᵀ [σ(z A - b), z], z = s Eᵀ (a - mean), with z in [-1, 1] on the training part.

    A and b are random and frozen, the bandwidth included; B is solved for. E and D are projections, or
    absent. No parameter takes a gradient.
    """

    A: Tensor
    b: Tensor
    head: Tensor
    mean: Tensor
    scale: Tensor
    encoder: Tensor
    decoder: Tensor
    offset: Tensor
    chosen: Tensor
    condition: Tensor
    curve: Tensor

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        values_in, values_out = sizes.cells * sizes.channels_in, sizes.cells * sizes.channels_out
        terms = sizes.features + sizes.code * sizes.linear_part
        for name, shape in {
            "A": (sizes.code, sizes.features),
            "b": (sizes.features,),
            "head": (terms, 1 if sizes.has_decoder else values_out),
        }.items():
            self.register_parameter(name, nn.Parameter(_zeros(*shape), requires_grad=False))
        self.register_buffer("mean", _zeros(values_in))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))
        self.register_buffer("offset", _zeros(values_out))
        if sizes.has_encoder:
            self.register_buffer("encoder", _zeros(values_in, sizes.code))
        if sizes.has_decoder:
            self.register_buffer("decoder", _zeros(1, values_out))
        self.register_buffer("chosen", torch.full((2,), torch.nan, dtype=torch.float64))
        self.register_buffer("condition", torch.full((), torch.nan, dtype=torch.float64))
        curve = torch.full((len(sizes.bandwidths), len(sizes.ridges)), torch.nan, dtype=torch.float64)
        self.register_buffer("curve", curve)

    def forward(
        self, x: Float[Tensor, "batch *space channel_in"]
    ) -> Float[Tensor, "batch *space channel_out"]:
        """Return the output fields, on the grid of the training."""
        code = self.code(x.flatten(1))
        hidden = activate(self.sizes.activation, code @ self.A - self.b)
        terms = torch.cat([hidden, code], dim=1) if self.sizes.linear_part else hidden
        result = terms @ self.head
        if self.sizes.has_decoder:
            result = result @ self.decoder
        result = (result + self.offset).reshape(len(x), *self.sizes.shape, self.sizes.channels_out)
        return result.to(x.dtype)

    def code(self, values: Float[Tensor, "batch value"]) -> Float[Tensor, "batch code"]:
        """Return the numbers that stand for the values of fields."""
        departure = values.to(torch.float64) - self.mean
        return self.scale * (departure @ self.encoder if self.sizes.has_encoder else departure)

    def record(self, choice: Choice | None, chosen: tuple[float, float], condition: float) -> None:
        """Keep what a card and a report show: bandwidth, ridge, their validation and the condition number."""
        self.chosen.copy_(torch.tensor(chosen, dtype=torch.float64))
        self.condition.fill_(condition)
        if choice is not None:
            self.curve.copy_(choice.errors)

    def facts(self) -> dict[str, float | int | str]:
        """Return the chosen options, what validation said of them, and the condition of the regression."""
        bandwidth, ridge = self.chosen.tolist()
        facts: dict[str, float | int | str] = {"ridge": ridge, "condition_number": float(self.condition)}
        if self.sizes.features:
            facts = {"features": self.sizes.features, "bandwidth": bandwidth, **facts}
        if self.sizes.has_decoder:
            facts["output_modes"] = len(self.decoder)
        if not bool(self.curve.isnan().all()):
            facts["validation_error"] = float(self.curve.min())
        return facts

    def diagnostics(self) -> xr.Dataset:
        """Return the validation error of every bandwidth and ridge, where there was a choice."""
        if bool(self.curve.isnan().all()):
            return xr.Dataset()
        attrs = {"units": "1", "long_name": "relative error on validation data"}
        coords = {"bandwidth": list(self.sizes.bandwidths), "ridge": list(self.sizes.ridges)}
        curve = xr.DataArray(self.curve.numpy(), dims=("bandwidth", "ridge"), coords=coords, attrs=attrs)
        return xr.Dataset({"validation_error": curve})

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Take the number of output modes from what is stored."""
        for name in SIZED_BY_DATA:
            stored = state_dict.get(prefix + name)
            if self.sizes.has_decoder and isinstance(stored, Tensor) and stored.ndim == 2:
                self.resize(stored.shape[1] if name == "head" else stored.shape[0])
        super()._load_from_state_dict(state_dict, prefix, *args)

    def resize(self, modes: int) -> None:
        """Make room for `modes` output modes."""
        self.head = nn.Parameter(_zeros(self.head.shape[0], modes), requires_grad=False)
        self.decoder = _zeros(modes, self.decoder.shape[1])


def _zeros(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.float64)
