"""Random streams that depend on names, never on the order or number of workers."""

import hashlib

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


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """Return a numpy generator for the stream of `names`."""
    return np.random.default_rng(seed_sequence(seed, *names))


def numpy_from(generator: torch.Generator) -> np.random.Generator:
    """Return a numpy generator whose stream the next number of a torch generator decides."""
    seed = torch.randint(2**63 - 1, (), generator=generator, device=generator.device)
    return np.random.default_rng(int(seed))
