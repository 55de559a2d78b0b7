"""Named regions of the grid that are scored by themselves."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from jaxtyping import Bool
from torch import Tensor

from koopcast.errors import EmptySelection
from koopcast.fields import FieldData
from koopcast.numerics.geometry import domain_of, period
from koopcast.verification.fields import Setting, Subject

Sector = Mapping[str, tuple[float, float]]
"""Axis -> least and largest coordinate; on a closed axis the first may be above the second: across its
seam."""


def sector_masks(sectors: Mapping[str, Sector], data: FieldData) -> dict[str, Bool[Tensor, "*space 1"]]:
    """Return which points lie in each sector.

    Raises:
        EmptySelection: A sector holds no point with data.
    """
    return {name: _mask(name, sector, data) for name, sector in sectors.items()}


def _mask(name: str, sector: Sector, data: FieldData) -> Bool[Tensor, "*space 1"]:
    domain = domain_of(data)
    inside = data.always_valid().clone()
    for place, (axis, held) in enumerate(zip(domain.axes, domain.coordinates, strict=True)):
        if axis.name not in sector:
            continue
        low, high = sector[axis.name]
        length = period(axis)
        is_on = (held >= low) & (held <= high)
        if length is not None:
            width = high - low if high >= low else high - low + length
            is_on = (held - low).remainder(length) <= min(width, length)
        inside &= is_on.reshape([-1 if i == place else 1 for i in range(len(domain.axes))])
    if not bool(inside.any()):
        raise EmptySelection(f"sector '{name}' holds no grid point with data", "widen it")
    return inside[..., None]


def parts(
    setting: Setting, subject: Subject, masks: Mapping[str, Tensor]
) -> Iterator[tuple[Setting, Subject]]:
    """Yield a subject on the whole grid, then in each sector under the name `<subject>.<sector>`."""
    yield setting, subject
    for name, mask in masks.items():
        named = replace(subject, name=f"{subject.name}.{name}", sector=name)
        yield replace(setting, valid=setting.valid & mask), named
