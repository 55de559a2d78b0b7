"""Which points of a sweep are computed as one batch."""

from collections.abc import Iterable, Iterator

from koopcast.assimilation.side_by_side import rest
from schemas.keys import canonical_json
from schemas.plan import Planned
from schemas.stages import AssimilateStep

MOST_TOGETHER = 32
"""Points of a batch: beyond that, sharing saves no more."""
MEMORY = 2**30
"""Bytes that a batch may take."""


def batches(points: Iterable[Planned]) -> Iterator[tuple[Planned, ...]]:
    """Yield the points that can run as one batch: equal but for what a filter can vary and random numbers."""
    groups: dict[str, list[Planned]] = {}
    for planned in points:
        if planned.at is not None and (shared := _shared(planned)) is not None:
            groups.setdefault(shared, []).append(planned)
    for group in groups.values():
        memory = max(planned.cost.memory if planned.cost else 1 for planned in group)
        size = max(1, min(MOST_TOGETHER, MEMORY // max(1, memory)))
        # Batches of one size, rather than full ones and a rest.
        size = -(-len(group) // -(-len(group) // size))
        for start in range(0, len(group), size):
            yield tuple(group[start : start + size])


def _shared(planned: Planned) -> str | None:
    """Return what the points of a batch have in common; None for a point that is computed alone."""
    step = planned.step
    method = rest(step.method) if isinstance(step, AssimilateStep) else None
    if method is None:
        return None
    parts = {
        "step": step.model_dump(mode="json", exclude={"method"}),
        "method": method,
        "inputs": {item.ref: item.key for item in planned.inputs},
    }
    return canonical_json(parts)
