"""Size of the discs over which operators integrate, and rules on it."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from koopcast.layers.base_grid import BaseGrid
from koopcast.layers.local_integral import is_resolved
from koopcast.mapping import Signature
from koopcast.spec import Problem

DISC = (2, 4)
"""Rings and sectors where they are left open."""
SPACINGS_A_RING = 1.5
"""Width of the rings where the radius is left open, in base spacings: every hat then meets points."""

Disc = tuple[Annotated[int, Field(ge=1, le=8)], Annotated[int, Field(ge=1, le=16)]]
Radius = Annotated[float, Field(gt=0, le=0.5)]


def usual_radius(rings: int, base: BaseGrid) -> float:
    """Return the radius where it is left open."""
    return SPACINGS_A_RING * rings * max(base.spacings(base.shape))


def faulty_disc(
    base: BaseGrid, radius: float, disc: tuple[int, int], option: str, signature: Signature
) -> Iterator[Problem]:
    """Yield that the grid leaves hats of the disc without a point, where it does."""
    if not is_resolved(base.spacings(signature.shape), radius, disc):
        yield Problem(
            (option,),
            f"a disc of radius {radius:.3g} with {disc[0]} rings and {disc[1]} sectors has hats that no "
            f"point of grid {signature.shape} meets; widen the radius, or take fewer rings and sectors",
        )
