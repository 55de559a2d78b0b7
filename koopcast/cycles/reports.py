"""Reports: point observations as they are delivered, each in exactly one class."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool

from koopcast.cycles.moments import YEARS


class Reason(IntEnum):
    """Why a report is not used: the first that applies. Files hold the number: new ones go to the end."""

    USED = 0
    NO_TIME = 1
    NO_POSITION = 2
    UNKNOWN_VARIABLE = 3
    NO_VALUE = 4
    OUT_OF_BOUNDS = 5
    BAD_ERROR = 6
    PROVIDER_FLAG = 7
    NO_WINDOW = 8
    OUTSIDE_GRID = 9
    MASKED_CELL = 10
    DUPLICATE = 11
    CONFLICT = 12
    LATE = 13
    BACKGROUND_CHECK = 14
    THINNED = 15
    MALFORMED = 16
    TORN = 17
    BUDDY_CHECK = 18
    UNKNOWN_UNITS = 19
    NO_HEIGHT = 20
    HEIGHT_DIFFERENCE = 21

    @property
    def text(self) -> str:
        """Return the reason in words."""
        return _WORDS.get(self, self.name.lower().replace("_", " "))


_WORDS = {
    Reason.NO_TIME: f"no time, or none in the years {YEARS[0]} to {YEARS[1]}",
    Reason.NO_POSITION: "no position on the globe or the axes",
    Reason.NO_VALUE: "no number, or one that stands for a missing value",
    Reason.BAD_ERROR: "an error that is no positive number, or next to none",
    Reason.PROVIDER_FLAG: "flagged by its provider",
    Reason.NO_WINDOW: "before the first window or between two",
    Reason.OUTSIDE_GRID: "outside of the grid",
    Reason.MASKED_CELL: "on a cell that holds no data",
    Reason.CONFLICT: "another value for the same place and time",
    Reason.LATE: "arrived after its window was analysed",
    Reason.BACKGROUND_CHECK: "too far from the forecast",
    Reason.BUDDY_CHECK: "unlike its neighbours",
    Reason.THINNED: "another report stands for it",
    Reason.MALFORMED: "a line with another number of fields than the first",
    Reason.UNKNOWN_UNITS: "in units that are unknown, or of another quantity",
    Reason.NO_HEIGHT: "does not state its height, which its correction needs",
    Reason.HEIGHT_DIFFERENCE: "too far above or below the ground of the model",
    Reason.TORN: "a last line without its end: the file was not written whole",
}


OF_STATION = ("latitude", "longitude", "x", "y")
"""Axes along which a station has one place; it may report from several along others."""


def counts(reason: np.ndarray) -> dict[str, int]:
    """Return how many reports are of each class, those that occur."""
    numbers = np.bincount(reason.astype(np.int64), minlength=len(Reason))
    return {item.name.lower(): int(numbers[item]) for item in Reason if numbers[item]}


def reject(reports: pd.DataFrame, reason: Reason, rows: Bool[np.ndarray, " report"]) -> None:
    """Give rows a reason, those that have none yet."""
    new = rows & (reports["reason"].to_numpy() == Reason.USED)
    reports.loc[new, "reason"] = np.int8(reason)


def deduplicate(reports: pd.DataFrame, axes: Sequence[str], policy: str) -> pd.DataFrame:
    """Return reports sorted, whatever the order of their arrival, with repeats in a class of their own.

    Reports of one variable, time and place (station, where it is named, and its depth) are one: the same
    value twice is a duplicate; of other values one is kept by `policy` (`first` or `last` received, `mean`),
    or none (`none`). Values, latitudes and longitudes are the same where they are so in single precision,
    in which some files hold what others write as texts.
    """
    places = [f"place of {axis}" for axis in axes]
    has_station = (reports["station"] != "").to_numpy()
    keyed = reports.assign(
        **{
            place: np.where(has_station & (axis in OF_STATION), 0.0, _turned(axis, reports[axis]))
            for place, axis in zip(places, axes, strict=True)
        }
    )
    key = ["variable", "time", "station", *places]
    rest = [name for name in ("value", "error", "height", "qc", "reason") if name in reports]
    ordered = keyed.sort_values([*key, "received_at", *axes, *rest], kind="stable", ignore_index=True)
    live = ordered["reason"].to_numpy() == Reason.USED
    chosen = ordered[live].assign(same=lambda rows: _single(rows["value"]))
    keep: Literal["first", "last"] = "last" if policy == "last" else "first"
    reject(ordered, Reason.DUPLICATE, _marked(ordered, chosen.duplicated([*key, "same"], keep=keep)))
    chosen = ordered[ordered["reason"].to_numpy() == Reason.USED]
    repeated = chosen.duplicated(key, keep=False)
    if not repeated.any():
        return ordered.drop(columns=places)
    if policy == "mean":
        means = chosen[repeated].groupby(key, dropna=False)["value"].transform("mean")
        ordered.loc[means.index, "value"] = means
    chosen_one = False if policy == "none" else keep
    reject(ordered, Reason.CONFLICT, _marked(ordered, chosen.duplicated(key, keep=chosen_one)))
    return ordered.drop(columns=places)


def _turned(axis: str, values: pd.Series) -> pd.Series:
    """Return coordinates as they are compared, longitudes in one turn: 190 and -170 are one place."""
    if axis == "longitude":
        return _single((values % 360).round(9) % 360)
    return _single(values) if axis == "latitude" else values


def _single(numbers: pd.Series) -> pd.Series:
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32)


def _marked(whole: pd.DataFrame, part: pd.Series) -> Bool[np.ndarray, " report"]:
    """Return a series of some rows as one of all, false elsewhere."""
    result = np.zeros(len(whole), dtype=bool)
    result[part.index[part.to_numpy()]] = True
    return result
