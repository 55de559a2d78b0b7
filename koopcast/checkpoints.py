"""Checkpoints of a training: written by rename, verified by digest, the last two kept."""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from koopcast.errors import StoreNotWritable

KEPT = 2
_NAME = re.compile(r"(\d{12})-([0-9a-f]{64})\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """Tensors and JSON facts of one moment."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def grouped(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return the tensors named `group.rest` as a table of groups."""
    groups: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        group, rest = name.split(".", 1)
        groups.setdefault(group, {})[rest] = value
    return groups


def flattened(groups: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return a table of groups as tensors named `group.rest`."""
    return {f"{group}.{name}": value for group, tensors in groups.items() for name, value in tensors.items()}


class Checkpoints:
    """The checkpoints of one training in one folder.

    A file's name holds its step and the SHA-256 of its bytes, so a torn or altered one is recognised and
    passed over.

    Args:
        folder: Where they stand; made when needed.
        identity: What the training is (options, seed, data); checkpoints of another one are passed over.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder = folder
        self.identity = hashlib.sha256(identity.encode()).hexdigest()

    def save(self, step: int, checkpoint: Checkpoint) -> None:
        """Publish a checkpoint, then remove all but the last two.

        Raises:
            StoreNotWritable: The folder is read-only or its disk is full.
        """
        facts = {"identity": self.identity, "facts": json.dumps(checkpoint.facts)}
        content = safetensors.torch.save(
            {k: v.contiguous() for k, v in checkpoint.tensors.items()}, metadata=facts
        )
        name = f"{step:012d}-{hashlib.sha256(content).hexdigest()}.safetensors"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _write(self.folder / name, content)
            for old in self._files()[KEPT:]:
                old.unlink(missing_ok=True)
        except OSError as error:
            raise StoreNotWritable(
                f"cannot write a checkpoint to {self.folder}: {error}", "free space or choose another store"
            ) from error

    def latest(self) -> Checkpoint | None:
        """Return the newest checkpoint that is whole and of this training; None where there is none."""
        for path in self._files():
            found = self._load(path)
            if found is not None:
                return found
        return None

    def _files(self) -> list[Path]:
        """Return the files by step, newest first."""
        if not self.folder.is_dir():
            return []
        return sorted((path for path in self.folder.iterdir() if _NAME.fullmatch(path.name)), reverse=True)

    def _load(self, path: Path) -> Checkpoint | None:
        match = _NAME.fullmatch(path.name)
        try:
            content = path.read_bytes()
            if match is None or hashlib.sha256(content).hexdigest() != match[2]:
                return None
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
        except (OSError, SafetensorError):
            return None
        if metadata.get("identity") != self.identity:
            return None
        return Checkpoint(safetensors.torch.load(content), json.loads(metadata["facts"]))


def _write(path: Path, content: bytes) -> None:
    """Write a file so that it is either there and whole or not there."""
    draft = path.with_name(f".tmp-{path.name}")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
