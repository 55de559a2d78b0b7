"""Data from systems: trajectories, block by block, that were checked while they were made."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from koopcast.dynamics import Dynamics, Semilinear, Setting, Tendency
from koopcast.errors import Diverged, Underresolved
from koopcast.grids import FieldsInfo, TimeAxis
from koopcast.integrators.base import IntegratorSpec
from koopcast.numerics.geometry import implied_coordinates
from koopcast.progress import report
from koopcast.systems.base import EvolvingSpec

BLOCK_BYTES = 64 * 2**20
"""Memory of the records that are handed out at once."""
CHECKED_SAMPLES = 2
"""Samples on which the integration step is checked."""
SMALL = 2**15
"""Numbers up to which calls cost more than arithmetic, so that arrays are stepped in place of tensors."""


@dataclass(frozen=True)
class Run:
    """What to integrate: counts of records, and steps between them."""

    system: EvolvingSpec
    integrator: IntegratorSpec
    samples: int = 1
    steps: int = 1000
    """Records kept of each sample."""
    dt: float | None = None
    """Integration step; default: the system's own."""
    record_every: int = 1
    burn_in: int = 0
    """Records thrown away before the first that is kept."""
    verify_tol: float = 1e-2
    """Difference that halving the step may make over one Lyapunov time, as a share of the fields' standard
    deviation."""
    tail_tol: float = 1e-6
    """Share of energy that the finest tenth of the modes may hold in a resolved field."""

    @property
    def step(self) -> float:
        """Return the integration step, in time units of the system."""
        return self.system.default_time_step() if self.dt is None else self.dt


def describe(run: Run) -> FieldsInfo:
    """Return the contract of the fields that a run makes."""
    interval = float(f"{run.step * run.record_every:.12g}")
    return replace(run.system.describe(), samples=run.samples, time=TimeAxis(run.steps, interval, "1"))


class SystemDynamics(Dynamics):
    """The true model: one step is one record interval."""

    dtype = torch.float64
    keeps_tensors = False

    def __init__(self, run: Run, device: torch.device | str = "cpu") -> None:
        self.info = describe(run)
        self._every = run.record_every
        problem = run.system.problem(Setting(torch.device(device)))
        self._stepper: Callable[[Any], Any] = run.integrator.build(problem, run.step)
        self._problem = problem if isinstance(problem, Semilinear) else None
        self._takes_arrays = isinstance(problem, Tendency) and problem.takes_arrays

    def step(self, state: Float[Tensor, "batch state"]) -> Float[Tensor, "batch state"]:
        """Return the state after the integration steps of one record interval."""
        if self._problem is not None:
            coefficients = self._stepped(self._problem.to_spectral(self.decode(state)))
            return self._problem.to_physical(coefficients).flatten(1)
        is_small = state.is_cpu and state.numel() <= SMALL
        if self._takes_arrays and is_small and not state.requires_grad:
            # Column-major: what one component does for all members is one loop.
            stepped: np.ndarray = self._stepped(np.asfortranarray(state.numpy()))
            return torch.from_numpy(np.ascontiguousarray(stepped))
        result: Tensor = self._stepped(state)
        return result

    def _stepped(self, x: Any) -> Any:
        for _ in range(self._every):
            x = self._stepper(x)
        return x


def generate(run: Run, generator: torch.Generator) -> Iterator[Float[Tensor, "sample time *space channel"]]:
    """Integrate and yield consecutive records, float64, all samples at once, as many times as fit a block.

    Raises:
        Diverged: A sample is not finite; the message names sample and time.
        Underresolved: Halving the step changes the result by more than `verify_tol`, or the grid cuts the
            spectrum.
        ShapeMismatch: The integrator does not solve problems of the system's form.
    """
    dynamics = SystemDynamics(run, generator.device)
    state, total = run.system.initial(run.samples, generator).flatten(1), run.burn_in + run.steps
    for record in range(run.burn_in):
        state = _advanced(dynamics, state, run, record + 1, total)
    check_step(run, _spun_up(run, state[:CHECKED_SAMPLES]))
    size = max(1, min(run.steps, BLOCK_BYTES // state.nbytes))
    block: list[Tensor] = []
    for record in range(run.steps):
        if record > 0:
            state = _advanced(dynamics, state, run, run.burn_in + record, total)
        block.append(dynamics.decode(state))
        if len(block) == size or record + 1 == run.steps:
            _check_resolution(run, block[-1])
            yield torch.stack(block, dim=1)
            block = []


@torch.no_grad()
@np.errstate(over="ignore", invalid="ignore")
def _advanced(dynamics: SystemDynamics, state: Tensor, run: Run, record: int, total: int) -> Tensor:
    state = dynamics.step(state)
    finite = torch.isfinite(state.sum(dim=1))
    if not bool(finite.all()):
        sample = int((~finite).nonzero()[0, 0])
        moment = record * run.step * run.record_every
        raise Diverged(
            f"sample {sample} of {run.system.kind} is not finite at time {moment:g} with dt = {run.step:g}",
            f"lower dt, for instance to {run.step / 2:g}, or refine the grid",
        )
    if record % 64 == 0 or record + 1 == total:
        report("record", record, total)
    return state


@np.errstate(over="ignore", invalid="ignore")
def _spun_up(run: Run, state: Float[Tensor, "sample state"]) -> Float[Tensor, "sample state"]:
    """Return the state after what the burn-in lacks to the system's own spin-up: steps are judged on the
    attractor.
    """
    lacking = run.system.spin_up_time() / run.step - run.burn_in * run.record_every
    return SystemDynamics(replace(run, record_every=max(0, round(lacking))), state.device).step(state)


@np.errstate(over="ignore", invalid="ignore")
def check_step(run: Run, state: Float[Tensor, "sample state"]) -> float:
    """Return the error of the integration step by step halving, as a share of the standard deviation of the
    fields.

    Raises:
        Underresolved: The error is above `run.verify_tol`.
    """
    horizon = min(run.system.lyapunov_time(), max(1, run.steps) * run.record_every * run.step)
    intervals = max(1, round(horizon / run.step))
    coarse, fine = (
        SystemDynamics(replace(run, dt=run.step / parts, record_every=intervals * parts), state.device)
        for parts in (1, 2)
    )
    exact = fine.step(state)
    size = max(float(exact.std(correction=0)), torch.finfo(torch.float64).tiny)
    error = float((coarse.step(state) - exact).square().mean().sqrt()) / size
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


def _check_resolution(run: Run, fields: Float[Tensor, "sample *space channel"]) -> None:
    tail = run.system.tail_energy(fields)
    if float(tail.max()) > run.tail_tol:
        sample = int(tail.argmax())
        raise Underresolved(
            f"sample {sample} of {run.system.kind} has {float(tail[sample]):.2g} of its energy in the finest "
            f"tenth of the modes, above {run.tail_tol:g}: its grid cuts the spectrum",
            "raise `points`, or `tail_tol` if that is good enough",
        )


def dataset(
    run: Run, values: Float[Tensor, "sample time *space channel"], first: int = 0, dtype: str = "float32"
) -> xr.Dataset:
    """Return a block of records as a dataset with coordinates and attributes; `first` is the number of its
    first record.
    """
    info = describe(run)
    interval = float(info.time.step)
    numbers = np.arange(first, first + values.shape[1], dtype=np.float64)
    coords: dict[str, xr.DataArray] = {
        "time": xr.DataArray(np.round(numbers * interval, 12), dims="time",
                             attrs={"units": "1", "long_name": "time in units of the model"}),
        **{
            axis.name: xr.DataArray(implied_coordinates(axis).numpy(), dims=axis.name,
                                    attrs={"units": axis.units, "long_name": f"{axis.name} of the system"})
            for axis in info.axes
        },
    }  # fmt: skip
    if "state" in coords:
        coords["state"] = coords["state"].astype("int64").assign_attrs(coords["state"].attrs)
    dims = ("sample", "time", *(axis.name for axis in info.axes))
    array = values.detach().cpu().numpy().astype(dtype)
    variables = {
        name: xr.DataArray(
            array[..., i], dims=dims, attrs={"units": units, "long_name": f"{name} of {run.system.kind}"}
        )
        for i, (name, units) in enumerate(info.variables.items())
    }
    return xr.Dataset(variables, coords=coords, attrs=_provenance(run))


def _provenance(run: Run) -> dict[str, str | float | int]:
    return {
        "title": (run.system.__doc__ or "").strip().splitlines()[0],
        "references": type(run.system).reference,
        "system": run.system.model_dump_json(),
        "integrator": run.integrator.kind,
        "integration_step": run.step,
        "steps_between_records": run.record_every,
    }
