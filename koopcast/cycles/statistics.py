"""What windows of a cycle say together: of stations, of the spread, and where analyses change fields."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from koopcast.cycles.archive import SUFFIXES, Archive, Manifest

AT_ONCE = 50
"""Windows whose sums are held before they are added up."""
BINS_A_DECADE = 10
"""Of the expected distance between report and background."""
EDGES = np.arange(-5.0, 5.25, 0.25)
"""Of the histogram of normalised departures; what lies beyond is in the outermost ones."""
SUMS = ["reports", "used", "ob", "ob_square", "z", "z_square"]


@dataclass(frozen=True)
class Statistics:
    """Sums over windows; departures are those of every report that was compared with a background."""

    stations: pd.DataFrame
    """Columns variable, station, reports, used, ob_mean, ob_rms, z_mean, z_rms: departures from the
    background, and those over what error and spread let expect. The one that fits worst is first."""
    calibration: pd.DataFrame
    """Columns expected, found (root-mean-squares), reports: a row a class of expected distance."""
    departures: pd.DataFrame
    """Columns left, right, reports: the histogram of normalised departures."""
    increments: xr.Dataset
    """`<variable>_mean` and `<variable>_rms` of analysis less background, dims `(*space)`."""


def statistics(archive: Archive, manifests: Sequence[Manifest]) -> Statistics:
    """Return what some windows say together; they are read one after another.

    Args:
        archive: Of the cycle.
        manifests: At least one.
    """
    stations: list[pd.DataFrame] = []
    classes: list[pd.DataFrame] = []
    histogram = np.zeros(len(EDGES) - 1, dtype=np.int64)
    increments = Increments()
    for manifest in manifests:
        compared = _compared(archive.feedback(manifest))
        stations = _added(stations, _sums(compared, ["variable", "station"]))
        compared["class"] = np.floor(np.log10(compared["expected"]) * BINS_A_DECADE)
        classes = _added(classes, _class_sums(compared))
        inside = np.clip(compared["z"], EDGES[0], EDGES[-1] - 1e-9)
        histogram += np.histogram(inside, EDGES)[0]
        increments.add(archive.window(manifest))
    edges = pd.DataFrame({"left": EDGES[:-1], "right": EDGES[1:], "reports": histogram})
    return Statistics(
        _worst_first(_total(stations)), _calibrated(_total(classes)), edges, increments.result()
    )


def _compared(feedback: pd.DataFrame) -> pd.DataFrame:
    """Return the reports that have a background: `expected` is the root of error and spread squared."""
    known: pd.DataFrame = feedback[np.isfinite(feedback["ob"]) & (feedback["error"] > 0)]
    expected = np.sqrt(known["background_spread"] ** 2 + known["error"] ** 2)
    return known.assign(expected=expected, z=known["ob"] / expected)


def _sums(compared: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    parts = compared[keys].assign(
        reports=1,
        used=compared["used"].astype(int),
        ob=compared["ob"],
        ob_square=compared["ob"] ** 2,
        z=compared["z"],
        z_square=compared["z"] ** 2,
    )
    return _summed(parts, keys)


def _summed(parts: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    result: pd.DataFrame = parts.groupby(keys, sort=False).sum()
    return result


def _class_sums(compared: pd.DataFrame) -> pd.DataFrame:
    parts = pd.DataFrame(
        {
            "class": compared["class"], "reports": 1,
            "expected": compared["expected"] ** 2, "found": compared["ob"] ** 2,
        }
    )  # fmt: skip
    return _summed(parts, ["class"])


def _added(parts: list[pd.DataFrame], new: pd.DataFrame) -> list[pd.DataFrame]:
    """Return sums with some more; many are made one, so that memory grows with stations, not with windows."""
    parts = [*parts, new]
    return [_total(parts)] if len(parts) >= AT_ONCE else parts


def _total(parts: list[pd.DataFrame]) -> pd.DataFrame:
    whole = pd.concat(parts)
    summed: pd.DataFrame = whole.groupby(level=list(range(whole.index.nlevels)), sort=True).sum()
    return summed


def _worst_first(sums: pd.DataFrame) -> pd.DataFrame:
    count = sums["reports"]
    table = pd.DataFrame(
        {
            "reports": count,
            "used": sums["used"],
            "ob_mean": sums["ob"] / count,
            "ob_rms": np.sqrt(sums["ob_square"] / count),
            "z_mean": sums["z"] / count,
            "z_rms": np.sqrt(sums["z_square"] / count),
        }
    )
    return table.sort_values("z_rms", ascending=False, kind="stable").reset_index()


def _calibrated(sums: pd.DataFrame) -> pd.DataFrame:
    count = sums["reports"]
    return pd.DataFrame(
        {
            "expected": np.sqrt(sums["expected"] / count),
            "found": np.sqrt(sums["found"] / count),
            "reports": count,
        }
    ).reset_index(drop=True)


class Increments:
    """Sums of analysis less background, point by point."""

    def __init__(self) -> None:
        self._sums: dict[str, list[np.ndarray]] = {}
        self._like: dict[str, xr.DataArray] = {}
        self._windows = 0

    def add(self, fields: xr.Dataset) -> None:
        """Take in the fields of a window."""
        self._windows += 1
        end = SUFFIXES["background"]
        names = [str(name).removesuffix(end) for name in fields.data_vars if str(name).endswith(end)]
        for name in names:
            change = (fields[name] - fields[f"{name}{end}"]).squeeze("time", drop=True)
            values = change.values.astype(np.float64)
            mean, square = self._sums.setdefault(name, [np.zeros_like(values), np.zeros_like(values)])
            mean += values
            square += values**2
            self._like.setdefault(name, change.assign_attrs(fields[name].attrs))

    def result(self) -> xr.Dataset:
        """Return means and root-mean-squares; NaN where there is no value in some window."""
        found = {}
        for name, (mean, square) in self._sums.items():
            like = self._like[name]
            found[f"{name}_mean"] = like.copy(data=mean / self._windows)
            found[f"{name}_rms"] = like.copy(data=np.sqrt(square / self._windows))
        return xr.Dataset(found)
