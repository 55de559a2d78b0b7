"""What losses in terms of waves need of the fields."""

from collections.abc import Iterator

from koopcast.grids import FieldsInfo
from koopcast.spec import Problem

SHORTEST = 3
"""Cells below which an axis has no waves."""


def faulty_axes(fields: FieldsInfo) -> Iterator[Problem]:
    """Yield why fields are no sums of waves: masked cells, axes that are a list of points, or too short."""
    if fields.is_masked:
        yield Problem((), "the fields have masked cells, of which no waves are known; use rel_l2 or h1")
    for axis in fields.axes:
        is_list = axis.name == "point" or (axis.geometry == "index" and not axis.periodic)
        if is_list or axis.geometry in ("latitude", "longitude"):
            yield Problem((), f"axis '{axis.name}' carries no plane waves; use rel_l2")
        elif axis.size < SHORTEST:
            yield Problem((), f"axis '{axis.name}' has {axis.size} cells, waves need {SHORTEST}; use rel_l2")
