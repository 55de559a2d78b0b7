"""The recipe of an evolving system: batches of trajectories, written a window of records at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from koopcast.generation.evolving import Run, SystemDynamics, describe
from koopcast.generation.provenance import empty, origin
from koopcast.generation.recipe import Advance, Attempts, Made, Recipe, Write
from koopcast.generation.thinning import thin
from koopcast.generation.verification import Faults, Invariants, check_step, not_finite, spun_up, unresolved
from koopcast.grids import FieldsInfo

STAGE_BYTES = 4 * 2**20
"""Memory of the records that are checked together."""
CHECKED_SAMPLES = 2
"""Samples on which the integration step is checked."""
PACE = 64
"""Records between two reports."""


@dataclass(frozen=True, kw_only=True)
class Trajectories(Recipe):
    """Samples of an evolving system."""

    run: Run
    window: int
    """Records kept in memory: all, or those of one chunk."""
    device: str = "cpu"
    reason: str = "as written"
    """Why this integrator."""
    unit = "record"

    @property
    def computed(self) -> FieldsInfo:
        """The contract of the fields as they are computed."""
        return replace(describe(self.run), samples=self.samples)

    @property
    def work_of_sample(self) -> int:
        """Records, those of the burn-in included."""
        return self.run.burn_in + self.run.steps

    def template(self) -> xr.Dataset:
        """Return the dataset, its fields lazy and empty."""
        return empty(self.run.system, self.info, self.dtype, self.every_point)

    def attributes(self) -> dict[str, str | float | int]:
        """Return equation, options and tolerances."""
        run = self.run
        return origin(
            run.system,
            self.draws,
            integrator=run.integrator.kind,
            integrator_options=run.integrator.model_dump(mode="json", exclude={"kind"}),
            reason=self.reason,
            arithmetic=run.arithmetic,
            integration_step=run.step,
            steps_between_records=run.record_every,
            burn_in=run.burn_in,
            every_point=self.every_point if self.every_point > 1 else None,
            tolerances={name: getattr(run, name) for name in ("verify_tol", "tail_tol", "defect_tol")},
        )

    def make(self, block: int, write: Write, advance: Advance) -> Made:
        """Integrate the samples of a block all at once.

        Raises:
            Diverged: A sample is not finite; the message names sample and time.
            Underresolved: Halving the step changes the result too much, the grid cuts the spectrum, or an
                invariant drifts.
        """
        members, made = self.members(block), Made()
        attempts = Attempts(self, block)
        kept = self._kept(len(members)) if self.window >= self.run.steps else None
        figures: dict[str, dict[int, float]] = {}
        for samples in attempts:
            batch = _Batch(self, samples, attempts, advance)
            if block == 0 and attempts.number == 0:
                made.notes["step_error"] = batch.check_step()
            buffer = kept if kept is not None and attempts.number == 0 else self._kept(len(samples))
            for first, values in batch.windows(buffer):
                if kept is None:
                    self._write(write, samples, first, values)
                elif values is not kept:
                    kept[[sample - members.start for sample in samples]] = values
            for name, column in batch.figures().items():
                figures.setdefault(name, {}).update(zip(samples, column, strict=True))
        if kept is not None:
            self._write(write, list(members), 0, kept)
        made.figures = {name: [values[sample] for sample in members] for name, values in figures.items()}
        made.refused = {str(sample): reason for sample, reason in sorted(attempts.reasons.items())}
        return made

    def _kept(self, samples: int) -> Float[np.ndarray, "sample time *space channel"]:
        info = self.info
        return np.empty(
            (samples, min(self.window, self.run.steps), *info.shape, info.num_channels), self.dtype
        )

    def _write(
        self,
        write: Write,
        samples: list[int],
        first: int,
        values: Float[np.ndarray, "sample time *space channel"],
    ) -> None:
        is_run = samples[-1] - samples[0] + 1 == len(samples)
        for rows in [slice(0, len(samples))] if is_run else [slice(i, i + 1) for i in range(len(samples))]:
            fields = {name: values[rows, ..., i] for i, name in enumerate(self.info.variables)}
            write(samples[rows.start], first, fields)


class _Batch:
    """Samples that step together."""

    def __init__(
        self, recipe: Trajectories, samples: list[int], attempts: Attempts, advance: Advance
    ) -> None:
        self._recipe, self._run, self._samples = recipe, recipe.run, list(samples)
        self._attempts, self._advance = attempts, advance
        attempt = attempts.number
        self.parameters = {
            name: torch.tensor(values, dtype=torch.float64, device=recipe.device)
            for name, values in recipe.parameters(samples, attempt).items()
        }
        self._weights = [recipe.draws.weight(sample, attempt) for sample in samples]
        self._is_first = attempt == 0
        streams = [recipe.draws.generator(sample, attempt) for sample in samples]
        self.dynamics = SystemDynamics(self._run, recipe.device, self.parameters, streams)
        drawn = [self._run.system.initial(1, stream) for stream in streams]
        self.state = torch.cat(drawn).flatten(1).to(recipe.device, self._run.precision)
        self._defect: Float[Tensor, " sample"] | None = None
        for record in range(self._run.burn_in):
            self._step(record + 1)

    def check_step(self) -> float:
        """Return the error of the step on the first samples, as they are after the burn-in."""
        parameters = {name: values[:CHECKED_SAMPLES] for name, values in self.parameters.items()}
        return check_step(self._run, spun_up(self._run, self.state[:CHECKED_SAMPLES], parameters), parameters)

    def windows(
        self, buffer: Float[np.ndarray, "sample time *space channel"]
    ) -> Iterator[tuple[int, Float[np.ndarray, "sample time *space channel"]]]:
        """Yield consecutive records with the number of the first, one window after another in `buffer`."""
        run = self._run
        first_fields = self.dynamics.decode(self.state)
        invariants = Invariants(run, first_fields, self.parameters)
        stage, begun = [first_fields], 0
        depth = max(1, STAGE_BYTES // first_fields.nbytes)
        for record in range(run.steps):
            if record > 0:
                self._step(run.burn_in + record)
                stage.append(self.dynamics.decode(self.state))
            is_full = record + 1 == run.steps or record + 1 - begun == buffer.shape[1]
            end = record + 1 - begun
            if is_full or len(stage) == depth:
                buffer[:, end - len(stage) : end] = self._checked(stage, invariants)
                stage = []
            if is_full:
                yield begun, buffer if end == buffer.shape[1] else buffer[:, :end]
                begun = record + 1
        self._defect = invariants.defect if invariants else None
        total = run.steps + run.burn_in
        self._advance((total - (total - 1) // PACE * PACE) * len(self._samples))

    def figures(self) -> dict[str, list[float]]:
        """Return a number a sample: parameters, weights where they differ, drift of the invariants."""
        result: dict[str, list[float]] = {name: v.tolist() for name, v in self.parameters.items()}
        if self._recipe.draws.is_weighted:
            result["weight"] = self._weights
        if self._defect is not None:
            result["defect"] = self._defect.tolist()
        return result

    @torch.no_grad()
    @np.errstate(over="ignore", invalid="ignore")
    def _step(self, record: int) -> None:
        self.state = self.dynamics.step(self.state)
        self._refuse(not_finite(self._run, self.state, record, self._samples), self._heal)
        if record % PACE == 0:
            self._advance(PACE * len(self._samples))

    def _heal(self, row: int) -> None:
        """Let a refused sample follow a sound one, so that the batch goes on with finite numbers."""
        sound = torch.isfinite(self.state.sum(dim=1)).nonzero()[:, 0]
        self.state[row] = self.state[sound[0]] if len(sound) else torch.zeros_like(self.state[row])

    def _checked(
        self, stage: list[Tensor], invariants: Invariants
    ) -> Float[np.ndarray, "sample time *space channel"]:
        fields = torch.stack(stage, dim=1)
        self._refuse(unresolved(self._run, stage[-1], self._samples))
        self._refuse(invariants.watch(fields, self._samples))
        return thin(fields.cpu().numpy(), 2, fields.dim() - 3, self._recipe.every_point)

    def _refuse(self, faults: Faults, then: Callable[[int], None] = lambda row: None) -> None:
        for row, error in faults:
            self._attempts.refuse(self._samples[row], error)
            then(row)
