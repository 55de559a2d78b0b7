"""Metrics: one number, and where it helps one curve, that says how good a forecast or an analysis is."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import xarray as xr

from koopcast.grids import Axis
from koopcast.spec import MethodSpec

Sense = Literal["lower", "higher", "target"]


@dataclass(frozen=True)
class Verification:
    """A subject beside the truth, aligned: same dims in the same order, NaN in the truth where nothing is
    verified.

    `forecast` and `truth` have dims `(sample, time, lead, *space)`, `time` being the verifying record and
    `lead` the steps since the initial state (a single 0 for an analysis). `members` adds `member` after
    `sample` where the subject is an ensemble, whose mean is then `forecast`. `climatology` is the
    climatological mean at the verifying times. `area` holds quadrature weights over space (cos latitude on
    the sphere, else 1), mean 1 over valid cells. `axes` describes the space axes, where a metric needs their
    length or period.
    """

    forecast: xr.DataArray
    truth: xr.DataArray
    members: xr.DataArray | None = None
    climatology: xr.DataArray | None = None
    area: xr.DataArray | None = None
    axes: tuple[Axis, ...] = ()
    is_joint: bool = False
    """Whether the times of a sample are one output, whose relative error is taken over all of them."""
    card: Mapping[str, float] = field(default_factory=dict)
    """Numbers that the card of a model holds (`parameters`, `effective_dim`), or that of an analysis
    (`chi_square`, `desroziers`)."""
    spectrum: xr.Dataset | None = None
    """`eigenvalue_real`, `eigenvalue_imag` and `residual` `(mode)` of one step of the model, where it has
    them; `data_residual`, that over the scored records, for metrics that need eigenfunctions. Attributes:
    `certificate`, what the residuals are worth, and `widening`, what a modulus of continuity adds to them."""

    @property
    def space(self) -> tuple[str, ...]:
        """Names of the space dims."""
        return tuple(str(dim) for dim in self.truth.dims if dim not in ("sample", "time", "lead"))

    @property
    def units(self) -> str:
        """Units of the truth."""
        return str(self.truth.attrs.get("units", "1"))


@dataclass(frozen=True)
class Score:
    """`value` over `lead` alone; `pooled` over all leads together.

    `curve` has `lead` and one more dim, and `source` (`forecast`, `truth`) in front where the truth has a
    curve too. `components` splits the value further, each over `lead` (`slope`, `curvature`).
    """

    value: xr.DataArray
    pooled: float
    units: str
    curve: xr.DataArray | None = None
    components: Mapping[str, xr.DataArray] = field(default_factory=dict)


class MetricSpec(MethodSpec):
    """Options of a metric."""

    needs_members: ClassVar[bool] = False
    needs_climatology: ClassVar[bool] = False
    needs_card: ClassVar[str | None] = None
    """Entry of the card without which a subject has no score."""
    reads_analysis: ClassVar[bool] = False
    """Whether that entry is one of an analysis."""
    needs_spectrum: ClassVar[bool] = False
    needs_eigenfunctions: ClassVar[bool] = False
    """Whether the spectrum must hold residuals over the scored data."""
    is_local: ClassVar[bool] = True
    """Whether it can be taken over a part of the grid."""
    perfect: ClassVar[float] = 0.0
    """Value of a perfect forecast."""
    sense: ClassVar[Sense] = "lower"
    """Which way is better: lower, higher, or nearer to `perfect`."""

    @property
    def is_of_model(self) -> bool:
        """Whether it reads the model alone: a table then has one value, at no lead and of no variable."""
        reads_model = self.needs_card is not None or self.needs_spectrum
        return reads_model and not (self.needs_eigenfunctions or self.reads_analysis)

    @abstractmethod
    def score(self, pair: Verification) -> Score:
        """Return the score of one variable of one subject; masked cells (NaN in truth) carry no weight.

        Raises:
            EmptySelection: The truth holds no valid cell.
            Diverged: The subject is not finite where the truth is.
        """
