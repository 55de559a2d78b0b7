"""Stations above or below the ground of the model: corrections of what they report, and refusals."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat, PositiveFloat, field_validator

from koopcast.cycles.reports import Reason, reject
from koopcast.errors import DataError, UnknownUnit
from koopcast.numerics.geometry import Domain, period
from koopcast.sources import NetCDFSpec, ZarrSpec
from koopcast.sources.axes import arrange
from koopcast.sources.paths import anchored, resolve
from koopcast.spec import Spec
from koopcast.units import conversion

GRAVITY = 9.80665
"""Standard gravity, m s-2."""
STANDARD_TEMPERATURE = 288.15
"""Of the standard atmosphere at sea level, K."""
STANDARD_RATE = 0.0065
"""Its lapse rate below 11 km, K m-1."""
STANDARD_EXPONENT = GRAVITY * 0.0289644 / (8.31432 * STANDARD_RATE)
"""Of its pressure, g M / (R L) = 5.2559."""
SAME_PLACE = 0.01
"""Share of an interval by which the coordinates of the ground may differ from the model's."""


class HeightOptions(Spec):
    """What becomes of the reports of a variable where the station is not on the ground of the model.

    The report is moved from the height z of its station to that of the model, z_m, interpolated like the
    variable itself. References: US Standard Atmosphere 1976, and WMO-No. 8, volume I, chapter 3 (pressure).
    """

    correction: Literal["lapse_rate", "pressure", "none"] = "lapse_rate"
    """`lapse_rate`: plus `rate` (z - z_m), for temperatures; `pressure`: times ((T - L z_m) / (T - L
    z))^5.2559 of the standard atmosphere, for pressures at the station; `none`: refusals alone."""
    rate: float = STANDARD_RATE
    """Fall with height, in the units of the model's variable per m."""
    max_difference: PositiveFloat = 800.0
    """Largest |z - z_m| in m; reports beyond it are refused."""
    error_per_km: NonNegativeFloat = 0.0
    """Standard deviation that the correction of 1 km adds, in the units of the model's variable; it adds to
    the error of the report as independent ones do."""
    unknown: Literal["reject", "use"] = "reject"
    """What becomes of a report whose height is not known: `use` takes it as it is."""


class GroundOptions(Spec):
    """Where the height of the model's ground stands."""

    path: str
    """A netCDF file or zarr store on the grid of the model: heights, or geopotential in m2 s-2. A relative
    path starts from the folder of this file."""
    variable: str
    """Its variable."""

    @field_validator("path")
    @classmethod
    def _starts_from_its_folder(cls, path: str, info: Any) -> str:
        return str(anchored(path, (info.context or {}).get("folder")))

    def on(self, domain: Domain) -> Float[torch.Tensor, " point"]:
        """Return the height of each grid point of a model, in m.

        Raises:
            MissingFile: There is no such file.
            DataError: It has other axes or points, no such variable, or no unit of height.
        """
        file = resolve(self.path)[0]
        reader = ZarrSpec if file.suffix == ".zarr" else NetCDFSpec
        raw = reader(path=self.path).open_file(Path(file))
        if self.variable not in raw.data_vars:
            raise DataError(
                f"'{file.name}' holds no variable '{self.variable}'",
                f"it holds {', '.join(map(str, raw.data_vars))}",
            )
        alone = raw[self.variable].squeeze(drop=True).to_dataset().expand_dims("time")
        field = arrange(alone, [self.variable], {"time": "time"})[self.variable].isel(time=0)
        names = [axis.name for axis in domain.axes]
        if set(field.dims) != set(names):
            raise DataError(
                f"'{self.variable}' of '{file.name}' has the axes {', '.join(map(str, field.dims))}, the "
                f"model has {', '.join(names)}",
                "give the ground on the grid of the model",
            )
        units = str(raw[self.variable].attrs.get("units", "m"))
        places = {name: _places(domain, name, field[name].values, file.name) for name in names}
        values = field.transpose(*names).isel(places).values.astype(np.float64)
        return torch.from_numpy(np.ascontiguousarray(values * _metres(units, self.variable))).flatten()


def _places(domain: Domain, name: str, held: Float[np.ndarray, " size"], file: str) -> np.ndarray:
    """Return where the coordinates of an axis stand in those of the ground."""
    number = [axis.name for axis in domain.axes].index(name)
    axis, wanted = domain.axes[number], domain.coordinates[number].numpy()
    gaps = np.abs(wanted[:, None] - np.asarray(held, dtype=np.float64))
    if (turn := period(axis)) is not None:
        gaps = np.minimum(gaps % turn, turn - gaps % turn)
    interval = np.abs(np.diff(np.sort(wanted))).min() if axis.size > 1 else 1.0
    if gaps.min(axis=1).max() > SAME_PLACE * interval:
        raise DataError(
            f"'{file}' has other points along {name} than the model",
            "give the ground on the grid of the model",
        )
    places: np.ndarray = gaps.argmin(axis=1)
    return places


def _metres(units: str, variable: str) -> float:
    """Return the factor from units of height, or of geopotential, to m."""
    try:
        return conversion(units, "m", variable).scale
    except UnknownUnit:
        return conversion(units, "m2 s-2", variable).scale / GRAVITY


@dataclass(frozen=True)
class Heights:
    """The ground of a model, and what is done about it."""

    ground: Float[torch.Tensor, " point"]
    """In m."""
    variables: Mapping[str, HeightOptions]

    def corrected(self, reports: pd.DataFrame, ground: Float[np.ndarray, " report"]) -> pd.DataFrame:
        """Return the reports moved to the model's ground below each, in m, or refused."""
        reports = reports.copy()
        height = reports["height"].to_numpy(dtype=np.float64)
        for name, options in self.variables.items():
            own = ((reports["variable"] == name) & (reports["reason"] == Reason.USED)).to_numpy()
            unknown = own & np.isnan(height)
            if options.unknown == "reject":
                reject(reports, Reason.NO_HEIGHT, unknown)
            gap = height - ground
            # Not so: a ground that is not known refuses too.
            reject(
                reports, Reason.HEIGHT_DIFFERENCE, own & ~unknown & ~(np.abs(gap) <= options.max_difference)
            )
            rows = own & (reports["reason"] == Reason.USED).to_numpy() & ~unknown
            value, error = (reports.loc[rows, column].to_numpy() for column in ("value", "error"))
            if options.correction == "pressure":
                factor = standard_ratio(height[rows], ground[rows])
                value, error = value * factor, error * factor
            elif options.correction == "lapse_rate":
                value = value + options.rate * gap[rows]
            reports.loc[rows, "value"] = value
            reports.loc[rows, "error"] = np.hypot(error, options.error_per_km * gap[rows] / 1000)
        return reports


def standard_ratio(
    height: Float[np.ndarray, " report"], other: Float[np.ndarray, " report"]
) -> Float[np.ndarray, " report"]:
    """Return p(other) / p(height) of the standard atmosphere, p ~ (T - L z)^(g M / R L) below 11 km.

    Source: US Standard Atmosphere 1976, equation 33a.
    """
    T, L = STANDARD_TEMPERATURE, STANDARD_RATE
    ratio: np.ndarray = ((T - L * other) / (T - L * height)) ** STANDARD_EXPONENT
    return ratio
