"""Where states wait for the way back: in memory or on disk."""

import tempfile
from abc import ABC, abstractmethod

import numpy as np
import torch
import zarr
from torch import Tensor


class Storage(ABC):
    """States by ticket."""

    def __init__(self) -> None:
        self._next = 0

    def put(self, x: Tensor) -> int:
        """Keep a state; return its ticket."""
        self._next += 1
        self._write(self._next, x)
        return self._next

    @abstractmethod
    def get(self, ticket: int) -> Tensor:
        """Return a state."""

    @abstractmethod
    def drop(self, ticket: int) -> None:
        """Forget a state."""

    @abstractmethod
    def _write(self, ticket: int, x: Tensor) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """Free what is held."""


class Memory(Storage):
    """States as they are."""

    def __init__(self) -> None:
        super().__init__()
        self._states: dict[int, Tensor] = {}

    def get(self, ticket: int) -> Tensor:
        """Return the tensor."""
        return self._states[ticket]

    def drop(self, ticket: int) -> None:
        """Forget the tensor."""
        del self._states[ticket]

    def close(self) -> None:
        """Forget all of them."""
        self._states.clear()

    def _write(self, ticket: int, x: Tensor) -> None:
        self._states[ticket] = x


class Disk(Storage):
    """A zarr group in a directory for temporary files."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="koopcast-adjoint-")
        self._group = zarr.open_group(self._folder.name, mode="w")
        self._devices: dict[int, torch.device] = {}

    def get(self, ticket: int) -> Tensor:
        """Read the array."""
        held = self._group[str(ticket)]
        assert isinstance(held, zarr.Array)
        return torch.from_numpy(np.asarray(held[...])).to(self._devices[ticket])

    def drop(self, ticket: int) -> None:
        """Delete the array."""
        del self._group[str(ticket)]

    def close(self) -> None:
        """Delete the directory."""
        self._folder.cleanup()

    def _write(self, ticket: int, x: Tensor) -> None:
        self._devices[ticket] = x.device
        self._group.create_array(str(ticket), data=x.cpu().numpy(), compressors=None)
