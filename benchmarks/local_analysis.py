"""The LETKF on a plane: time, memory and accuracy beside eigenvectors of every local matrix.

Kolmogorov flow on 64 x 64 points, 40 members that grew apart from small perturbations, every point observed
with half the spread as the error, and 81 observations within the radius of each point. The reference
decomposes the matrix of every point in double precision. Needs koopcast alone:

    python benchmarks/local_analysis.py [--threads 2] [--rounds 5]
"""

import argparse
import resource
import time

import torch

from koopcast.assimilation.base import Observed, Setting, whitened
from koopcast.assimilation.letkf import LETKFSpec
from koopcast.assimilation.localization import GaussSpec, StepSpec, Taper
from koopcast.generation import Run, SystemDynamics
from koopcast.integrators.etdrk4 import ETDRK4Spec
from koopcast.numerics.ensembles import split
from koopcast.numerics.geometry import Domain, implied_coordinates
from koopcast.systems.navier_stokes import NavierStokesSpec

POINTS, MEMBERS = 64, 40


class NearGauss(GaussSpec):
    """A Gaussian taper within the 81 points of a disc."""

    def weight(self, distance: torch.Tensor) -> torch.Tensor:
        """Return the Gaussian within five grid intervals, 0 beyond."""
        return super().weight(distance) * StepSpec(radius=self.radius * 2.001).weight(distance)


def forecast_ensemble() -> tuple[Domain, torch.Tensor]:
    """Return the domain, and members `(1, member, state)` of a forecast."""
    system = NavierStokesSpec(preset="kolmogorov", points=POINTS)
    model = SystemDynamics(Run(system, ETDRK4Spec(), dt=0.01))
    generator = torch.Generator().manual_seed(0)
    state = system.initial(1, generator).flatten(1).double()
    for _ in range(800):
        state = model.step(state)
    shapes = system.initial(MEMBERS, generator).flatten(1).double()
    ensemble = state + 0.05 * state.std() * shapes / shapes.std()
    for _ in range(150):
        ensemble = model.step(ensemble)
    axes = system.describe().axes
    return Domain(axes, tuple(implied_coordinates(axis) for axis in axes)), ensemble[None]


def exact(ensemble: torch.Tensor, seen: Observed, taper: Taper) -> torch.Tensor:
    """Return the analysis by eigenvectors, point by point."""
    mean, A = split(ensemble)
    C, delta = whitened(seen)
    rho = taper.to_points(seen.cell)[0]
    columns = []
    for weight, a, m in zip(rho, A[0].T, mean[0, 0], strict=True):
        near = weight.nonzero()[:, 0]
        X = C[0][:, near] * weight[near].sqrt()
        values, V = torch.linalg.eigh(X @ X.T + (MEMBERS - 1) * torch.eye(MEMBERS).double())
        w = V @ ((V.T @ (X @ (weight[near].sqrt() * delta[0, near]))) / values)
        columns.append(m + w @ a + V @ ((V.T @ a) * ((MEMBERS - 1) / values).sqrt()))
    return torch.stack(columns, dim=1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with torch.inference_mode():
        domain, ensemble = forecast_ensemble()
        spread = float(ensemble.std(dim=1).mean())
        error = spread / 2
        generator = torch.Generator().manual_seed(1)
        value = ensemble[:, 0] + error * torch.randn(ensemble[:, 0].shape, generator=generator).double()
        index = torch.arange(POINTS**2)[None]
        seen = Observed.of(value, torch.full_like(value, error**2), ensemble, index)
        spacing = float(domain.coordinates[0][1])
        taper = NearGauss(radius=2.5 * spacing)
        setting = Setting(domain=domain)
        spec = LETKFSpec(members=MEMBERS).model_copy(update={"localization": taper})
        analyse = spec.build(setting)
        start = time.perf_counter()
        after = analyse(ensemble, seen, generator).ensemble
        first = time.perf_counter() - start
        wall, cpu = [], []
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(options.rounds):
            start, busy = time.perf_counter(), time.process_time()
            analyse(ensemble, seen, generator)
            wall.append(time.perf_counter() - start)
            cpu.append(time.process_time() - busy)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        reference = exact(ensemble, seen, Taper([taper], domain, 1))
        near = int((Taper([taper], domain, 1).to_points(index)[0] > 0).sum(dim=1).max())
    size = split(ensemble)[1].square().mean().sqrt()
    print(f"{POINTS} x {POINTS} points, {MEMBERS} members, {near} observations a point")
    print(f"spread {spread:.3g} of fields with deviation {float(ensemble.std()):.3g}")
    print(f"first analysis, with neighbourhoods, {first:.3f} s")
    print(f"others {min(wall):.3f} s on {options.threads} threads, CPU {min(cpu):.3f} s")
    print(f"largest error over the spread {float((after[0] - reference).abs().max() / size):.1e}")
    print(f"memory grew by {grown / 1024:.0f} MiB after the first; peak {before / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
