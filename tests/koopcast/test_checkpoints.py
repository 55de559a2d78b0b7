"""Checkpoints: whole or passed over."""

import os
from pathlib import Path

import pytest
import torch

from koopcast.checkpoints import Checkpoint, Checkpoints, flattened, grouped
from koopcast.errors import StoreNotWritable


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(
        {"a.b": torch.full((3,), float(step)), "a.c": torch.tensor(step)}, {"step": step, "best": 0.1}
    )


def step_of(folder: Path, identity: str = "this") -> int | None:
    found = Checkpoints(folder, identity).latest()
    return None if found is None else int(found.facts["step"])


def test_the_newest_comes_back_as_it_was(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path / "scratch", "this")
    assert store.latest() is None
    for step in (1, 2, 10):
        store.save(step, checkpoint(step))
    found = store.latest()
    assert found is not None
    assert found.facts == {"step": 10, "best": 0.1}
    assert torch.equal(found.tensors["a.b"], torch.full((3,), 10.0))
    assert len(list((tmp_path / "scratch").iterdir())) == 2


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_one_gives_way_to_the_one_before(tmp_path: Path, damage: str) -> None:
    store = Checkpoints(tmp_path, "this")
    for step in (1, 2):
        store.save(step, checkpoint(step))
    newest = max(tmp_path.iterdir())
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes({"cut": bytes(content[:-5]), "flip": bytes(content), "empty": b""}[damage])
    assert step_of(tmp_path) == 1


def test_those_of_another_training_and_half_written_ones_are_passed_over(tmp_path: Path) -> None:
    Checkpoints(tmp_path, "this").save(3, checkpoint(3))
    assert step_of(tmp_path, "other") is None
    (tmp_path / ".tmp-000000000009-00.safetensors").write_bytes(b"half")
    assert step_of(tmp_path) == 3


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreNotWritable, match="No space left"):
        Checkpoints(tmp_path, "this").save(1, checkpoint(1))


def test_groups_of_names_come_back() -> None:
    groups = {"weights": {"a.b": torch.ones(1)}, "best": {"c": torch.zeros(2)}}
    assert grouped(flattened(groups)) == groups
