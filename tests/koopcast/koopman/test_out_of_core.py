"""A fit to a store that is larger than what the fit may hold in memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

FRAMES, POINTS = 1500, 256
FIT = """
import resource, sys
import numpy as np, torch, xarray as xr
from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.koopman import DMDSpec

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

torch.set_num_threads(1)
dataset = xr.open_zarr(sys.argv[1], consolidated=False, chunks=None)
sizes = dataset["u"].sizes
axes = tuple(Axis(name, sizes[name]) for name in ("y", "x"))
data = FieldData(dataset, FieldsInfo({"u": "1"}, axes, TimeAxis(sizes["time"], 1.0)))
before = peak()
model = DMDSpec(rank=4, ridge=0.0, memory=0.5).fit(data, torch.Generator().manual_seed(0))
angles = np.sort(np.abs(np.angle(np.linalg.eigvals(model.tensors()["operator"].numpy()))))
print(peak() - before, *angles)
"""


@pytest.mark.slow
def test_memory_holds_a_few_blocks_and_the_frequencies_are_exact(tmp_path: Path) -> None:
    array = zarr.open_group(tmp_path / "u.zarr", mode="w", zarr_format=3).create_array(
        "u",
        shape=(FRAMES, POINTS, POINTS),
        chunks=(25, POINTS, POINTS),
        dtype="float32",
        compressors=None,
        dimension_names=("time", "y", "x"),
    )
    patterns = np.random.default_rng(0).standard_normal((4, POINTS**2))
    for start in range(0, FRAMES, 25):
        time = np.arange(start, start + 25)
        signals = np.stack([np.cos(0.3 * time), np.sin(0.3 * time), np.cos(1.1 * time), np.sin(1.1 * time)])
        array[start : start + 25] = (signals.T @ patterns).reshape(25, POINTS, POINTS)
    command = [sys.executable, "-c", FIT, str(tmp_path / "u.zarr")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    grown, *angles = map(float, result.stdout.split())
    # Two blocks of 128 frames, single and double, and what is made of them; a fit in memory takes 3.1 GB.
    assert grown < 1e9
    # The frames are rounded to single precision.
    assert np.allclose(angles, [0.3, 0.3, 1.1, 1.1], atol=1e-6)
