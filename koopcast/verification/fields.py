"""Tensors as the aligned arrays that metrics read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float
from torch import Tensor

from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.metrics import Verification
from koopcast.models import Learned


@dataclass(frozen=True)
class Subject:
    """One thing that is scored: its frames by verifying record, and its members where it is an ensemble."""

    name: str
    frames: Float[Tensor, "sample time lead *space channel"]
    members: Float[Tensor, "sample member time lead *space channel"] | None = None
    card: Mapping[str, float] = field(default_factory=dict)
    """Numbers of the card of the model behind it."""
    spectrum: xr.Dataset | None = None
    """Eigenvalues of the model behind it and their residuals, where it has them."""
    sector: str = ""
    """Name of the part of the grid in which alone it is scored; empty: all of it."""


@dataclass(frozen=True)
class Setting:
    """What all subjects of one set of pairs are scored against."""

    info: FieldsInfo
    units: Mapping[str, str]
    truth: Float[Tensor, "sample time #lead *space channel"]
    valid: Bool[Tensor, "#sample time lead *space 1"]
    leads: tuple[int, ...]
    climatology: Float[Tensor, "sample time lead *space channel"] | None
    area: xr.DataArray | None
    is_joint: bool = False
    """Whether the frames of a sample are one output, whose error is taken over all of them."""

    def verifications(self, subject: Subject) -> Iterator[tuple[str, Verification]]:
        """Yield each variable of a subject beside the truth."""
        for channel, name in enumerate(self.info.variables):
            truth = torch.where(self.valid[..., 0], self.truth[..., channel], torch.nan)
            climatology = (
                None if self.climatology is None else self._array(self.climatology[..., channel], name)
            )
            members = None if subject.members is None else self._array(subject.members[..., channel], name)
            yield (
                name,
                Verification(
                    forecast=self._array(subject.frames[..., channel], name),
                    truth=self._array(truth, name),
                    members=members,
                    climatology=climatology,
                    area=self.area,
                    axes=self.info.axes,
                    is_joint=self.is_joint,
                    card=subject.card,
                    spectrum=subject.spectrum,
                ),
            )

    def _array(self, values: Tensor, name: str) -> xr.DataArray:
        space = tuple(axis.name for axis in self.info.axes)
        has_members = values.ndim == 4 + len(space)
        dims = ("sample", *(("member",) if has_members else ()), "time", "lead", *space)
        attrs = {"units": self.units[name]}
        return xr.DataArray(
            values.numpy(), dims=dims, coords={"lead": list(self.leads)}, name=name, attrs=attrs
        )


def numbers(model: object) -> dict[str, float]:
    """Return the numbers of a model's card; what was not learned has none."""
    card = model.card() if isinstance(model, Learned) else {}
    return {name: float(value) for name, value in card.items() if not isinstance(value, str)}


def area_weights(data: FieldData) -> xr.DataArray | None:
    """Return the area of each cell, mean 1 over the cells that hold data; None where all are equal."""
    latitude = next((axis.name for axis in data.info.axes if axis.geometry == "latitude"), None)
    if latitude is None or latitude not in data.dataset.coords:
        return None
    space = [axis.name for axis in data.info.axes]
    valid = xr.DataArray(data.always_valid().numpy(), dims=space)
    cosine = np.cos(np.deg2rad(data.dataset[latitude].values.astype(np.float64)))
    area = (xr.DataArray(cosine, dims=latitude) * xr.ones_like(valid, dtype=float)).transpose(*space)
    return area / area.where(valid).mean()
