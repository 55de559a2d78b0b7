"""Sources: readers of real files. Each gives a lazy dataset with named axes; `ingest` does the rest."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray as xr
from pydantic import Field, field_validator

from koopcast.sources.paths import anchored, licence_of, resolve
from koopcast.spec import MethodSpec, Spec


class TimeOverride(Spec):
    """What the time axis means, where the file does not say or says it wrong."""

    units: str | None = None
    """Of the numbers in the file: `days since 1970-01-01`, or a unit of model time such as `s`."""
    calendar: str | None = None
    """A CF calendar: standard, noleap, 360_day, ..."""
    start: str | float | None = None
    """Ignore the numbers in the file: the first record is this date (or model time), `step` apart."""
    step: str | float | None = None
    """ISO 8601 duration (`P1M`, `PT6H`) after a date, a number after a model time."""


class SourceSpec(MethodSpec):
    """Options of a reader."""

    path: str | list[str] = Field(min_length=1, json_schema_extra={"key": False})
    """A file, several, a pattern (`data/*.nc`), or `pkg://module/file` for one inside a package.

    A relative path starts from the folder of the pipeline that names it.
    """
    units: dict[str, str] = {}
    """Units of variables whose file says nothing or something wrong (the numbers stay as they are)."""
    missing: list[float] = []
    """Numbers that stand for a missing value, beside those that the file declares: `[999, -9999]`."""
    licence: str = ""
    """Terms of use, kept with the fields; default: what the file or its package says."""

    @field_validator("path")
    @classmethod
    def _start_from_its_folder(cls, path: str | list[str], info: Any) -> str | list[str]:
        return anchored(path, (info.context or {}).get("folder"))

    def files(self) -> list[Path]:
        """Return the files (or zarr directories) that are read: their digests enter the key of the step.

        Raises:
            MissingFile: A file that is named does not exist, or a pattern matches none.
        """
        return resolve(self.path)

    @abstractmethod
    def open(self, variables: Sequence[str]) -> xr.Dataset:
        """Return the variables lazily, under the contract of axes.

        Dimensions are `([sample,] time, *space)` with space axes named `z`, `y`, `x`, `latitude`,
        `longitude` or `point`; times are decoded (datetime64, cftime, or numbers for model time); missing
        values are NaN; units and other CF attributes are kept.

        Raises:
            MissingFile: The file is not there or not of this format.
            DataError: A variable is not in it, or an axis cannot be told.
            UnknownCalendar: The time axis has a calendar that CF does not define.
        """

    def terms(self, attributes: dict[str, object]) -> str:
        """Return the licence of the data: of the option, the file's attributes, or the package it came in."""
        stated = (attributes.get(name) for name in ("license", "licence", "License", "rights"))
        found = self.licence or next((str(text) for text in stated if text), "")
        return found or licence_of(self.path)
