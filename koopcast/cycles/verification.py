"""How good the forecasts of a cycle were, once the analyses and reports of their time are there."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from koopcast.cycles.archive import SUFFIXES, Archive, Manifest
from koopcast.errors import StoreError
from koopcast.stores.files import read_table, write_table

KEPT = "verification.parquet"
"""What was verified already, beside the windows; it may be deleted, and is made again."""
GROUP = ["lead", "variable", "against", "subject"]
COLUMNS = [*GROUP, "rmse", "cases"]
PAIR = ["begun", "truth", "lead"]
"""Digests of the window that a forecast began in and of the one it was for, and windows between them."""


def verify(squares: pd.DataFrame) -> pd.DataFrame:
    """Return the errors of forecasts, of persistence and of the climatology, by lead.

    Args:
        squares: From `verified`.

    Returns:
        Columns lead (windows), variable, against (`analyses` or `reports`), subject (`forecast`,
        `persistence`, `climatology`), rmse, cases (windows).
    """
    known = squares.dropna(subset="square")
    if known.empty:
        return pd.DataFrame(columns=COLUMNS)
    grouped = known.groupby(GROUP, sort=False)["square"]
    table = grouped.agg(rmse=lambda values: float(np.sqrt(values.mean())), cases="size").reset_index()
    return table[COLUMNS]


def verified(
    archive: Archive,
    manifests: Sequence[Manifest],
    leads: Sequence[int],
    climatology: Callable[[], xr.Dataset],
) -> pd.DataFrame:
    """Return the mean squares of errors of each forecast whose window came, and keep them in the archive.

    A pair of windows is read once: a tick costs as much in a year as on the first day.

    Args:
        archive: Of the cycle.
        manifests: All windows, in order.
        leads: Windows ahead.
        climatology: Gives the mean of the training data, dims `(*space)`; called where there is a new pair.

    Returns:
        Columns `PAIR`, variable, against, subject, square.
    """
    path = archive.root / KEPT
    wanted = [
        (begun, manifests[number + lead], lead)
        for number, begun in enumerate(manifests)
        for lead in leads
        if number + lead < len(manifests)
    ]
    if not wanted:
        return kept(path).head(0)
    pairs = pd.MultiIndex.from_tuples(
        [(begun.digest, truth.digest, lead) for begun, truth, lead in wanted], names=PAIR
    )
    held = kept(path)
    held = held[pd.MultiIndex.from_frame(held[PAIR]).isin(pairs)]
    missing = ~pairs.isin(pd.MultiIndex.from_frame(held[PAIR]))
    if not missing.any():
        return held
    mean = climatology()
    new = [
        (begun.digest, truth.digest, lead, *entry)
        for (begun, truth, lead), is_new in zip(wanted, missing, strict=True)
        if is_new
        for entry in _squares(archive, begun, truth, lead, mean)
    ]
    fresh = pd.DataFrame(new, columns=[*PAIR, *GROUP[1:], "square"])
    whole = pd.concat([held, fresh], ignore_index=True) if len(held) else fresh
    temporary = path.with_name(f".tmp-{KEPT}")
    write_table(temporary, whole)
    temporary.replace(path)
    return whole


def kept(path: Path) -> pd.DataFrame:
    """Return what was verified before; nothing where that is damaged."""
    try:
        return read_table(path)
    except (StoreError, OSError):
        kinds = {"lead": "int64", "square": "float64"}
        columns = [*PAIR, *GROUP[1:], "square"]
        return pd.DataFrame({name: pd.Series(dtype=kinds.get(name, "str")) for name in columns})


def _squares(
    archive: Archive, begun: Manifest, truth: Manifest, lead: int, climatology: xr.Dataset
) -> Iterator[tuple[str, str, str, float]]:
    """Yield variable, against, subject, mean square; one without a number where there is no such forecast."""
    fields = archive.window(begun)
    if "lead" not in fields.coords or lead not in fields["lead"].values:
        yield "", "", "", float("nan")
        return
    analysis = archive.window(truth)
    reports = archive.feedback(truth)
    variables = [str(name) for name in climatology.data_vars]
    for name in variables:
        subjects = {
            "forecast": fields[f"{name}{SUFFIXES['forecast']}"].isel(time=0).sel(lead=lead).values,
            "persistence": fields[name].values.squeeze(),
            "climatology": climatology[name].values,
        }
        seen = reports[reports["used"] & (reports["variable"] == name)]
        point = seen["cell"].to_numpy(dtype=np.int64) // len(variables)
        for subject, values in subjects.items():
            yield name, "analyses", subject, _mean_square(values - analysis[name].values.squeeze())
            if len(seen):
                gap = values.ravel()[point] - seen["value"].to_numpy()
                yield name, "reports", subject, _mean_square(gap)


def _mean_square(values: np.ndarray) -> float:
    known = values[np.isfinite(values)].astype(np.float64)
    return float(np.mean(np.square(known))) if known.size else float("nan")
