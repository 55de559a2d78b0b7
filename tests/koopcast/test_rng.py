import hashlib

import numpy as np
import torch

from koopcast.rng import derived_seed, numpy_generator, seed_sequence, torch_generator


def test_a_stream_depends_on_its_names_alone() -> None:
    first = torch.rand(3, generator=torch_generator(7, "train", 0))
    torch.rand(100)
    again = torch.rand(3, generator=torch_generator(7, "train", 0))
    assert torch.equal(first, again)


def test_streams_of_different_seeds_steps_and_blocks_differ() -> None:
    seeds = {
        derived_seed(s, name, block) for s in range(5) for name in ("a", "b", "ab") for block in range(5)
    }
    assert len(seeds) == 75


def test_names_do_not_run_together() -> None:
    assert derived_seed(0, "ab", "c") != derived_seed(0, "a", "bc")


def test_a_seed_never_changes_between_versions() -> None:
    # The first 64-bit word of SeedSequence(entropy=7, spawn_key=(8 bytes of SHA-256("train"), 3)), halved.
    word = int.from_bytes(hashlib.sha256(b"train").digest()[:8], "little")
    expected = np.random.SeedSequence(7, spawn_key=(word, 3)).generate_state(1, np.uint64)[0]
    assert derived_seed(7, "train", 3) == int(expected) // 2


def test_neighbouring_streams_are_uncorrelated() -> None:
    draws = np.stack([numpy_generator(0, "generate", block).standard_normal(4000) for block in range(8)])
    correlation = np.corrcoef(draws) - np.eye(8)
    assert np.abs(correlation).max() < 6 / np.sqrt(4000)  # six standard errors of a zero correlation


def test_a_sequence_spawns_without_shared_state() -> None:
    assert seed_sequence(1, "x").spawn_key != seed_sequence(1, "y").spawn_key
