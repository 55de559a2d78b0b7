"""What a run took place on."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

PACKAGES = (
    "koopcast", "torch", "numpy", "scipy", "xarray", "zarr", "zarrs", "pydantic", "prefect", "dask",
    "netCDF4", "safetensors",
)  # fmt: skip
"""Those whose version can change a result or its bytes."""


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that matter."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """Return machine, system, cores and accelerators."""
    devices = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "devices": devices,
    }
