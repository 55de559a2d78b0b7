"""The training engine: its overhead over a bare torch loop, its waiting for data, its memory.

python benchmarks/training.py overhead [--rounds 5]     alternating epochs over the same fields, minima
python benchmarks/training.py stream --gigabytes 20     one epoch over a store larger than memory should hold
"""

import argparse
import resource
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import xarray as xr
import zarr

from koopcast import progress
from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.losses import RelativeL2Spec
from koopcast.operators import FNOSpec
from koopcast.training import Trainer, TrainingSpec, TrainingTask

BATCH, POINTS = 16, 64
CPU = torch.device("cpu")


def fields(dataset: xr.Dataset) -> FieldData:
    sizes = dataset["u"].sizes
    axes = tuple(Axis(name, sizes[name], periodic=True, length=1.0) for name in ("y", "x"))
    info = FieldsInfo({"u": "1"}, axes, TimeAxis(sizes["time"], 1.0), samples=sizes["sample"])
    return FieldData(dataset, info)


def trainer(data: FieldData, width: int, layers: int, scratch: str) -> Trainer:
    spec = FNOSpec(modes=16, width=width, layers=layers)
    training = TrainingSpec(epochs=1, batch_size=BATCH, checkpoint_minutes=60)
    return Trainer(TrainingTask(spec, training, data), seed=0, device=CPU, scratch=Path(scratch))


def bare_epoch(built: Trainer, frames: torch.Tensor, steps: int) -> float:
    """Return the seconds of the same steps written out: shuffled batches, loss, clipping, optimizer."""
    model, measure = built.model, built.stepper.measures[0]
    optimizer = torch.optim.AdamW(model.network.parameters(), lr=1e-3, weight_decay=1e-4, fused=True)
    loss, at_once = RelativeL2Spec(), built.state.micro_batch
    start = time.perf_counter()
    order = torch.randperm(len(frames))
    for step in range(steps):
        run = frames[order[step * BATCH : (step + 1) * BATCH]]
        optimizer.zero_grad(set_to_none=True)
        for part in run.split(at_once):
            value = loss.measure(model.advance(part[:, :1]), part[:, 1], measure) * (len(part) / BATCH)
            value.backward()
            value.item()
        torch.nn.utils.clip_grad_norm_(model.network.parameters(), 1.0)
        optimizer.step()
    return time.perf_counter() - start


def engine_epoch(data: FieldData, width: int) -> tuple[float, float]:
    """Return the seconds of the steps of one epoch, and those spent waiting for a batch."""
    with tempfile.TemporaryDirectory() as scratch:
        built = trainer(data, width, 4, scratch)
        start = time.perf_counter()
        built.run()
        return time.perf_counter() - start, built.state.waiting


def overhead(rounds: int, width: int) -> None:
    samples = 8 * BATCH
    values = np.random.default_rng(0).standard_normal((samples, 2, POINTS, POINTS), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        dataset = xr.Dataset({"u": (("sample", "time", "y", "x"), values)})
        dataset.to_zarr(f"{folder}/u.zarr", zarr_format=3, consolidated=False)
        data = fields(xr.open_zarr(f"{folder}/u.zarr", consolidated=False, chunks=None))
        frames = torch.from_numpy(values)[..., None]
        bare, ours, waited = [], [], []
        for _ in range(rounds):
            bare.append(bare_epoch(trainer(data, width, 4, folder), frames, samples // BATCH))
            seconds, waiting = engine_epoch(data, width)
            ours.append(seconds)
            waited.append(waiting / seconds)
    steps = samples // BATCH
    print(f"width {width}, {steps} steps of {BATCH} x {POINTS} x {POINTS}, {torch.get_num_threads()} threads")
    print(f"bare loop {1e3 * min(bare) / steps:.1f} ms a step, engine {1e3 * min(ours) / steps:.1f} ms")
    print(
        f"overhead {100 * (min(ours) / min(bare) - 1):.1f} %, waiting {100 * min(waited):.2f} % of the time"
    )


def large_store(path: Path, gigabytes: float, points: int = 256) -> None:
    """Write random fields, chunk by chunk."""
    times = 64
    samples = max(1, round(gigabytes * 1e9 / (4 * times * points**2)))
    group = zarr.open_group(path, mode="w", zarr_format=3)
    array = group.create_array(
        "u",
        shape=(samples, times, points, points),
        chunks=(1, 32, points, points),
        dtype="float32",
        compressors=None,
        dimension_names=("sample", "time", "y", "x"),
    )
    generator = np.random.default_rng(0)
    block = generator.standard_normal((times, points, points), dtype=np.float32)
    for sample in range(samples):
        array[sample] = np.roll(block, sample, axis=0) * np.float32(1 + sample / samples)


def stream(gigabytes: float, folder: Path) -> None:
    path = folder / "large.zarr"
    try:
        start = time.perf_counter()
        large_store(path, gigabytes)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e9
        print(f"wrote {size:.1f} GB in {time.perf_counter() - start:.0f} s", flush=True)
        data = fields(xr.open_zarr(path, consolidated=False, chunks=None))
        start = time.perf_counter()
        # A network that does little: data arrive as fast as they ever have to.
        built = trainer(data, width=2, layers=1, scratch=str(folder / "scratch"))
        print(f"statistics in {time.perf_counter() - start:.0f} s", flush=True)
        with progress.listening(lambda report: print(report.unit, report.figures, flush=True)):
            start = time.perf_counter()
            built.run()
        seconds = time.perf_counter() - start
        share = 100 * built.state.waiting / seconds
        print(f"{built.num_batches} batches in {seconds:.0f} s, {share:.1f} % of it waiting for data")
        print(f"largest resident memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")
    finally:
        shutil.rmtree(path, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("overhead", "stream"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--gigabytes", type=float, default=20.0)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.what == "overhead":
        overhead(options.rounds, options.width)
    else:
        stream(options.gigabytes, options.folder)


if __name__ == "__main__":
    main()
