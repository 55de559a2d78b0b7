"""The grid to which the weights of a kernel refer."""

from collections.abc import Sequence
from dataclasses import dataclass

from koopcast.grids import Axis


@dataclass(frozen=True)
class BaseGrid:
    """Points of each axis, whether it is periodic (N intervals) or closed (N - 1 intervals), and its length.

    A kernel with taps one spacing of this grid apart has a fixed size in the domain; on another grid its taps
    lie `refinement` spacings apart. Lengths are in units of the shortest axis.
    """

    shape: tuple[int, ...]
    periodic: tuple[bool, ...]
    lengths: tuple[float, ...]

    @classmethod
    def of(cls, axes: Sequence[Axis], shape: Sequence[int] | None = None) -> "BaseGrid":
        """Return the grid of the axes, or one of `shape` on the same domain; unknown lengths count as
        equal.
        """
        known = [axis.length for axis in axes if axis.length is not None]
        lengths = known if len(known) == len(axes) else [1.0] * len(axes)
        return cls(
            tuple(axis.size for axis in axes) if shape is None else tuple(shape),
            tuple(axis.periodic for axis in axes),
            tuple(length / min(lengths) for length in lengths),
        )

    def refinement(self, shape: Sequence[int]) -> tuple[float, ...]:
        """Return s, the spacing of this grid in units of that of a grid of `shape`, of each axis."""
        intervals = self.intervals(shape)
        return tuple(fine / own for fine, own in zip(intervals, self.intervals(self.shape), strict=True))

    def spacings(self, shape: Sequence[int]) -> tuple[float, ...]:
        """Return the distance of neighbouring points of a grid of `shape` on this domain."""
        return tuple(
            length / count for length, count in zip(self.lengths, self.intervals(shape), strict=True)
        )

    def intervals(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the number of intervals of each axis of a grid of `shape` on this domain."""
        return tuple(
            size if is_periodic else max(1, size - 1)
            for size, is_periodic in zip(shape, self.periodic, strict=True)
        )

    def coarsened(self, factor: int) -> "BaseGrid":
        """Return the grid with the spacing `factor` times as large, up to rounding; at least two points."""
        counts = self.intervals(self.shape)
        shape = tuple(
            max(2, round(count / factor) + (not is_periodic))
            for count, is_periodic in zip(counts, self.periodic, strict=True)
        )
        return BaseGrid(shape, self.periodic, self.lengths)
