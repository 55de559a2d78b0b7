"""One window after another: forecast from the last analysis, draw to the reports, forecast on."""

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import xarray as xr
from jaxtyping import Int
from torch import Tensor

from koopcast.assimilation.base import AnalysisSpec, SmootherSpec
from koopcast.assimilation.chains import cells_of
from koopcast.assimilation.cycle import CycleState, Experiment, ModelNoise, forecaster, through
from koopcast.assimilation.initial import InitialSpec, states_at
from koopcast.cycles.archive import FEEDBACK, RESTART, SUFFIXES
from koopcast.cycles.clock import Clock
from koopcast.cycles.feed import Thinning
from koopcast.cycles.given import Given
from koopcast.cycles.heights import Heights
from koopcast.cycles.kept import Keeper, Kept, moments, monitors
from koopcast.cycles.places import Places, Position
from koopcast.cycles.reports import Reason, counts
from koopcast.cycles.thinning import thinned
from koopcast.dynamics import Dynamics
from koopcast.errors import Diverged, InvalidInput
from koopcast.fields import FieldData, to_dataset
from koopcast.numerics.geometry import domain_of
from koopcast.observations.base import ObservationSet, ObservationType
from koopcast.observations.operators.interpolate import Interpolation
from koopcast.observations.quality import Flag, QualityControl
from koopcast.rng import torch_generator
from koopcast.stores.files import read_tensors, write_table, write_tensors

LEAST_ERROR, SPREAD_RECORDS = 1e-6, 10
"""Least error of a report that is believed, as a share of what its variable varies by; records, spread evenly
over the training data, of which that is taken."""
FirstGuess = Literal["previous_analysis", "climatology"]
REFUSALS = {
    Flag.BACKGROUND_CHECK: Reason.BACKGROUND_CHECK,
    Flag.BUDDY_CHECK: Reason.BUDDY_CHECK,
}
"""Verdict of a check against the forecast -> class of the report."""


@dataclass(frozen=True)
class Chain:
    """What carries a cycle from window to window.

    A window has `records` steps of the model, from the label before to its own. A report is analysed at the
    record nearest to its time, and never before the first.
    """

    dynamics: Dynamics
    method: AnalysisSpec
    initial: InitialSpec
    training: FieldData
    """What the model learned from: the grid, its mask, a climatology."""
    clock: Clock
    records: int
    seed: int
    noise: ModelNoise = field(default_factory=ModelNoise)
    leads: tuple[int, ...] = ()
    """Forecasts from each analysis, in windows ahead."""
    thinning: Thinning = "none"
    """What stands for several reports on one cell at one record."""
    qc: QualityControl = field(default_factory=QualityControl)
    """Checks against the forecast."""
    position: Position = "nearest"
    """Which cells a report is of."""
    heights: Heights | None = None
    """The ground of the model, where reports are moved to it."""
    first_guess: FirstGuess | Given = "previous_analysis"
    """Where each window starts from."""
    members: bool = False
    """Whether the fields hold the analysed members too."""

    @cached_property
    def places(self) -> Places:
        """What finds the cells of reports."""
        fields = self.training
        names = list(fields.info.variables)
        start, stop = fields.view.times
        some = np.unique(np.linspace(start, stop - 1, SPREAD_RECORDS).astype(np.int64))
        seen = fields.dataset[names].isel(time=some, missing_dims="ignore")
        least = {name: LEAST_ERROR * float(seen[name].std()) for name in names}
        return Places(domain_of(fields), fields.always_valid(), least, self.position, self.heights)

    def first(self, number: int = 0) -> CycleState:
        """Return a state one window before window `number` that knows no report."""
        generator = torch_generator(self.seed, "cycle", *([number] if number else []))
        one = replace(self.training, window=replace(self.training.view, samples=(0, 1)))
        size = (1, self.method.num_members())
        ensemble = self.initial.draw(self.dynamics, one, self.training, size, generator)
        return CycleState(ensemble, generator)

    def restored(self, folder: Path) -> CycleState:
        """Return the state that a published window left."""
        return CycleState.restored(read_tensors(folder / RESTART))

    def run(
        self, number: int, state: CycleState, reports: pd.DataFrame, folder: Path
    ) -> tuple[dict[str, Any], xr.Dataset]:
        """Analyse a window, write its files, and return what its manifest says, and its fields.

        Args:
            number: Of the window.
            state: After the window before; a window that starts from elsewhere does not look at it.
            reports: Of this window, placed on cells.
            folder: Empty; where the files go.

        Raises:
            Diverged: The ensemble is not finite; the message names the window.
            InvalidInput: The state is of another number of members, or of another grid.
        """
        started, source = self._started(number, state)
        begun = replace(started, cycle=0, record=0)
        delivered = digest(reports)
        record = self._record(number, reports)
        reports = thinned(reports, record, self.thinning, self.training.info.axes)
        observations, times = self._observations(number, reports)
        after, kept = self._analysed(number, begun, observations)
        write_tensors(folder / RESTART, replace(after, cycle=0, record=0).tensors())
        label = self.clock.label(number)
        fields = self._fields(kept[-1], label)
        if self.members:
            fields = fields.assign(self._members(after, label).variables)
        if self.leads:
            fields = fields.assign(self._forecast(after, number, observations).variables)
        feedback = self._feedback(reports, times, kept)
        write_table(folder / FEEDBACK, feedback)
        values = {
            "begin": str(self.clock.bounds(number)[0]),
            "end": str(self.clock.bounds(number)[1]),
            "source": "analysis" if feedback["used"].any() else "forecast",
            **({"first_guess": source} if isinstance(self.first_guess, Given) else {}),
            "observations": {"digest": delivered, **counts(feedback["reason"].to_numpy())},
            "monitors": monitors(feedback, kept),
        }
        return values, fields

    def _started(self, number: int, state: CycleState) -> tuple[CycleState, str]:
        """Return the state from which a window starts, and what it is."""
        guess = self.first_guess
        if guess == "climatology":
            return self.first(number), "climatology"
        if isinstance(guess, Given) and (record := guess.record(number)) is not None:
            ends = [(guess.fields.view.samples[0], record)]
            centre = states_at(self.dynamics, guess.fields, ends, torch.device("cpu"))
            drawn = self.first(number)
            anomalies = drawn.ensemble - drawn.ensemble.mean(dim=1, keepdim=True)
            return replace(drawn, ensemble=centre + anomalies), "dataset"
        self._demand_own(number, state)
        return state, "previous_analysis"

    def _demand_own(self, number: int, state: CycleState) -> None:
        """Refuse to go on from a state of other options or of another model."""
        _, members, size = state.ensemble.shape
        info, wanted = self.training.info, self.method.num_members()
        own = prod(info.shape) * info.num_channels if self.dynamics.is_physical else size
        if (members, size) != (wanted, own):
            raise InvalidInput(
                f"window {self.clock.name(number)} goes on from {members} members of {size} values, and the "
                f"options ask for {wanted} of {own}",
                "go on with the `members` and the grid of before, or choose another name for the cycle",
            )

    def _analysed(
        self, number: int, state: CycleState, observations: ObservationSet
    ) -> tuple[CycleState, "list[Kept]"]:
        method = self.method
        if isinstance(method, SmootherSpec):
            # The window of the smoother is that of the cycle.
            count = observations.num_times
            method = method.model_copy(update={"lag": count, "shift": count})
        experiment = self._experiment(method, observations)
        kept = Keeper(self.dynamics, observations)
        try:
            after = through(experiment, state, kept)
        except Diverged as error:
            raise Diverged(f"window {self.clock.name(number)}: {error.message}", error.remedy) from error
        if not bool(torch.isfinite(after.ensemble).all()):
            raise Diverged(
                f"window {self.clock.name(number)}: the analysis is not finite",
                "raise `inflation` or `members`, localise, or check the reports of this window",
            )
        return after, kept.kept

    def _experiment(self, method: AnalysisSpec, observations: ObservationSet) -> Experiment:
        return Experiment(self.dynamics, method, observations, self.training, self.training, self.noise)

    def _observations(self, number: int, reports: pd.DataFrame) -> tuple[ObservationSet, np.ndarray]:
        """Return the used reports by record, and the number of each report's observation time (-1: none).

        The last record is always an observation time, be it without reports.
        """
        used = (reports["reason"] == Reason.USED).to_numpy()
        record = self._record(number, reports)
        records = sorted({*record[used].tolist(), self.records})
        time_of = np.where(used, np.searchsorted(records, record), -1)
        widest = max(1, max((int((time_of == place).sum()) for place in range(len(records))), default=1))
        shape = (1, len(records), widest)
        index = torch.zeros(shape, dtype=torch.int64)
        value = torch.full(shape, torch.nan, dtype=torch.float64)
        variance = torch.ones(shape, dtype=torch.float64)
        for place in range(len(records)):
            rows = reports[time_of == place]
            index[0, place, : len(rows)] = _tensor(rows["cell"], np.int64)
            value[0, place, : len(rows)] = _tensor(rows["value"], np.float64)
            variance[0, place, : len(rows)] = _tensor(rows["error"], np.float64).square()
        is_of_cells = self.places.is_of_cells
        kind = ObservationType("reports", count=widest, qc=self.qc, is_of_cells=is_of_cells)
        operator = None if is_of_cells else self._interpolation(reports, time_of, shape)
        return ObservationSet(torch.tensor(records), index, value, variance, operator, types=(kind,)), time_of

    def _interpolation(
        self, reports: pd.DataFrame, time_of: np.ndarray, shape: tuple[int, int, int]
    ) -> Interpolation:
        whole = (*shape, 2 ** len(self.training.info.axes))
        index, weight = torch.zeros(whole, dtype=torch.int64), torch.zeros(whole, dtype=torch.float64)
        for place in range(shape[1]):
            rows = reports[time_of == place]
            index[0, place, : len(rows)], weight[0, place, : len(rows)] = self.places.around(rows)
        return Interpolation(index, weight)

    def _record(self, number: int, reports: pd.DataFrame) -> Int[np.ndarray, " report"]:
        """Return the record of the window at which each report is analysed: the nearest, from 1 on."""
        start = np.datetime64(self.clock.label(number - 1), "ns")
        span = np.datetime64(self.clock.label(number), "ns") - start
        share = (reports["time"].to_numpy().astype("datetime64[ns]") - start) / span
        share = np.where((reports["reason"] == Reason.USED).to_numpy(), share, 1.0)
        return np.clip(np.rint(share * self.records), 1, self.records).astype(np.int64)

    def _fields(self, last: "Kept", label: pd.Timestamp) -> xr.Dataset:
        """Return analysis, background and their spreads at the label."""
        times = xr.DataArray(np.array([label], dtype="datetime64[ns]"), dims="time")
        parts = [
            _suffixed(to_dataset(values, self.training, times).isel(sample=0), SUFFIXES[name])
            for name, values in last.fields(self.training.info.shape).items()
        ]
        return xr.merge(parts, join="exact", compat="equals")

    def _members(self, state: CycleState, label: pd.Timestamp) -> xr.Dataset:
        """Return the analysed members at the label."""
        cells = cells_of(self.dynamics, state.ensemble)[0]
        times = xr.DataArray(np.array([label], dtype="datetime64[ns]"), dims="time")
        values = cells.float().reshape(len(cells), 1, *self.training.info.shape, -1)
        fields = to_dataset(values, self.training, times).rename(sample="member")
        return _suffixed(fields.transpose("time", "member", ...), SUFFIXES["members"])

    def _feedback(self, reports: pd.DataFrame, time_of: np.ndarray, kept: "list[Kept]") -> pd.DataFrame:
        """Return the reports with what they see of background and analysis, and what the checks found."""
        reports = reports.copy()
        for place, at in enumerate(kept):
            rows = np.flatnonzero(time_of == place)
            for flag, reason in REFUSALS.items():
                reports.loc[rows[at.flag[: len(rows)] == flag], "reason"] = np.int8(reason)
        background, spread, analysis = seen = np.full((3, len(reports)), np.nan)
        for place, at in enumerate(kept):
            rows = np.flatnonzero(time_of == place)
            seen[:, rows] = at.seen[:, : len(rows)].numpy()
        value = reports["value"].to_numpy()
        return reports.assign(
            used=(reports["reason"] == Reason.USED).to_numpy(),
            background=background,
            background_spread=spread,
            analysis=analysis,
            ob=value - background,
            oa=value - analysis,
        )

    def _forecast(self, state: CycleState, number: int, observations: ObservationSet) -> xr.Dataset:
        """Return mean and spread of forecasts from the analysis, by lead in windows."""
        generator = torch_generator(self.seed, "forecast", number)
        step = forecaster(self._experiment(self.method, observations), state.ensemble)
        ensemble, means, spreads, now = state.ensemble, [], [], 0
        with torch.no_grad():
            for lead in self.leads:
                for _ in range((lead - now) * self.records):
                    ensemble = step(ensemble, generator)
                now = lead
                mean, spread = moments(cells_of(self.dynamics, ensemble))
                means.append(mean)
                spreads.append(spread)
        shape = (1, len(self.leads), *self.training.info.shape, -1)
        leads = xr.DataArray(np.array(self.leads), dims="time")
        parts = []
        for suffix, values in (("_forecast", means), ("_forecast_spread", spreads)):
            fields = to_dataset(torch.stack(values).reshape(shape).float(), self.training, leads)
            parts.append(_suffixed(fields.isel(sample=0), suffix).rename(time="lead"))
        return xr.merge(parts, join="exact", compat="equals")


def _suffixed(fields: xr.Dataset, suffix: str) -> xr.Dataset:
    return fields.rename({name: f"{name}{suffix}" for name in fields.data_vars})


def digest(reports: pd.DataFrame) -> str:
    """Return the SHA-256 of the reports that may be used: repeats and faulty ones change nothing."""
    columns = [name for name in reports.columns if name not in ("reason", "cell", "received_at", "qc")]
    usable = reports[reports["reason"] == Reason.USED]
    hashes = pd.util.hash_pandas_object(usable[columns], index=False).to_numpy()
    return hashlib.sha256(np.sort(hashes).tobytes()).hexdigest()


def _tensor(column: pd.Series, dtype: type) -> Tensor:
    """Return a column as a tensor of its own: what pandas holds may be read-only."""
    return torch.from_numpy(column.to_numpy(dtype=dtype, copy=True))
