"""What is known of fields before a number of them is read: axes, steps, units, parts, properties."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

Geometry = Literal["cartesian", "latitude", "longitude", "index"]


@dataclass(frozen=True)
class Axis:
    """One space axis: `x`, `y`, `z`, `latitude`, `longitude`, `point` or `state`."""

    name: str
    size: int
    geometry: Geometry = "cartesian"
    periodic: bool = False
    length: float | None = None
    """Extent of the domain along the axis, in `units`; None where it has no meaning (`index`)."""
    units: str = "1"


@dataclass(frozen=True)
class Window:
    """A half-open block of samples and times: `samples[0] <= sample < samples[1]`, likewise for times."""

    samples: tuple[int, int]
    times: tuple[int, int]

    @property
    def num_samples(self) -> int:
        """Samples in the block."""
        return self.samples[1] - self.samples[0]

    @property
    def num_times(self) -> int:
        """Records of each sample in the block."""
        return self.times[1] - self.times[0]


@dataclass(frozen=True)
class TimeAxis:
    """Record times: their number, spacing and units.

    `step` is a number in `units` for model time (`units` such as "1" or "s"), or an ISO 8601 duration
    (`P1M`, `P1D`, `PT6H`) for calendar time, whose `calendar` is then a CF name. Empty step: unequal spacing.
    """

    size: int
    step: float | str
    units: str = "1"
    calendar: str | None = None


@dataclass(frozen=True)
class FieldsInfo:
    """The contract that flows along the edges of a pipeline, with the shapes and without the data."""

    variables: Mapping[str, str]
    """Name of each variable (a channel) -> its units."""
    axes: tuple[Axis, ...]
    time: TimeAxis
    samples: int = 1
    """Number of independent trajectories; 1 also where the store has no `sample` dimension."""
    parts: Mapping[str, Window] = field(default_factory=dict)
    """Named parts of a split: `train`, `valid`, `test`."""
    is_masked: bool = False
    properties: frozenset[str] = frozenset()
    """Certified by the producer: `exact_solution`, `exact_spectrum`, `linear_gaussian`,
    `measure_preserving`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the space axes."""
        return tuple(axis.size for axis in self.axes)

    @property
    def num_channels(self) -> int:
        """Variables."""
        return len(self.variables)

    @property
    def num_cells(self) -> int:
        """Grid points of one variable, masked ones included."""
        return int(_product(self.shape))

    @property
    def is_stationary(self) -> bool:
        """Whether samples have no time: one field each, with none before or after it."""
        return self.time.size == 1 and self.time.step == ""

    @property
    def whole(self) -> Window:
        """The window that holds everything."""
        return Window((0, self.samples), (0, self.time.size))

    def narrowed(self, part: str) -> "FieldsInfo":
        """Return the contract of one part: its counts, no further parts."""
        window = self.parts[part]
        return replace(
            self, samples=window.num_samples, time=replace(self.time, size=window.num_times), parts={}
        )


def _product(sizes: tuple[int, ...]) -> int:
    result = 1
    for size in sizes:
        result *= size
    return result
