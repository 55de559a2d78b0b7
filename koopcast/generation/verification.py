"""Checks of trajectories while they are made: step, resolution, invariants."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.dynamics import Setting, form_of
from koopcast.errors import ComputeError, Diverged, Underresolved
from koopcast.generation.evolving import Run, SystemDynamics

Parameters = Mapping[str, Float[Tensor, " batch"]]
Faults = Iterator[tuple[int, ComputeError]]
"""Rows of a batch that are refused, and why."""


@np.errstate(over="ignore", invalid="ignore")
def spun_up(
    run: Run, state: Float[Tensor, "sample state"], parameters: Parameters | None = None
) -> Float[Tensor, "sample state"]:
    """Return the state after what the burn-in lacks to the system's own spin-up: steps are judged on the
    attractor.
    """
    lacking = run.system.spin_up_time() / run.step - run.burn_in * run.record_every
    longer = replace(run, record_every=max(0, round(lacking)))
    return SystemDynamics(longer, state.device, parameters).step(state)


@np.errstate(over="ignore", invalid="ignore")
def check_step(run: Run, state: Float[Tensor, "sample state"], parameters: Parameters | None = None) -> float:
    """Return the error of the integration step by step halving, as a share of the standard deviation of the
    fields; 0 for a map in closed form.

    Raises:
        Underresolved: The error is above `run.verify_tol`.
    """
    if form_of(run.system.problem()) == "flow":
        return 0.0
    horizon = min(run.system.lyapunov_time(), max(1, run.steps) * run.record_every * run.step)
    intervals = max(1, round(horizon / run.step))
    coarse, fine = (
        SystemDynamics(
            replace(run, dt=run.step / parts, record_every=intervals * parts), state.device, parameters
        )
        for parts in (1, 2)
    )
    exact = fine.step(state).double()
    size = max(float(exact.std(correction=0)), torch.finfo(torch.float64).tiny)
    error = float((coarse.step(state).double() - exact).square().mean().sqrt()) / size
    if not error <= run.verify_tol:
        ratio = run.verify_tol / error if np.isfinite(error) and error > 0 else 2.0**-run.integrator.order
        better = run.step * min(0.5, 0.9 * ratio ** (1 / run.integrator.order))
        raise Underresolved(
            f"halving dt = {run.step:g} of {run.system.kind} changes the fields by {error:.2g} of their "
            "standard deviation "
            f"after {horizon:g} time units, above the tolerance {run.verify_tol:g}",
            f"lower dt, for instance to {better:.2g}",
        )
    return error


def not_finite(run: Run, state: Float[Tensor, "sample state"], record: int, names: list[int]) -> Faults:
    """Yield the rows that are not finite; `names` are the samples."""
    finite = torch.isfinite(state.sum(dim=1))
    if bool(finite.all()):
        return
    for row in (~finite).nonzero()[:, 0].tolist():
        yield (
            row,
            Diverged(
                f"sample {names[row]} of {run.system.kind} is not finite at time {run.moment(record):g} "
                f"with dt = {run.step:g}",
                f"lower dt, for instance to {run.step / 2:g}, or refine the grid",
            ),
        )


def unresolved(run: Run, fields: Float[Tensor, "sample *space channel"], names: list[int]) -> Faults:
    """Yield the rows whose finest modes hold too much energy."""
    tail = run.system.tail_energy(fields)
    for row in (tail > run.tail_tol).nonzero()[:, 0].tolist():
        yield (
            row,
            Underresolved(
                f"sample {names[row]} of {run.system.kind} has {float(tail[row]):.2g} of its energy in the "
                f"finest tenth of the modes, above {run.tail_tol:g}: its grid cuts the spectrum",
                "raise `points`, or `tail_tol` if that is good enough",
            ),
        )


class Invariants:
    """The largest relative drift of what the exact flow keeps, for each sample of a batch."""

    def __init__(
        self, run: Run, first: Float[Tensor, "sample *space channel"], parameters: Parameters | None = None
    ) -> None:
        self._run, self._parameters = run, parameters or {}
        first = first.double()
        self.defect = first.new_zeros(first.shape[0])
        size = first.flatten(1).square().mean(dim=1).sqrt()
        self._first = dict(run.system.invariants(first, self._setting(1)))
        tiny = torch.finfo(torch.float64).tiny
        self._scales = {
            name: torch.maximum(value.abs(), size).clamp_min(tiny) for name, value in self._first.items()
        }

    def __bool__(self) -> bool:
        """Return whether the system keeps anything."""
        return bool(self._first)

    def watch(self, fields: Float[Tensor, "sample time *space channel"], names: list[int]) -> Faults:
        """Take in consecutive records, and yield the rows whose invariants have drifted too far."""
        if not self:
            return
        now = self._run.system.invariants(fields.flatten(0, 1).double(), self._setting(fields.shape[1]))
        for name, value in now.items():
            drift = (value.reshape(fields.shape[:2]) - self._first[name][:, None]).abs().amax(dim=1)
            self.defect = torch.maximum(self.defect, drift / self._scales[name])
        for row in (self.defect > self._run.defect_tol).nonzero()[:, 0].tolist():
            yield (
                row,
                Underresolved(
                    f"sample {names[row]} of {self._run.system.kind} loses {float(self.defect[row]):.2g} of "
                    f"an invariant ({', '.join(self._first)}), above {self._run.defect_tol:g}",
                    f"lower dt, for instance to {self._run.step / 2:g}, refine the grid, raise `defect_tol`",
                ),
            )

    def _setting(self, records: int) -> Setting:
        """Return the parameters of so many records of each sample."""
        device = self.defect.device
        return Setting(
            device, parameters={k: v.repeat_interleave(records) for k, v in self._parameters.items()}
        )
