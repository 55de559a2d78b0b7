"""Rules on the grid that operators share."""

from collections.abc import Iterator

from koopcast.mapping import Signature
from koopcast.spec import Problem

MAX_AXES = 3


def grid_faults(kind: str, signature: Signature) -> Iterator[Problem]:
    """Yield why the space axes are no grid of 1 to 3 dimensions, where they are not."""
    if not 1 <= len(signature.axes) <= MAX_AXES:
        yield Problem((), f"{len(signature.axes)} space axes; {kind} takes 1 to {MAX_AXES}")
    for axis in signature.axes:
        if axis.name == "point" or (axis.geometry == "index" and not axis.periodic):
            yield Problem((), f"axis '{axis.name}' is a list of values, not a grid; use a Koopman model")
