"""How good the forecasts of a cycle were, once the analyses and reports of their time are there."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import xarray as xr

from koopcast.cycles.archive import SUFFIXES, Archive, Manifest
from koopcast.stores.files import read_table

COLUMNS = ["lead", "variable", "against", "subject", "rmse", "cases"]


def verify(archive: Archive, climatology: xr.Dataset, last: int = 100) -> pd.DataFrame:
    """Return the errors of forecasts, of persistence and of the climatology, by lead.

    Args:
        archive: Of the cycle.
        climatology: Mean of the training data, dims `(*space)`.
        last: Windows that are verified, the last ones.

    Returns:
        Columns lead (windows), variable, against (`analyses` or `reports`), subject (`forecast`,
        `persistence`, `climatology`), rmse, cases (windows).
    """
    manifests = list(archive.manifests())[-last:]
    squares = pd.DataFrame(list(_squares(archive, manifests, climatology)), columns=[*COLUMNS[:4], "square"])
    if squares.empty:
        return pd.DataFrame(columns=COLUMNS)
    grouped = squares.groupby(COLUMNS[:4], sort=False)["square"]
    table = grouped.agg(rmse=lambda values: float(np.sqrt(values.mean())), cases="size").reset_index()
    return table[COLUMNS]


def _squares(
    archive: Archive, manifests: list[Manifest], climatology: xr.Dataset
) -> Iterator[tuple[int, str, str, str, float]]:
    held = [archive.window(manifest) for manifest in manifests]
    variables = [str(name) for name in climatology.data_vars]
    reports = [read_table(archive.feedback(manifest)) for manifest in manifests]
    for begun, fields in enumerate(held):
        if "lead" not in fields.dims:
            return
        for place, lead in enumerate(fields["lead"].values.tolist()):
            if begun + lead >= len(held):
                continue
            for name in variables:
                subjects = {
                    "forecast": fields[f"{name}{SUFFIXES['forecast']}"].isel(time=0, lead=place).values,
                    "persistence": fields[name].values.squeeze(),
                    "climatology": climatology[name].values,
                }
                truth = held[begun + lead][name].values.squeeze()
                seen = reports[begun + lead]
                seen = seen[seen["used"] & (seen["variable"] == name)]
                point = seen["cell"].to_numpy(dtype=np.int64) // len(variables)
                for subject, values in subjects.items():
                    yield lead, name, "analyses", subject, _mean_square(values - truth)
                    if len(seen):
                        gap = values.ravel()[point] - seen["value"].to_numpy()
                        yield lead, name, "reports", subject, _mean_square(gap)


def _mean_square(values: np.ndarray) -> float:
    known = values[np.isfinite(values)].astype(np.float64)
    return float(np.mean(np.square(known))) if known.size else float("nan")
