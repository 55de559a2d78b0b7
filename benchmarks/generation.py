"""1000 Darcy samples: the whole command, from YAML to a verified store, beside a bare loop over the solver.

The loop draws, assembles and solves one sample after another in one thread and keeps the solutions in memory;
its imports do not count, those of the command do. Both solve by the same method:
python benchmarks/generation.py [--solver direct] [--samples 1000]
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from koopcast.rng import torch_generator
from schemas.pipeline import load

PIPELINE = Path(__file__).parents[1] / "pipelines" / "data" / "darcy.yaml"


def bare_loop(samples: int, solver: str) -> float:
    """Return the seconds of the loop."""
    step = load(PIPELINE, [f"steps.darcy.solver={solver}"]).pipeline.steps["darcy"]
    system, spec = step.system, step.chosen_solver()
    start = time.perf_counter()
    solutions = []
    profile = system.profile()
    for sample in range(samples):
        given = system.draw(torch_generator(0, sample), {})
        problem = system.problem(given, {})
        if sample == 0:
            solve = spec.build(profile, np.random.default_rng(0)).solve
        solutions.append(system.solution(given, solve(problem).value))
    return time.perf_counter() - start


def command(samples: int, solver: str) -> float:
    """Return the seconds of `koopcast run` on an empty store."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--store", f"{folder}/store", "--engine", "inline", "--json"]
        options += [
            "--set",
            f"steps.darcy.samples={samples}",
            "--set",
            "steps.darcy.split=null",
            "--set",
            f"steps.darcy.solver={solver}",
        ]
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "flows.cli", "run", str(PIPELINE), *options],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return time.perf_counter() - start


def main() -> None:
    """Alternate the two and print the ratio of the minima."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--solver", default="auto")
    options = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1, user_api="blas")
    bare, whole = [], []
    for _ in range(options.rounds):
        bare.append(bare_loop(options.samples, options.solver))
        whole.append(command(options.samples, options.solver))
        print(f"bare loop {bare[-1]:.2f} s, command {whole[-1]:.2f} s")
    print(f"minima {min(bare):.2f} s and {min(whole):.2f} s: the command takes {min(whole) / min(bare):.2f}x")


if __name__ == "__main__":
    main()
