"""Random streams that depend on names, never on the order or number of workers."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch


def seed_sequence(seed: int, *names: str | int) -> np.random.SeedSequence:
    """Return the stream of `names` below the pipeline's seed; strings enter by their SHA-256."""
    words = tuple(name if isinstance(name, int) else _word(name) for name in names)
    return np.random.SeedSequence(entropy=seed, spawn_key=words)


def _word(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


def derived_seed(seed: int, *names: str | int) -> int:
    """Return a 63-bit integer seed for the stream of `names`."""
    return int(seed_sequence(seed, *names).generate_state(1, np.uint64)[0] >> np.uint64(1))


def torch_generator(seed: int, *names: str | int, device: str = "cpu") -> torch.Generator:
    """Return a torch generator for the stream of `names`."""
    return torch.Generator(device=device).manual_seed(derived_seed(seed, *names))


class Streams(torch.Generator):
    """Random streams of sets of experiments that run as one batch: each set draws what it would alone.

    The batch is `sample * set * repeat`, repeats fastest. `koopcast.numerics.arrays.normal` takes it apart;
    nothing else may draw from it.
    """

    def __new__(cls, streams: Sequence[torch.Generator], samples: int) -> "Streams":
        """Return a generator on the device of the streams."""
        return super().__new__(cls, streams[0].device)  # type: ignore[call-arg]

    def __init__(self, streams: Sequence[torch.Generator], samples: int) -> None:
        self.streams, self.samples = tuple(streams), samples

    def normal(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Draw standard normal numbers; the first axis is the batch."""
        size = (shape[0] // len(self.streams), *shape[1:])
        drawn = [torch.randn(size, generator=g, device=self.device, dtype=dtype) for g in self.streams]
        return torch.cat([part.unflatten(0, (self.samples, -1)) for part in drawn], dim=1).flatten(0, 1)

    def shared(self, batch: int, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Draw normal numbers once for each set, the same for all its experiments: `(batch, *shape)`."""
        drawn = torch.stack(
            [torch.randn(shape, generator=g, device=self.device, dtype=dtype) for g in self.streams]
        )
        repeats = batch // (self.samples * len(self.streams))
        return drawn.repeat_interleave(repeats, dim=0).repeat(self.samples, *[1] * len(shape))


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """Return a numpy generator for the stream of `names`."""
    return np.random.default_rng(seed_sequence(seed, *names))


def numpy_from(generator: torch.Generator) -> np.random.Generator:
    """Return a numpy generator whose stream the next number of a torch generator decides."""
    seed = torch.randint(2**63 - 1, (), generator=generator, device=generator.device)
    return np.random.default_rng(int(seed))
