"""Metrics: one number, and where it helps one curve, that says how good a forecast or an analysis is."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import xarray as xr

from koopcast.spec import MethodSpec


@dataclass(frozen=True)
class Verification:
    """A subject beside the truth, aligned: same dims in the same order, NaN at masked cells.

    `forecast` and `truth` have dims `(sample, time, lead, *space)`, `time` being the verifying record and `lead` the
    steps since the initial state (a single 0 for an analysis). `members` adds `member` after `sample` where the
    subject is an ensemble. `climatology` is the climatological mean at the verifying times. `area` holds quadrature
    weights over space (cos latitude on the sphere, else 1), mean 1 over valid cells.
    """

    forecast: xr.DataArray
    truth: xr.DataArray
    members: xr.DataArray | None = None
    climatology: xr.DataArray | None = None
    area: xr.DataArray | None = None


@dataclass(frozen=True)
class Score:
    """`value` over `lead` alone; `pooled` over all leads together; `curve` over `lead` and one more dim."""

    value: xr.DataArray
    pooled: float
    units: str
    curve: xr.DataArray | None = None


class MetricSpec(MethodSpec):
    """Options of a metric."""

    needs_members: ClassVar[bool] = False
    needs_climatology: ClassVar[bool] = False
    perfect: ClassVar[float] = 0.0
    """Value of a perfect forecast."""
    sense: ClassVar[Literal["lower", "higher", "target"]] = "lower"
    """Which way is better: lower, higher, or nearer to `perfect`."""

    @abstractmethod
    def score(self, pair: Verification) -> Score:
        """Return the score of one variable of one subject; masked cells (NaN in truth) carry no weight."""
