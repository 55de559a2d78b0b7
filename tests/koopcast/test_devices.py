"""Devices by name."""

import pytest
import torch

from koopcast import devices
from koopcast.errors import DeviceMissing, InvalidInput


def test_cpu_is_always_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "available", lambda: ["cpu"])
    assert devices.resolve("cpu") == devices.resolve("auto") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps"])
def test_a_missing_device_is_named_with_those_that_are_there(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "available", lambda: ["cpu"])
    with pytest.raises(DeviceMissing, match=rf"'{name}'.*there are: cpu"):
        devices.resolve(name)


def test_auto_takes_the_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "available", lambda: ["cpu", "cuda:0", "cuda:1"])
    assert devices.resolve("auto") == devices.resolve("cuda") == torch.device("cuda:0")
    assert devices.resolve("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "CPU", ""])
def test_an_unknown_name_is_invalid_input(name: str) -> None:
    with pytest.raises(InvalidInput, match="use auto, cpu, cuda"):
        devices.resolve(name)
