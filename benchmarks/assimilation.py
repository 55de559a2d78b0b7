"""Filters beside DAPPER's on the same truth, the same observations and the same kind of first ensemble.

The twin is Lorenz-96 as in Sakov and Oke (2008): 40 cells, all observed at every step with R = I, for
1000 cycles. Both sides run alternately in one process on one thread, DAPPER with its error-only statistics
and without live plots; the minimum time of all rounds counts. Ours also runs 32 experiments at once. Use an
environment that holds koopcast and DAPPER (`pip install dapper==1.7.1`):

    python benchmarks/assimilation.py [--rounds 3] [--batch 32]
"""

import argparse
import contextlib
import io
import os
import statistics
import time
from dataclasses import dataclass, field

os.environ.setdefault("OMP_NUM_THREADS", "1")

import dapper
import dapper.da_methods as peer_methods
import dapper.tools.progressbar
import numpy as np
import torch
from dapper.mods.Lorenz96.sakov2008 import HMM

from koopcast.assimilation.base import AnalysisSpec
from koopcast.assimilation.cycle import CycleState, Experiment, run
from koopcast.assimilation.etkf import ETKFSpec
from koopcast.assimilation.inflation import MultiplicativeSpec
from koopcast.assimilation.letkf import LETKFSpec
from koopcast.assimilation.localization import GaspariCohnSpec
from koopcast.fields import FieldData
from koopcast.generation import Run, SystemDynamics, describe
from koopcast.generation.provenance import empty
from koopcast.integrators.rk4 import RK4Spec
from koopcast.observations import ObservationSet
from koopcast.systems.lorenz96 import Lorenz96Spec


@dataclass
class Contest:
    """A method on both sides, and what was measured of it."""

    name: str
    ours: AnalysisSpec
    peer: object
    published: float
    repeats: int
    """Pairs of runs on each truth."""
    peer_seconds: list[float] = field(default_factory=list)
    peer_scores: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)


def contests() -> list[Contest]:
    """Return the settings of the published table."""
    etkf = ETKFSpec(members=24, inflation=MultiplicativeSpec(factor=1.013), rotation=True)
    letkf = LETKFSpec(
        members=7,
        inflation=MultiplicativeSpec(factor=1.04),
        rotation=True,
        localization=GaspariCohnSpec(radius=4.0),
    )
    return [
        Contest("ETKF N=24", etkf, peer_methods.EnKF("Sqrt", N=24, infl=1.013, rot=True), 0.18, 3),
        Contest("LETKF N=7", letkf, peer_methods.LETKF(N=7, infl=1.04, rot=True, loc_rad=4), 0.22, 1),
    ]


def experiment(
    truth: np.ndarray, observed: np.ndarray, method: AnalysisSpec, seed: int
) -> tuple[Experiment, torch.Tensor]:
    """Return our experiments on truths `(batch, record, cell)`, and a first ensemble drawn as theirs is."""
    batch, records, cells = truth.shape
    setup = Run(Lorenz96Spec(), RK4Spec(), samples=batch, steps=records, dt=0.05)
    template = empty(setup.system, describe(setup), "float64")
    fields = FieldData(template.assign(X=template["X"].copy(data=truth)), describe(setup))
    times = observed.shape[1]
    index = torch.arange(cells).expand(batch, times, -1)
    observations = ObservationSet(
        torch.arange(1, times + 1), index, torch.from_numpy(observed), torch.ones(batch, times, cells)
    )
    generator = torch.Generator().manual_seed(100 + seed)
    noise = torch.randn(batch, method.num_members(), cells, generator=generator, dtype=torch.float64)
    ensemble = torch.from_numpy(HMM.X0.mu) + 0.001**0.5 * noise
    return Experiment(SystemDynamics(setup), method, observations, fields, fields), ensemble


def run_ours(trial: Experiment, ensemble: torch.Tensor, seed: int) -> tuple[float, torch.Tensor]:
    """Return seconds, and the score of each experiment after the burn-in."""
    scored = torch.from_numpy(np.asarray(HMM.tseq.masko))
    start = time.perf_counter()
    blocks = list(run(trial, CycleState(ensemble, torch.Generator().manual_seed(seed)), keep="mean"))
    seconds = time.perf_counter() - start
    errors = torch.cat([block.figures["rmse"] for block in blocks], dim=1)
    return seconds, errors[:, scored].mean(dim=1)


def run_peer(method: object, truth: np.ndarray, observed: np.ndarray) -> tuple[float, float]:
    """Return seconds and score of DAPPER."""
    start = time.perf_counter()
    method.assimilate(HMM, truth, observed, liveplots=False)
    seconds = time.perf_counter() - start
    method.stats.average_in_time()
    return seconds, float(method.avrgs.err.rms.a.val)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="truths; both sides run on each")
    parser.add_argument("--batch", type=int, default=32, help="experiments of ours that run at once")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dapper.rc.liveplotting = False
    dapper.rc.comps["error_only"] = True
    dapper.tools.progressbar.disable_progbar = True
    table = contests()
    for round_number in range(options.rounds):
        dapper.set_seed(3000 + round_number)
        truth, observed = HMM.simulate()
        for contest in table:
            for repeat in range(contest.repeats):
                with contextlib.redirect_stdout(io.StringIO()):
                    seconds, score = run_peer(contest.peer, truth, observed)
                contest.peer_seconds.append(seconds)
                contest.peer_scores.append(score)
                trial, ensemble = experiment(
                    truth[None], np.stack(list(observed))[None], contest.ours, repeat
                )
                seconds, scores = run_ours(trial, ensemble, repeat)
                contest.seconds.append(seconds)
                contest.scores.append(float(scores))
    print(f"\nLorenz-96, {HMM.tseq.Ko + 1} cycles, one thread; seconds are minima")
    for contest in table:
        peer, ours = min(contest.peer_seconds), min(contest.seconds)
        print(f"\n{contest.name} (published error {contest.published})")
        print(f"  DAPPER    {peer:7.3f} s           {_errors(contest.peer_scores)}")
        print(f"  koopcast  {ours:7.3f} s  {peer / ours:5.1f} x  {_errors(contest.scores)}")
        if options.batch > 1:
            each, scores = batched(contest, options.batch)
            print(f"  at once   {each:7.3f} s  {peer / each:5.1f} x  {_errors(scores)}; seconds of each")


def _errors(scores: list[float]) -> str:
    lost = sum(score > 1 for score in scores)
    return f"error {statistics.median(scores):.3f} (median of {len(scores)}, {lost} lost the truth)"


def batched(contest: Contest, batch: int) -> tuple[float, list[float]]:
    """Return seconds for each of `batch` experiments that run at once, and their scores."""
    pairs = [HMM.simulate() for _ in range(batch)]
    truth = np.stack([truth for truth, _ in pairs])
    observed = np.stack([np.stack(list(observed)) for _, observed in pairs])
    seconds, scores = run_ours(*experiment(truth, observed, contest.ours, 0), seed=0)
    return seconds / batch, scores.tolist()


if __name__ == "__main__":
    main()
