"""Koopman models beside their peers, and frames that do not fit into memory.

python benchmarks/koopman.py peers [--rounds 10]        fit times side by side, alternating, minima
python benchmarks/koopman.py stream --gigabytes 20      a fit to a store larger than memory should hold
"""

import argparse
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
import xarray as xr
import zarr

from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis, Window
from koopcast.koopman import DMDSpec, OptDMDSpec
from koopcast.models import Model

RANK = 32
Way: TypeAlias = Literal["randomised", "incremental"]


@dataclass(frozen=True)
class Contest:
    """One problem for Koopcast and its peers: each entry fits, and returns what is compared."""

    entries: dict[str, Callable[[], np.ndarray]]
    """Name -> a fit; the first is ours. Its answer is what must agree."""
    tolerance: float = 1e-6
    """Largest difference between answers."""


def fields(values: np.ndarray) -> FieldData:
    """Return one trajectory `(time, cell)`."""
    times, cells = values.shape
    info = FieldsInfo({"u": "1"}, (Axis("x", cells),), TimeAxis(times, 1.0))
    dataset = xr.Dataset({"u": (("time", "x"), values)}, coords={"time": np.arange(float(times))})
    return FieldData(dataset, info)


def ordered(values: np.ndarray) -> np.ndarray:
    """Return complex numbers by imaginary part, then real part: conjugates differ in the first."""
    return values[np.lexsort((values.real, values.imag.round(9)))]


def eigenvalues(model: Model) -> np.ndarray:
    """Return all eigenvalues of the map of a model, in order."""
    return ordered(np.linalg.eigvals(model.tensors()["operator"].numpy()))


def dmd() -> Contest:
    """Exact DMD of 64 frames of 10 000 values: sixteen waves and noise, rank 32."""
    from pydmd import DMD

    rng = np.random.default_rng(0)
    rates = -rng.uniform(0, 0.02, 16) + 1j * rng.uniform(0.1, 3, 16)
    patterns = rng.standard_normal((16, 10_000)) + 1j * rng.standard_normal((16, 10_000))
    values = (np.exp(np.outer(np.arange(64), rates)) @ patterns).real
    values += 1e-3 * rng.standard_normal(values.shape)
    spec, data = DMDSpec(rank=RANK, ridge=0.0, center=False), fields(values)

    def ours() -> np.ndarray:
        return eigenvalues(spec.fit(data, torch.Generator().manual_seed(0)))

    def pydmd() -> np.ndarray:
        return ordered(DMD(svd_rank=RANK).fit(values.T).eigs)

    return Contest({"koopcast": ours, "PyDMD": pydmd})


def opt_dmd() -> Contest:
    """Three noisy oscillations at 200 unequal times of 2000 values: optimised DMD, rank 6."""
    from pydmd import BOPDMD

    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(0, 60, 200))
    rates = np.array([-0.01 + 0.4j, -0.02 + 1.1j, 1.9j])
    patterns = rng.standard_normal((3, 2000)) + 1j * rng.standard_normal((3, 2000))
    values = (np.exp(np.outer(times, rates)) @ patterns).real
    values += 0.1 * rng.standard_normal(values.shape)
    data, step = fields(values), float(np.median(np.diff(times)))
    info = replace(data.info, time=TimeAxis(200, ""))
    data = FieldData(data.dataset.assign_coords(time=times), info)
    spec = OptDMDSpec(rank=6, center=False)

    def ours() -> np.ndarray:
        return ordered(np.log(eigenvalues(spec.fit(data, torch.Generator().manual_seed(0)))) / step)

    def pydmd() -> np.ndarray:
        return ordered(BOPDMD(svd_rank=6, num_trials=0, use_proj=True).fit(values.T, times).eigs)

    return Contest({"koopcast": ours, "PyDMD": pydmd})


CASES: dict[str, Callable[[], Contest]] = {"dmd": dmd, "opt_dmd": opt_dmd}
"""Name -> what prepares the data and the entries."""


def peers(case: str, rounds: int) -> None:
    contest = CASES[case]()
    answers = {name: fit() for name, fit in contest.entries.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contest.entries}
    for _ in range(rounds):
        for name, fit in contest.entries.items():
            start = time.perf_counter()
            fit()
            seconds[name].append(time.perf_counter() - start)
    (ours, *others), best = contest.entries, {name: min(values) for name, values in seconds.items()}
    print(f"{case}, {torch.get_num_threads()} threads, minima of {rounds} alternating rounds")
    for name in (ours, *others):
        apart = np.abs(answers[name] - answers[ours]).max()
        agrees = "" if apart <= contest.tolerance else f"  DISAGREES: above {contest.tolerance:.0e}"
        print(f"{name:12s} {1e3 * best[name]:9.1f} ms   largest difference {apart:.1e}{agrees}")
    print(f"ratio to the fastest peer {best[ours] / min(best[name] for name in others):.2f}")


def large_store(path: Path, gigabytes: float, points: int = 256) -> None:
    """Write waves that run over a plane, with noise, chunk by chunk: sixteen directions above the noise."""
    times = max(64, round(gigabytes * 1e9 / (4 * points**2)))
    group = zarr.open_group(path, mode="w", zarr_format=3)
    array = group.create_array(
        "u",
        shape=(times, points, points),
        chunks=(32, points, points),
        dtype="float32",
        compressors=None,
        dimension_names=("time", "y", "x"),
    )
    generator = np.random.default_rng(0)
    y, x = np.meshgrid(*(2 * np.pi * np.arange(points) / points,) * 2, indexing="ij")
    phases = [ky * y + kx * x for ky in (1, 2) for kx in (1, 2, 3, 4)]
    patterns = np.stack([part(phase) for part in (np.cos, np.sin) for phase in phases]).reshape(16, -1)
    frequencies, sizes = 0.1 + 0.17 * np.arange(8), 4 * 0.8 ** np.arange(8)
    noise = generator.standard_normal((64, points * points), dtype=np.float32)
    for start in range(0, times, 32):
        time_now = np.arange(start, min(start + 32, times))
        turns = np.outer(time_now, frequencies)
        signals = np.concatenate([sizes * np.cos(turns), sizes * np.sin(turns)], axis=1).astype(np.float32)
        shift = int(generator.integers(points * points))
        rough = np.roll(noise[generator.integers(64, size=len(time_now))], shift, axis=1)
        block = signals @ patterns.astype(np.float32) + np.float32(0.1) * rough
        array[start : start + len(time_now)] = block.reshape(-1, points, points)


def stream(gigabytes: float, folder: Path, ways: Sequence[Way]) -> None:
    path = folder / "koopman.zarr"
    try:
        start = time.perf_counter()
        large_store(path, gigabytes)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e9
        print(f"wrote {size:.1f} GB in {time.perf_counter() - start:.0f} s", flush=True)
        dataset = xr.open_zarr(path, consolidated=False, chunks=None)
        sizes = dataset["u"].sizes
        axes = tuple(Axis(name, sizes[name], periodic=True, length=1.0) for name in ("y", "x"))
        data = FieldData(dataset, FieldsInfo({"u": "1"}, axes, TimeAxis(sizes["time"], 1.0)))
        few = FieldData(dataset, data.info, Window((0, 1), (0, min(200, sizes["time"]))))
        held = DMDSpec(rank=16, ridge=0.0, svd="memory").fit(few, torch.Generator().manual_seed(0))
        for svd in ways:
            streamed = DMDSpec(rank=16, ridge=0.0, svd=svd).fit(few, torch.Generator().manual_seed(0))
            apart = np.abs(eigenvalues(held) - eigenvalues(streamed)).max()
            print(f"200 frames, {svd}: eigenvalues differ by {apart:.1e} from those in memory", flush=True)
        for svd in ways:
            start = time.perf_counter()
            model = DMDSpec(rank=16, ridge=0.0, svd=svd).fit(data, torch.Generator().manual_seed(0))
            seconds = time.perf_counter() - start
            found = np.sort(np.abs(np.angle(eigenvalues(model))))[::2]
            wrong = np.abs(found - 0.1 - 0.17 * np.arange(8)).max()
            print(f"{svd}: {seconds:.0f} s, frequencies wrong by {wrong:.1e}", flush=True)
        print(f"largest resident memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")
    finally:
        shutil.rmtree(path, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("peers", "stream"))
    parser.add_argument("--case", choices=("all", *CASES), default="all")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--gigabytes", type=float, default=20.0)
    parser.add_argument("--svd", nargs="+", choices=("randomised", "incremental"), default=["randomised"])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.what == "stream":
        stream(options.gigabytes, options.folder, options.svd)
        return
    for case in CASES if options.case == "all" else (options.case,):
        peers(case, options.rounds)


if __name__ == "__main__":
    main()
