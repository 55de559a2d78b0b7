"""Pseudo-spectral steps beside exponax's: the same equations, steps, scheme and precision.

Needs exponax (benchmarks/requirements.txt) in an environment of its own. Its rollout is compiled whole (jit
of scan of vmap, coefficients in, coefficients out; compiling is not timed), ours is a loop of steps. Results
are compared first. Then all take turns; the minimum of all rounds counts. Ours is timed with one thread and
with all, since small transforms gain little from more, and lose much where other work holds the cores:
python benchmarks/spectral.py [--threads 2] [--rounds 30]
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from koopcast.dynamics import Setting
from koopcast.integrators.etdrk4 import ETDRK4Spec
from koopcast.systems.base import EvolvingSpec
from koopcast.systems.kuramoto_sivashinsky import KuramotoSivashinskySpec
from koopcast.systems.navier_stokes import NavierStokesSpec


@dataclass(frozen=True)
class Case:
    """A problem, and the steppers of exponax that solve it."""

    name: str
    system: EvolvingSpec
    peers: dict[str, Any]
    batch: int
    dt: float
    spin_up: int
    """Steps before the comparison, for fields of the size they keep."""
    steps: int


def cases(peer: Any) -> list[Case]:
    length, flow = 100.0, NavierStokesSpec(forcing="none")
    ks = peer.stepper.KuramotoSivashinskyConservative
    return [
        Case(
            "Kuramoto-Sivashinsky, 256 points, batch 64",
            KuramotoSivashinskySpec(length=length, points=256),
            {
                "conservative": ks(1, length, 256, 0.1, order=4),
                "single channel": ks(1, length, 256, 0.1, order=4, single_channel=True),
            },
            batch=64, dt=0.1, spin_up=1000, steps=50,
        ),
        Case(
            "Navier-Stokes, 64 x 64, batch 20",
            flow,
            {
                "vorticity": peer.stepper.NavierStokesVorticity(
                    2, flow.length, 64, 0.01, diffusivity=flow.viscosity, order=4
                )
            },
            batch=20, dt=0.01, spin_up=100, steps=20,
        ),
    ]  # fmt: skip


def ours(case: Case) -> tuple[Callable[[np.ndarray, int], np.ndarray], Any]:
    """Return the map from fields to fields over some steps, and what makes a run of the timed steps."""
    problem = case.system.problem(Setting(dtype=torch.float32))
    step = ETDRK4Spec().build(problem, case.dt)

    def rolled(v: torch.Tensor, steps: int) -> torch.Tensor:
        with torch.inference_mode():
            for _ in range(steps):
                v = step(v)
        return v

    def advance(fields: np.ndarray, steps: int) -> np.ndarray:
        v = problem.to_spectral(torch.from_numpy(fields)[..., None])
        return problem.to_physical(rolled(v, steps))[..., 0].numpy()

    def timed(fields: np.ndarray, threads: int) -> Callable[[], Any]:
        v = problem.to_spectral(torch.from_numpy(fields)[..., None])

        def run() -> None:
            torch.set_num_threads(threads)
            rolled(v, case.steps)

        return run

    return advance, timed


def theirs(case: Case, stepper: Any, space: int) -> tuple[Callable[[np.ndarray], np.ndarray], Any]:
    """Return the map from fields to fields over the timed steps, and what makes a run of them."""
    import jax

    axes = tuple(range(-space, 0))
    one = jax.vmap(stepper.step_fourier)

    @jax.jit
    def rolled(v: Any) -> Any:
        return jax.lax.scan(lambda state, _: (one(state), None), v, None, length=case.steps)[0]

    def coefficients(fields: np.ndarray) -> Any:
        return jax.numpy.fft.rfftn(jax.numpy.asarray(fields)[:, None], axes=axes)

    def advance(fields: np.ndarray) -> np.ndarray:
        v = rolled(coefficients(fields))
        return np.asarray(jax.numpy.fft.irfftn(v, s=fields.shape[1:], axes=axes))[:, 0]

    def timed(fields: np.ndarray) -> Callable[[], Any]:
        v = coefficients(fields)
        return lambda: rolled(v).block_until_ready()

    return advance, timed


def fastest(runs: list[Callable[[], Any]], rounds: int) -> list[float]:
    """Return the least wall time of each, taken in turns."""
    best = [float("inf")] * len(runs)
    for _ in range(rounds):
        for index, run in enumerate(runs):
            start = time.perf_counter()
            run()
            best[index] = min(best[index], time.perf_counter() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    # XLA takes as many threads as the process may use cores.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    torch.set_num_threads(options.threads)
    import exponax

    for case in cases(exponax):
        advance, timed = ours(case)
        drawn = case.system.initial(case.batch, torch.Generator().manual_seed(0))[..., 0].float().numpy()
        start = advance(drawn, case.spin_up)
        end, counts = advance(start, case.steps), sorted({1, options.threads})
        runs = {f"koopcast, threads {n}": timed(start, n) for n in counts}
        print(f"{case.name}, float32, at most {options.threads} threads, {case.steps} steps of {case.dt:g}")
        for name, stepper in case.peers.items():
            peer_advance, peer_timed = theirs(case, stepper, end.ndim - 1)
            difference = np.linalg.norm(peer_advance(start) - end) / np.linalg.norm(end)
            print(f"  solutions differ by {difference:.1e} from exponax, {name}")
            assert difference < 1e-4
            runs[f"exponax, {name}"] = peer_timed(start)
        best = dict(zip(runs, fastest(list(runs.values()), options.rounds), strict=True))
        for name, seconds in best.items():
            print(f"  {name:28s} {1e6 * seconds / case.steps:8.0f} microseconds a step")
        mine, other = (
            min(value for name, value in best.items() if name.startswith(which))
            for which in ("koopcast", "exponax")
        )
        print(f"  ratio of the best of each: {other / mine:.2f}")


if __name__ == "__main__":
    main()
