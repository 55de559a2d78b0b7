"""4D-Var beside DAPPER's on the same truth, the same observations and the same first state.

Lorenz-96 with 40 cells, all observed every 4 steps of 0.05 with R = I, a window of one observation time,
B = 0.2 times the covariance of the truth, ten Gauss-Newton iterations at most. Both sides run alternately in
one process on one thread, DAPPER with its error-only statistics; the minimum time of all rounds counts. Use
an environment that holds koopcast and DAPPER (`pip install dapper==1.7.1`):

    python benchmarks/variational.py [--rounds 3] [--cycles 300] [--batch 32]
"""

import argparse
import contextlib
import io
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import dapper
import dapper.da_methods as peer_methods
import dapper.mods as modelling
import dapper.tools.progressbar
import numpy as np
import torch
from dapper.mods.Lorenz96 import dstep_dx, step, x0

from koopcast.assimilation.backgrounds.climatological import ClimatologicalSpec
from koopcast.assimilation.cycle import CycleState, Experiment, run
from koopcast.assimilation.var4d import Var4DSpec
from koopcast.fields import FieldData
from koopcast.generation import Run, SystemDynamics, describe
from koopcast.generation.provenance import empty
from koopcast.integrators.rk4 import RK4Spec
from koopcast.observations import ObservationSet
from koopcast.systems.lorenz96 import Lorenz96Spec

EVERY, CELLS, BURN_IN = 4, 40, 50


class Observing(modelling.Operator):
    """An observation operator that may be asked twice for its time, as Var4D of DAPPER 1.7.1 does."""

    def __call__(self, first: object, *others: object) -> object:
        """Return itself for a time alone, else what is observed."""
        return (
            self if isinstance(first, (int, np.integer)) and not others else super().__call__(first, *others)
        )


def peer_model(cycles: int) -> modelling.HiddenMarkovModel:
    """Return the twin as DAPPER describes it."""
    times = modelling.Chronology(0.05, dko=EVERY, Ko=cycles - 1, BurnIn=BURN_IN * EVERY * 0.05, Tplot=10)
    model = {"M": CELLS, "model": step, "linear": dstep_dx, "noise": 0}
    observed = modelling.partial_Id_Obs(CELLS, np.arange(CELLS))
    observed["noise"] = 1
    start = modelling.GaussRV(mu=x0(CELLS), C=0.001)
    operator = Observing(**observed)
    return modelling.HiddenMarkovModel(model, {"time_dependent": lambda ko: operator}, times, start)


def experiment(truths: np.ndarray, observed: np.ndarray) -> Experiment:
    """Return our experiments on truths `(batch, record, cell)`, a record every 4 steps."""
    batch, records, cells = truths.shape
    setup = Run(Lorenz96Spec(), RK4Spec(), samples=batch, steps=records, dt=0.05, record_every=EVERY)
    template = empty(setup.system, describe(setup), "float64")
    fields = FieldData(template.assign(X=template["X"].copy(data=truths)), describe(setup))
    times = observed.shape[1]
    observations = ObservationSet(
        torch.arange(1, times + 1),
        torch.arange(cells).expand(batch, times, -1),
        torch.from_numpy(observed),
        torch.ones(batch, times, cells),
    )
    method = Var4DSpec(background=ClimatologicalSpec(factor=0.2))
    return Experiment(SystemDynamics(setup), method, observations, fields, fields)


def run_ours(trial: Experiment) -> tuple[float, float, float]:
    """Return seconds, and mean errors of analysis and background after the burn-in."""
    batch = trial.observations.value.shape[0]
    start_state = torch.from_numpy(x0(CELLS)).expand(batch, 1, -1).clone()
    start = time.perf_counter()
    blocks = list(run(trial, CycleState(start_state, torch.Generator().manual_seed(0)), keep="mean"))
    seconds = time.perf_counter() - start
    errors = [
        torch.cat([block.figures[name] for block in blocks], dim=1)[:, BURN_IN:].mean()
        for name in ("rmse", "background_rmse")
    ]
    return seconds, float(errors[0]), float(errors[1])


def run_peer(hmm: modelling.HiddenMarkovModel, truth: np.ndarray, observed: np.ndarray) -> tuple[float, ...]:
    """Return seconds, and mean errors of analysis and background after the burn-in, of DAPPER."""
    method = peer_methods.Var4D(xB=0.2, Lag=1, nIter=10)
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        method.assimilate(hmm, truth, observed, liveplots=False)
    seconds = time.perf_counter() - start
    return seconds, *(
        float(np.mean(part[BURN_IN:])) for part in (method.stats.err.rms.a, method.stats.err.rms.f)
    )


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="truths; both sides run on each")
    parser.add_argument("--cycles", type=int, default=300, help="observation times")
    parser.add_argument("--batch", type=int, default=32, help="experiments of ours that run at once")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dapper.rc.liveplotting = False
    dapper.rc.comps["error_only"] = True
    dapper.tools.progressbar.disable_progbar = True
    hmm, rows = peer_model(options.cycles), []
    for number in range(options.rounds):
        dapper.set_seed(3000 + number)
        truth, observed = hmm.simulate()
        trial = experiment(truth[None, ::EVERY], np.stack(list(observed))[None])
        rows.append((run_peer(hmm, truth, observed), run_ours(trial)))
    print(f"\n4D-Var on Lorenz-96, {options.cycles} cycles, one thread; milliseconds a cycle are minima")
    times = [min(row[side][0] for row in rows) * 1e3 / options.cycles for side in (0, 1)]
    for name, side in (("DAPPER", 0), ("koopcast", 1)):
        errors = np.array([row[side][1:] for row in rows])
        shown = "  ".join(f"{a:.3f}/{b:.3f}" for a, b in errors)
        factor = times[0] / times[side]
        print(f"  {name:9} {times[side]:6.2f}  {factor:5.1f} x  analysis/background error {shown}")
    if options.batch > 1:
        many = experiment(
            np.repeat(truth[None, ::EVERY], options.batch, 0),
            np.stack(list(observed))[None]
            + 0.1 * np.random.default_rng(0).normal(size=(options.batch, 1, 1)),
        )
        each = run_ours(many)[0] * 1e3 / options.cycles / options.batch
        print(f"  at once   {each:6.2f}  {times[0] / each:5.1f} x  each of {options.batch}")


if __name__ == "__main__":
    main()
