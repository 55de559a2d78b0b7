"""How a cycle stands: what `koopcast status` prints, and its page."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from koopcast.cycles.archive import Archive, Manifest
from koopcast.cycles.clock import LABEL
from koopcast.cycles.reports import Reason
from koopcast.cycles.verification import verify
from koopcast.fields import FieldData
from koopcast.report import CycleStatus, KeyFigure, Picture, render_status
from koopcast.report.figures import monitor_series, report_counts, window_fields
from koopcast.report.tables import number
from koopcast.stores.durable import write_whole

PAGE = "status.html"
RECENT = 30
"""Windows that a mean is taken over, the last ones."""
CLIMATOLOGY_RECORDS = 500
SHOWN_GAPS = 12


@dataclass(frozen=True)
class Standing:
    """What the archive says of a cycle."""

    table: pd.DataFrame
    """A row a window: `label` (time), `source`, monitors, and a column a class of reports."""
    faults: list[str]

    @property
    def gaps(self) -> list[str]:
        """Labels of the windows in which nothing was observed."""
        return [f"{label:{LABEL}}" for label in self.table.loc[self.table["source"] == "forecast", "label"]]

    def reports(self) -> dict[str, int]:
        """Return the reports of all windows by class."""
        return {name: int(self.table[name].sum()) for name in self.reasons(with_used=True)}

    def reasons(self, *, with_used: bool = False) -> list[str]:
        """Return the classes that occur."""
        known = [reason.name.lower() for reason in Reason if with_used or reason is not Reason.USED]
        return [name for name in known if name in self.table]

    def recent(self) -> dict[str, float]:
        """Return the means of the monitors over the last windows."""
        numbers = self.table.drop(columns=["label", "source", *self.reasons(with_used=True)]).tail(RECENT)
        return {str(name): float(value) for name, value in numbers.astype(float).mean().dropna().items()}


def standing(archive: Archive, *, deep: bool = True) -> Standing:
    """Return how a cycle stands; `deep` reads and checks every file."""
    rows = [_row(manifest) for manifest in archive.manifests()]
    columns = ["label", "source", "ob_rms", "oa_rms", "background_spread", "used"]
    table = pd.DataFrame(rows) if rows else pd.DataFrame({name: [] for name in columns})
    for name in [reason.name.lower() for reason in Reason]:
        if name in table:
            table[name] = table[name].fillna(0).astype(int)
    return Standing(table, archive.faults() if deep else [])


def _row(manifest: Manifest) -> dict[str, Any]:
    seen = {name: count for name, count in manifest.values["observations"].items() if name != "digest"}
    label = pd.to_datetime(manifest.label, format=LABEL)
    return {"label": label, "source": manifest.source, "used": 0, **manifest.values["monitors"], **seen}


def write_page(
    archive: Archive,
    training: FieldData,
    name: str,
    summary: str,
    moment: pd.Timestamp | None,
    warnings: list[str],
) -> Path:
    """Write the page of a cycle beside its archive, in place of the one before.

    `moment` is up to when windows were due; None for a reanalysis, which the clock does not drive.
    """
    now = standing(archive, deep=False)
    page = archive.root / PAGE
    write_whole(page, render_status(_content(archive, now, training, name, summary, moment, warnings)))
    return page


def _content(
    archive: Archive,
    now: Standing,
    training: FieldData,
    name: str,
    summary: str,
    moment: pd.Timestamp | None,
    warnings: list[str],
) -> CycleStatus:
    table, recent = now.table, now.recent()
    last = archive.last()
    reports = now.reports()
    total = sum(reports.values())
    lag = "" if last is None or moment is None else _lag(moment - table["label"].iloc[-1])
    share = "–" if not total else f"{1 - reports['used'] / total:.1%}"
    chi = number(recent.get("chi_square_per_observation", float("nan")))
    figures = [
        KeyFigure("Windows", str(len(table)), f"last: {last.label}" if last else "none yet"),
        *([KeyFigure("Behind", lag, "from the last label to now")] if lag else []),
        KeyFigure("Without reports", str(len(now.gaps)), "the forecast was carried on"),
        KeyFigure("Rejected", share, f"of {total} reports"),
        KeyFigure("χ² per report", chi, f"last {RECENT} windows; 1 is right"),
    ]
    return CycleStatus(
        name=name,
        summary=" ".join(summary.split()),
        moment="reanalysis" if moment is None else f"as of {moment:%Y-%m-%d %H:%M} UTC",
        is_well=not warnings,
        state="well" if not warnings else "look",
        key_figures=figures,
        pictures=_pictures(archive, last, now, training) if last is not None else [],
        tables=_tables(archive, now, training),
        warnings=warnings,
    )


def _pictures(archive: Archive, last: Manifest, now: Standing, training: FieldData) -> list[Picture]:
    fields = archive.window(last).load().isel(time=0)
    units = " / ".join(dict.fromkeys(training.info.variables.values()))
    pictures = [
        window_fields(_two_axes(fields), variable, last.label) for variable in training.info.variables
    ]
    return [*pictures, monitor_series(now.table, units), report_counts(now.table, now.reasons())]


def _two_axes(fields: xr.Dataset) -> xr.Dataset:
    """Return the middle of what has more than two space axes."""
    space = [dim for dim in fields.dims if dim not in ("time", "lead", "member")]
    return fields.isel({dim: fields.sizes[dim] // 2 for dim in space[:-2]})


def _tables(
    archive: Archive, now: Standing, training: FieldData
) -> list[tuple[str, str, list[str], list[list[str]]]]:
    tables: list[tuple[str, str, list[str], list[list[str]]]] = []
    verified = verify(archive, climatology_of(training))
    if len(verified):
        verified["place"] = verified["variable"] + ", against " + verified["against"]
        subjects = ["forecast", "persistence", "climatology"]
        errors = verified.set_index(["place", "lead", "subject"]).sort_index()["rmse"]
        pairs = verified[["place", "lead"]].drop_duplicates().to_numpy().tolist()
        rows = [
            [place, str(lead), *(number(float(errors[place, lead, subject])) for subject in subjects)]
            for place, lead in pairs
        ]
        tables.append(("Forecasts", "forecasts", ["RMSE of", "windows ahead", *subjects], rows))
    rows = [[Reason[name.upper()].text, str(count)] for name, count in now.reports().items()]
    tables.append(("Reports", "reports", ["class", "reports"], rows))
    if now.gaps:
        shown = [[label] for label in now.gaps[-SHOWN_GAPS:]]
        tables.append(("Windows without reports", "gaps", ["the last ones"], shown))
    return tables


def climatology_of(training: FieldData) -> xr.Dataset:
    """Return the mean of the training data, from records spread evenly over it."""
    first, stop = training.view.times
    dataset = training.dataset[list(training.info.variables)]
    if "sample" in dataset.dims:
        dataset = dataset.isel(sample=slice(*training.view.samples))
    step = max(1, (stop - first) // CLIMATOLOGY_RECORDS)
    chosen = dataset.isel(time=slice(first, stop, step))
    return chosen.mean([dim for dim in ("sample", "time") if dim in chosen.dims]).load()


def _lag(gap: pd.Timedelta) -> str:
    hours = gap.total_seconds() / 3600
    if abs(hours) < 1:
        return f"{hours * 60:.0f} min"
    return f"{hours:.0f} h" if abs(hours) < 72 else f"{hours / 24:.0f} d"
