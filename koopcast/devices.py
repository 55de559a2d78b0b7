"""Devices by name, and a clear error where this machine has no such device."""

import re

import torch

from koopcast.errors import DeviceMissing, InvalidInput

_NAME = re.compile(r"auto|cpu|cuda(:\d+)?|mps")


def available() -> list[str]:
    """Return the devices of this machine by the names that `resolve` takes."""
    cuda = (
        [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    return ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]


def resolve(name: str) -> torch.device:
    """Return the device that `auto`, `cpu`, `cuda`, `cuda:1` or `mps` names; `auto` takes the fastest.

    Raises:
        InvalidInput: The name is not of this form.
        DeviceMissing: This machine has no such device.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"unknown device '{name}'", "use auto, cpu, cuda, cuda:<number> or mps")
    here = available()
    if name == "auto":
        return torch.device(here[1] if len(here) > 1 else "cpu")
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in here:
        raise DeviceMissing(
            f"no device '{name}' on this machine (there are: {', '.join(here)})", "use `device: auto`"
        )
    return torch.device(wanted)
