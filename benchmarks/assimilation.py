"""Filters beside DAPPER's on the same truth, the same observations and the same first ensemble.

The twin is Lorenz-96 as in Sakov and Oke (2008): 40 cells, all observed at every step with R = I, for
1000 cycles. Both sides run alternately in one process on one thread, DAPPER with its error-only statistics
and without live plots; the minimum CPU time of all rounds counts, which other work on the machine disturbs
less than the time on the wall. Errors are means over rounds; the interval is that of the difference of the
two sides, round by round (95 %). Ours also runs 32 experiments at once. Use an environment that holds
koopcast and DAPPER (`pip install dapper==1.7.1`):

    python benchmarks/assimilation.py [--rounds 6] [--batch 32] [--only ETKF]
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
from scipy.special import stdtrit

from koopcast.assimilation.base import AnalysisSpec
from koopcast.assimilation.cycle import CycleState, Experiment, run
from koopcast.assimilation.ensrf import EnSRFSpec
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
    ensrf = EnSRFSpec(members=28, inflation=MultiplicativeSpec(factor=1.02), rotation=True)
    local = EnSRFSpec(
        members=7,
        inflation=MultiplicativeSpec(factor=1.07),
        rotation=True,
        localization=GaspariCohnSpec(radius=6.0),
    )
    return [
        Contest("ETKF N=24", etkf, peer_methods.EnKF("Sqrt", N=24, infl=1.013, rot=True), 0.18),
        Contest("LETKF N=7", letkf, peer_methods.LETKF(N=7, infl=1.04, rot=True, loc_rad=4), 0.22),
        Contest("Local EnSRF N=7", local, peer_methods.SL_EAKF(N=7, infl=1.07, rot=True, loc_rad=6), 0.23),
        Contest("Serial EnSRF N=28", ensrf, peer_methods.EnKF("Serial", N=28, infl=1.02, rot=True), 0.18),
    ]


def experiment(
    truth: np.ndarray, observed: np.ndarray, ensemble: np.ndarray, method: AnalysisSpec
) -> tuple[Experiment, torch.Tensor]:
    """Return our experiments on truths `(batch, record, cell)`, and their first ensembles."""
    batch, records, cells = truth.shape
    setup = Run(Lorenz96Spec(), RK4Spec(), samples=batch, steps=records, dt=0.05)
    template = empty(setup.system, describe(setup), "float64")
    fields = FieldData(template.assign(X=template["X"].copy(data=truth)), describe(setup))
    times = observed.shape[1]
    index = torch.arange(cells).expand(batch, times, -1)
    observations = ObservationSet(
        torch.arange(1, times + 1), index, torch.from_numpy(observed), torch.ones(batch, times, cells)
    )
    return Experiment(SystemDynamics(setup), method, observations, fields, fields), torch.from_numpy(ensemble)


def run_ours(trial: Experiment, ensemble: torch.Tensor, seed: int) -> tuple[float, torch.Tensor]:
    """Return CPU seconds, and the score of each experiment after the burn-in."""
    scored = torch.from_numpy(np.asarray(HMM.tseq.masko))
    start = time.process_time()
    blocks = list(run(trial, CycleState(ensemble, torch.Generator().manual_seed(seed)), keep="mean"))
    seconds = time.process_time() - start
    errors = torch.cat([block.figures["rmse"] for block in blocks], dim=1)
    return seconds, errors[:, scored].mean(dim=1)


def run_peer(
    method: object, truth: np.ndarray, observed: np.ndarray, ensemble: np.ndarray
) -> tuple[float, float]:
    """Return CPU seconds and score of DAPPER, whose first ensemble is the given one."""
    HMM.X0.sample = lambda count: ensemble.copy()
    start = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        method.assimilate(HMM, truth, observed, liveplots=False)
    seconds = time.process_time() - start
    del HMM.X0.sample
    method.stats.average_in_time()
    return seconds, float(method.avrgs.err.rms.a.val)


def case(seed: int, members: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a truth, its observations and a first ensemble, all drawn by DAPPER."""
    dapper.set_seed(3000 + seed)
    truth, observed = HMM.simulate()
    return truth, np.stack(list(observed)), HMM.X0.sample(members)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6, help="truths; both sides run on each")
    parser.add_argument("--batch", type=int, default=32, help="experiments of ours that run at once")
    parser.add_argument("--only", default="", help="contests whose name starts so")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dapper.rc.liveplotting = False
    dapper.rc.comps["error_only"] = True
    dapper.tools.progressbar.disable_progbar = True
    print(f"Lorenz-96, {HMM.tseq.Ko + 1} cycles, one thread; CPU seconds are minima")
    for contest in contests():
        if contest.name.startswith(options.only):
            measure(contest, options.rounds)
            if options.batch > 1:
                batched(contest, options.batch)


def measure(contest: Contest, rounds: int) -> None:
    """Run both sides in turn, and print speed and errors."""
    for number in range(rounds):
        truth, observed, ensemble = case(number, contest.ours.num_members())
        seconds, score = run_peer(contest.peer, truth, observed, ensemble)
        contest.peer_seconds.append(seconds)
        contest.peer_scores.append(score)
        trial, start = experiment(truth[None], observed[None], ensemble[None], contest.ours)
        seconds, scores = run_ours(trial, start, number)
        contest.seconds.append(seconds)
        contest.scores.append(float(scores))
    peer, ours = min(contest.peer_seconds), min(contest.seconds)
    gaps = np.array(contest.scores) - np.array(contest.peer_scores)
    margin = stdtrit(rounds - 1, 0.975) * gaps.std(ddof=1) / rounds**0.5
    print(f"\n{contest.name} (published error {contest.published})")
    print(f"  DAPPER    {peer:7.3f} s           {_errors(contest.peer_scores)}")
    print(f"  koopcast  {ours:7.3f} s  {peer / ours:5.1f} x  {_errors(contest.scores)}")
    print(f"  difference of errors {gaps.mean():+.4f}, interval +- {margin:.4f}")


def _errors(scores: list[float]) -> str:
    lost = sum(score > 1 for score in scores)
    return f"error {statistics.mean(scores):.3f} (mean of {len(scores)}, {lost} lost the truth)"


def batched(contest: Contest, batch: int) -> None:
    """Run experiments at once, and print what they cost beside one, and their scores."""
    truth, observed, ensemble = (
        np.stack(parts)
        for parts in zip(*(case(number, contest.ours.num_members()) for number in range(batch)), strict=True)
    )
    trial, start = experiment(truth, observed, ensemble, contest.ours)
    seconds, scores = run_ours(trial, start, seed=0)
    ratio = seconds / min(contest.seconds)
    print(f"  {batch} at once {seconds:5.3f} s, {ratio:.1f} x one; {_errors(scores.tolist())}")


if __name__ == "__main__":
    main()
