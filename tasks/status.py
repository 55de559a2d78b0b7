"""The pages of a cycle: how it stands, written at each tick, and a report over all its windows."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import xarray as xr

from koopcast.cycles.archive import Archive
from koopcast.cycles.reports import Reason
from koopcast.cycles.statistics import Statistics, statistics
from koopcast.cycles.verification import KEPT, kept, verified, verify
from koopcast.errors import StoreMissing
from koopcast.fields import FieldData
from koopcast.report import CyclePage, KeyFigure, Picture, Section, Table, render_cycle
from koopcast.report.figures import (
    bias_series,
    chi_square_series,
    departure_histogram,
    forecast_skill,
    increment_fields,
    monitor_series,
    report_counts,
    spread_against_error,
    window_fields,
)
from koopcast.report.tables import number
from koopcast.stores.durable import write_whole
from tasks.standing import RECENT, Standing, standing

PAGE, REPORT = "status.html", "report.html"
REFRESH_SECONDS = 60
CLIMATOLOGY_RECORDS = 500
SHOWN_GAPS = 12
STATIONS = 25
"""Stations that a report lists, those that fit worst."""
FEWEST_REPORTS = 5
"""Of a station that is listed."""


def write_page(archive: Archive, climatology: Callable[[], xr.Dataset], moment: pd.Timestamp) -> Path:
    """Write the page of a cycle beside its archive, in place of the one before.

    What it reads does not grow with the archive but for the manifests: what was verified is kept.

    Args:
        archive: Of the cycle, which had a tick.
        climatology: Gives the mean of the training data.
        moment: Windows that are due by then count.
    """
    now = standing(archive, moment, deep=False)
    assert now.tick is not None
    # Where a window is missing, so many manifests further is not so many windows ahead.
    is_whole = not (now.missing or now.faults)
    squares = (
        verified(archive, now.manifests, now.tick.leads, climatology)
        if is_whole
        else kept(archive.root / KEPT)
    )
    sections = [_last_window(archive, now), _monitors(now), _forecasts(squares, now.tick.units)]
    content = _page(now, sections, f"As of {moment:%Y-%m-%d %H:%M} UTC", REFRESH_SECONDS)
    page = archive.root / PAGE
    write_whole(page, render_cycle(content))
    archive.put(page.name)
    return page


def write_report(archive: Archive, last: int | None = None) -> Path:
    """Write a report over the windows of a cycle beside its archive; all their reports are read.

    Args:
        archive: Of the cycle.
        last: Windows, the last ones; default: all.

    Raises:
        StoreMissing: There is no window yet.
        StoreDamaged: The reports of a window are altered.
    """
    now = standing(archive, deep=False)
    if now.last is None:
        raise StoreMissing(f"the archive '{archive.root}' has no window yet", "run the cycle")
    manifests = now.manifests[-last:] if last else now.manifests
    digests = {manifest.digest for manifest in manifests}
    found, squares = statistics(archive, manifests), kept(archive.root / KEPT)
    units = now.tick.units if now.tick else "1"
    sections = [
        _forecasts(squares[squares["begun"].isin(digests)], units),
        _series(now.table.tail(len(manifests)), now.reasons(), units),
        _calibration(found, units),
        _increments(found, len(manifests)),
        _stations(found),
    ]
    first = f"{manifests[0].label} to {manifests[-1].label}"
    page = archive.root / REPORT
    write_whole(page, render_cycle(_page(now, sections, f"{len(manifests)} windows, {first}")))
    archive.put(page.name)
    return page


def _page(now: Standing, sections: list[Section], moment: str, refresh: int | None = None) -> CyclePage:
    tick, recent, total = now.tick, now.recent(), sum(now.reports().values())
    share = "–" if now.rejection_rate is None else f"{now.rejection_rate:.1%}"
    chi = number(recent.get("chi_square_per_observation", float("nan")))
    figures = [
        KeyFigure("Windows", str(len(now.table)), f"last: {now.last.label}" if now.last else "none yet"),
        *([] if now.behind is None else [KeyFigure("Behind", str(now.behind), _due(now))]),
        KeyFigure("Without reports", str(len(now.gaps)), "the forecast was carried on"),
        KeyFigure("Rejected", share, f"of {total} reports"),
        KeyFigure("χ² per report", chi, f"last {RECENT} windows; 1 is right"),
    ]
    name = tick.name if tick else "cycle"
    lost = [f"window {label} is missing between others" for label in now.missing]
    ended = f" Last tick: {tick.ended}, {'failed' if tick.error else 'done'}." if tick else ""
    return CyclePage(
        name=name,
        title=name if refresh else f"{name}: report of the cycle",
        summary=tick.description if tick else "",
        moment=f"{moment}.{ended}",
        state=now.state,
        key_figures=figures,
        sections=[section for section in sections if section.pictures or section.tables],
        alarms=[*now.faults, *lost, *_waiting(now), *now.concerns],
        notes=tick.notes if tick else [],
        refresh_seconds=refresh,
    )


def _due(now: Standing) -> str:
    if now.next_due is None:
        return "windows with reports that wait"
    return f"windows; the next one is due {now.next_due}"


def _waiting(now: Standing) -> list[str]:
    return [f"{now.behind} windows are due and not analysed"] if now.state == "behind" else []


def _last_window(archive: Archive, now: Standing) -> Section:
    if now.last is None:
        return Section("Last window", "now")
    fields = archive.window(now.last).load().isel(time=0)
    pictures = [
        window_fields(_two_axes(fields), variable, now.last.label) for variable in variables_of(fields)
    ]
    return Section("Last window", "now", pictures)


def variables_of(fields: xr.Dataset) -> list[str]:
    """Return the variables that the fields of a window are of."""
    return [str(name) for name in fields.data_vars if f"{name}_background" in fields]


def _two_axes(fields: xr.Dataset) -> xr.Dataset:
    """Return the middle of what has more than two space axes."""
    space = [dim for dim in fields.dims if dim not in ("time", "lead", "member")]
    return fields.isel({dim: fields.sizes[dim] // 2 for dim in space[:-2]})


def _monitors(now: Standing) -> Section:
    assert now.tick is not None
    if now.table.empty:
        return Section("Monitors", "monitors")
    pictures = [monitor_series(now.table, now.tick.units), report_counts(now.table, now.reasons())]
    rows = [[Reason[name.upper()].text, str(count)] for name, count in now.reports().items()]
    tables = [Table(["reports of all windows", "count"], rows)]
    if now.gaps:
        shown = [[label, "the forecast was carried on"] for label in now.gaps[-SHOWN_GAPS:]]
        tables.append(Table([f"last of {len(now.gaps)} windows without reports", ""], shown))
    return Section("Monitors", "monitor-series", pictures, tables)


def _series(table: pd.DataFrame, reasons: list[str], units: str) -> Section:
    pictures = [monitor_series(table, units), bias_series(table, units)]
    if table["chi_square_per_observation"].notna().any():
        pictures.append(chi_square_series(table))
    return Section("Window by window", "series", [*pictures, report_counts(table, reasons)])


def _forecasts(squares: pd.DataFrame, units: str) -> Section:
    errors = verify(squares)
    pictures: list[Picture] = []
    rows: list[list[str]] = []
    for (variable, against), own in errors.groupby(["variable", "against"], sort=False):
        pictures.append(forecast_skill(own, str(variable), str(against), units))
        for lead, row in own.groupby("lead"):
            rmse = row.set_index("subject")["rmse"]
            shown = [number(float(rmse[name])) for name in ("forecast", "persistence", "climatology")]
            rows.append([f"{variable}, against {against}", str(lead), *shown, str(row["cases"].max())])
    columns = ["RMSE of", "windows ahead", "forecast", "persistence", "climatology", "forecasts"]
    return Section("Forecasts", "forecasts", pictures, [Table(columns, rows)] if rows else [])


def _calibration(found: Statistics, units: str) -> Section:
    if found.calibration.empty:
        return Section("Calibration", "calibration-figures")
    pictures = [spread_against_error(found.calibration, units), departure_histogram(found.departures)]
    return Section("Calibration", "calibration-figures", pictures)


def _increments(found: Statistics, windows: int) -> Section:
    names = [str(name).removesuffix("_mean") for name in found.increments if str(name).endswith("_mean")]
    fields = _two_axes(found.increments)
    return Section("Increments", "increments", [increment_fields(fields, name, windows) for name in names])


def _stations(found: Statistics) -> Section:
    table = found.stations[found.stations["reports"] >= FEWEST_REPORTS]
    rows = [
        [
            row["station"] or "reports without a name", row["variable"], str(row["reports"]),
            f"{1 - row['used'] / row['reports']:.0%}", number(row["ob_mean"]), number(row["ob_rms"]),
            number(row["z_rms"]),
        ]
        for row in table.head(STATIONS).to_dict("records")
    ]  # fmt: skip
    columns = ["station", "variable", "reports", "refused", "O-B mean", "O-B rms", "rms / expected"]
    note = (
        f"The {len(rows)} of {len(table)} stations whose reports lie farthest from the background, over what "
        "errors and spread let expect: 1 is right, 3 is an instrument to look at. Reports that a check "
        "against the forecast refused are counted too."
    )
    return Section("Stations", "stations", [], [Table(columns, rows, note)] if rows else [])


def climatology_of(training: FieldData) -> xr.Dataset:
    """Return the mean of the training data, from records spread evenly over it."""
    first, stop = training.view.times
    dataset = training.dataset[list(training.info.variables)]
    if "sample" in dataset.dims:
        dataset = dataset.isel(sample=slice(*training.view.samples))
    step = max(1, (stop - first) // CLIMATOLOGY_RECORDS)
    chosen = dataset.isel(time=slice(first, stop, step))
    return chosen.mean([dim for dim in ("sample", "time") if dim in chosen.dims]).load()
