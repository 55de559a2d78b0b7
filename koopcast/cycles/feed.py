"""Options of a feed of reports: where its files lie, what columns mean, which reports are believed."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from pydantic import NonNegativeFloat, PositiveFloat, field_validator, model_validator

from koopcast.cycles.heights import GroundOptions, HeightOptions, Heights
from koopcast.cycles.layout import NAMES, Layout
from koopcast.cycles.moments import numbered
from koopcast.cycles.places import Position
from koopcast.cycles.reports import Reason, reject
from koopcast.errors import DataError, KoopcastError
from koopcast.grids import FieldsInfo
from koopcast.numerics.geometry import Domain
from koopcast.observations.quality import QualityControl
from koopcast.sources.paths import anchored
from koopcast.spec import Family, MethodSpec, Problem, Spec
from koopcast.units import conversion

Thinning = Literal["none", "first", "mean"]


class ReportError(Spec):
    """Size of the error of reports that do not state their own."""

    std: PositiveFloat = 1.0
    """Standard deviation, in the units of the grid's variable."""


class TimeUnits(Spec):
    """What numbers mean that stand for times."""

    units: str | None = None
    """Such as `hours since 1970-01-01`, whatever the file says; default: what it says, and of tables without
    units none: a number is no time there."""

    @field_validator("units")
    @classmethod
    def _can_be_read(cls, units: str | None) -> str | None:
        try:
            numbered(pd.Series([], dtype="float64"), units)
        except DataError as error:
            raise ValueError(str(error)) from error
        return units


class VariableOptions(Spec):
    """What is known of the reports of one variable."""

    name: str | None = None
    """Its name in the tables, where it is another: a column, or an entry of the column `variable`."""
    units: str | None = None
    """Of the numbers in the tables, whatever these say; default: what a column `units` or the file states,
    else those of the model."""
    error: ReportError | None = None
    """Instead of the error that holds for all."""
    bounds: tuple[float, float] | None = None
    """Least and largest value that is believed, in the units of the model."""
    height: HeightOptions | None = None
    """What becomes of reports above or below the ground of the model; default: heights are not looked at."""

    @field_validator("bounds")
    @classmethod
    def _are_ordered(cls, bounds: tuple[float, float] | None) -> tuple[float, float] | None:
        if bounds is not None and bounds[0] >= bounds[1]:
            raise ValueError(f"bounds: {bounds[0]:g} is not below {bounds[1]:g}; write [least, largest]")
        return bounds


class TableInboxSpec(MethodSpec):
    """Reports in a folder: tables as CSV (also gzip) or Parquet, points and grids as netCDF or zarr; ODB and
    BUFR with the extras `odb` and `bufr`.
    """

    kind: Literal["table"] = "table"
    path: str | list[str]
    """Pattern or patterns of the files: `inbox/*.csv`; a relative one starts from the folder of this file."""
    variables: dict[str, VariableOptions] = {}
    """Variable of the model -> what is known of its reports; default: all, under their own names."""
    variable: str | None = None
    """The variable of tables that have a column of values and none of names."""
    columns: dict[str, str] = {}
    """Meaning -> column: `time`, an axis of the grid (`latitude`), `height`, `height_units`, `station`,
    `variable`, `value`, `units`, `error`, `qc`, `received_at`, or a variable of a wide table. Common names
    are found without."""
    time: TimeUnits = TimeUnits()
    """What times mean that are numbers."""
    error: ReportError = ReportError()
    """Of reports that state no error of their own."""
    missing: list[float] = [999.0, 9999.0, -999.0, -9999.0]
    """Numbers that stand for a missing value, error or coordinate, before units are converted."""
    duplicates: Literal["first", "last", "mean", "none"] = "first"
    """Which of several values for one variable, time and place is used: the first or last received, their
    mean, or none."""
    position: Position = "nearest"
    """Which cells a report is of: the nearest, or (`bilinear`) those around it, weighted linearly along each
    axis. A report whose nearest cell is masked is refused; other masked ones have no weight."""
    ground: GroundOptions | None = None
    """Height of the model's ground, for variables with `height`."""
    thinning: Thinning = "none"
    """What is used of several reports on one cell at one record: all, the first, or one with their mean,
    whose error is that of the mean (a superobservation)."""
    qc: QualityControl = QualityControl()
    """Checks against the forecast, window by window: `background_check`, `buddy_check`, `huber`."""
    accept_qc: list[str | int] | None = None
    """Flags of the provider's `qc` column that are accepted; default: it is not looked at."""
    settle: NonNegativeFloat = 5.0
    """Seconds for which a file must have stayed as it is: younger ones may be half written, and wait."""

    reference = "point tables in long or wide form (Wickham 2014)"

    @field_validator("path")
    @classmethod
    def _starts_from_its_folder(cls, path: str | list[str], info: Any) -> str | list[str]:
        for text in [path] if isinstance(path, str) else path:
            if "://" in text:
                raise ValueError(
                    f"'{text[:80]}' is not on this machine; copy reports here, and name the copy"
                )
        return anchored(path, (info.context or {}).get("folder"))

    @model_validator(mode="after")
    def _variable_is_one_of_them(self) -> "TableInboxSpec":
        if self.variable is not None and self.variables and self.variable not in self.variables:
            known = ", ".join(self.variables)
            raise ValueError(f"variable: '{self.variable}' is not among variables ({known}); add it there")
        return self

    @model_validator(mode="after")
    def _has_ground(self) -> "TableInboxSpec":
        names = [name for name, options in self.variables.items() if options.height is not None]
        if names and self.ground is None:
            raise ValueError(
                f"variables.{names[0]}.height needs the ground of the model; write `ground: {{path: ..., "
                "variable: ...}`"
            )
        return self

    @model_validator(mode="after")
    def _has_checks_of_windows_alone(self) -> "TableInboxSpec":
        known = {"bounds": "variables", "duplicates": "duplicates", "thinning": "thinning", "blacklist": ""}
        for name, instead in known.items():
            if name in self.qc.model_fields_set:
                remedy = f"use the option `{instead}` of the reports" if instead else "remove it"
                raise ValueError(f"qc.{name}: is not for reports; {remedy}")
        return self

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Refuse variables that the model does not hold, units that do not fit, and what quality control
        cannot do on these axes.
        """
        yield from (problem.below("qc") for problem in self.qc.check(fields))
        axes = [axis.name for axis in fields.axes]
        own = [options.name for options in self.variables.values() if options.name]
        meanings = [*dict.fromkeys(["time", *axes, *NAMES, *fields.variables, *own])]
        for meaning in self.columns:
            if meaning not in meanings:
                near = get_close_matches(meaning, meanings, n=1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                yield Problem(
                    ("columns", meaning),
                    f"'{meaning}' is no meaning of a column{hint} (known: {', '.join(meanings)})",
                )
        known = ", ".join(fields.variables)
        for name in [*self.variables, *([self.variable] if self.variable else [])]:
            if name not in fields.variables:
                path = ("variables", name) if name in self.variables else ("variable",)
                yield Problem(path, f"the model has no variable '{name}' (it has {known})")
                continue
            units = self.variables[name].units if name in self.variables else None
            try:
                if units is not None:
                    conversion(units, fields.variables[name], name)
            except KoopcastError as error:
                yield Problem(("variables", name, "units"), error.message)

    def layout(self, fields: FieldsInfo) -> Layout:
        """Return how a table is read."""
        names = {options.name: name for name, options in self.variables.items() if options.name}
        units = {name: options.units for name, options in self.variables.items() if options.units}
        wanted = self.variables or fields.variables
        variables = {name: fields.variables[name] for name in wanted}
        places = {axis.name: axis.units for axis in fields.axes}
        needs_height = any(options.height for options in self.variables.values())
        return Layout(
            tuple(places), variables, self.columns, names, units, self.variable, tuple(self.missing),
            self.time.units, places, needs_height,
        )  # fmt: skip

    def heights(self, domain: Domain) -> Heights | None:
        """Return the ground of the model and what is done about it; None where heights are not looked at.

        Raises:
            DataError: The ground is not on the grid of the model.
        """
        variables = {name: options.height for name, options in self.variables.items() if options.height}
        if not variables or self.ground is None:
            return None
        return Heights(self.ground.on(domain), variables)

    def judge(self, reports: pd.DataFrame) -> None:
        """Reject what the options say of single reports, and fill in errors."""
        value = reports["value"].to_numpy()
        if self.accept_qc is not None:
            accepted = [str(flag) for flag in self.accept_qc]
            reject(reports, Reason.PROVIDER_FLAG, ~reports["qc"].isin(accepted).to_numpy())
        errors = reports["error"].to_numpy(copy=True)
        for name in reports["variable"].unique():
            options = self.variables.get(str(name), VariableOptions())
            rows = (reports["variable"] == name).to_numpy()
            if options.bounds is not None:
                low, high = options.bounds
                reject(reports, Reason.OUT_OF_BOUNDS, rows & ((value < low) | (value > high)))
            own = options.error or self.error
            errors[rows & np.isnan(errors)] = own.std
        reports["error"] = errors


AnyInbox: TypeAlias = Annotated[TableInboxSpec, Family("inboxes")]
