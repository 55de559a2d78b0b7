"""Fits of EDMD with cubic monomials, and of kernel EDMD of rank 32, beside pykoop's and kooplearn's.

Needs pykoop and kooplearn (benchmarks/requirements.txt) in an environment of its own. Data, dictionary, rank
and precision are the same, and eigenvalues are compared first. Ours is the whole fit of the model that a
pipeline stores, residuals and modes of all pairs included; of kooplearn's solvers the fastest counts.
All take turns; the minimum of all rounds counts: python benchmarks/koopman_kernels.py [--rounds 3]
"""

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr

from koopcast.fields import FieldData
from koopcast.generation.evolving import Run, describe
from koopcast.integrators.rk4 import RK4Spec
from koopcast.koopman import EDMDSpec, KernelEDMDSpec
from koopcast.koopman.base import KoopmanSpec
from koopcast.studies.residual_spectrum import trajectories
from koopcast.systems.lorenz63 import Lorenz63Spec

RANK = 32


@dataclass(frozen=True)
class Case:
    """One problem, and who solves it: each returns eigenvalues."""

    name: str
    ours: Callable[[], np.ndarray]
    peers: dict[str, Callable[[], np.ndarray]]
    compared: int
    """Leading eigenvalues that are compared."""


def lorenz(pairs: int) -> FieldData:
    """Return one trajectory on the attractor, of unit variance and mean 0."""
    run = Run(Lorenz63Spec(), RK4Spec(), 1, pairs + 201, record_every=5)
    states = trajectories(run, torch.Generator().manual_seed(0))[:, 200:]
    states = (states - states.mean(dim=1)) / states.std(correction=0)
    info = describe(Run(run.system, run.integrator, 1, pairs + 1, record_every=5))
    return FieldData(xr.Dataset({"X": (("sample", "time", "state"), states.numpy())}), info)


def fitted(spec: KoopmanSpec, data: FieldData) -> np.ndarray:
    tensors = spec.fit(data, torch.Generator().manual_seed(0)).tensors()
    return torch.view_as_complex(tensors["eigenvalues"]).numpy()


def cubic(pairs: int) -> Case:
    import pykoop

    data = lorenz(pairs)
    X = data.dataset["X"].values[0]

    def theirs() -> np.ndarray:
        lifting = [("cubic", pykoop.PolynomialLiftingFn(order=3)), ("one", pykoop.ConstantLiftingFn())]
        pipeline = pykoop.KoopmanPipeline(lifting_functions=lifting, regressor=pykoop.Edmd(alpha=0))
        pipeline.fit(X, n_inputs=0, episode_feature=False)
        return np.linalg.eigvals(pipeline.regressor_.coef_.T)

    spec = EDMDSpec(
        coordinates="values", center=False, ridge=0.0, dictionary={"kind": "polynomial", "degree": 3}
    )
    return Case(f"cubic EDMD, {pairs} pairs", lambda: fitted(spec, data), {"pykoop": theirs}, 19)


def kernel(pairs: int) -> Case:
    from kooplearn.kernel import KernelRidge

    data = lorenz(pairs)
    X = data.dataset["X"].values[0]
    gamma = 1 / np.linalg.norm(X[:-1] - X[:-1].mean(axis=0), axis=1).mean() ** 2

    def theirs(solver: str) -> np.ndarray:
        model = KernelRidge(
            RANK,
            reduced_rank=False,
            kernel="rbf",
            gamma=gamma,
            alpha=0.0,
            eigen_solver=solver,
            random_state=0,
        )
        return np.asarray(model.fit(X).eig())

    spec = KernelEDMDSpec(
        coordinates="values", center=False, functions=RANK, regularisation=0.0, kernel="gaussian"
    )
    peers = {f"kooplearn {solver}": (lambda solver=solver: theirs(solver)) for solver in ("arpack", "dense")}
    return Case(f"Gaussian kernel, rank {RANK}, {pairs} pairs", lambda: fitted(spec, data), peers, RANK)


def cases() -> Iterator[Case]:
    yield cubic(20_000)
    yield kernel(2000)
    yield kernel(5000)


def difference(ours: np.ndarray, theirs: np.ndarray, count: int) -> float:
    """Return the greatest distance of our leading eigenvalues to the nearest of theirs."""
    leading = ours[np.argsort(-np.abs(ours), kind="stable")][:count]
    return float(max(np.abs(theirs - value).min() for value in leading))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(parser.parse_args().threads)
    warnings.simplefilter("ignore")
    for case in cases():
        found: dict[str, Any] = {"koopcast": case.ours()} | {n: peer() for n, peer in case.peers.items()}
        best = dict.fromkeys(found, float("inf"))
        for _ in range(rounds):
            for name, run in ({"koopcast": case.ours} | case.peers).items():
                start = time.perf_counter()
                run()
                best[name] = min(best[name], time.perf_counter() - start)
        print(case.name)
        for name, seconds in best.items():
            off = difference(found["koopcast"], found[name], case.compared)
            ratio = seconds / best["koopcast"]
            print(f"  {name:20s} {seconds:8.3f} s   {ratio:6.2f} x   eigenvalues off {off:.1e}")


if __name__ == "__main__":
    main()
