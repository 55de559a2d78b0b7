"""A full disk and a read-only store: a clear error, nothing damaged, everything still readable."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from koopcast.errors import StoreNotWritable
from koopcast.stores import Artefact, Store, doctor, gc
from koopcast.stores.arrays import open_fields, write_fields
from koopcast.stores.files import write_table, write_tensors

KEY = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"file systems cannot be mounted here: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def make(store: Store, key: str = KEY, size: int = 1000) -> Artefact:
    with store.produce("dataset", key) as slot:
        (slot.path / "values.bin").write_bytes(b"1" * size)
        return slot.publish()


def write_by_zarr(path: Path) -> None:
    write_fields(path / "fields.zarr", xr.Dataset({"a": ("time", np.ones(1_000_000))}))


def write_by_safetensors(path: Path) -> None:
    write_tensors(path / "model.safetensors", {"a": torch.ones(1_000_000)})


def write_by_parquet(path: Path) -> None:
    write_table(path / "scores.parquet", pd.DataFrame({"a": np.random.default_rng(0).random(1_000_000)}))


def write_by_hand(path: Path) -> None:
    (path / "values.bin").write_bytes(b"1" * 2_000_000)


@pytest.mark.parametrize("write", [write_by_hand, write_by_zarr, write_by_safetensors, write_by_parquet])
def test_a_full_disk_is_named_and_leaves_the_store_as_it_was(
    small_disk: Path, write: Callable[[Path], None]
) -> None:
    store = Store.open(small_disk)
    before = make(store)
    refused = pytest.raises(StoreNotWritable, match=r"no space left.*koopcast gc")
    with refused, store.produce("dataset", OTHER) as slot:
        write(slot.path)
    assert store.find("dataset", OTHER) is None
    assert doctor(store).is_clean
    assert not doctor(store).leftovers
    assert store.load(before.ref) == before
    make(store, OTHER)


def test_collection_works_on_a_disk_without_a_byte_left(small_disk: Path) -> None:
    store = Store.open(small_disk)
    make(store, size=400_000)
    with pytest.raises(OSError, match="No space left"):
        (small_disk / ".ballast").write_bytes(b"1" * 2_000_000)
    with pytest.raises(StoreNotWritable, match="no space left"):
        make(store, OTHER)
    assert gc(store).num_bytes > 400_000
    make(store, OTHER)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_in_the_last_moment_publishes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    store = Store.open(tmp_path / "store")

    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    with store.produce("dataset", KEY) as slot:
        (slot.path / "values.bin").write_text("values")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", refuse)
            with pytest.raises(StoreNotWritable, match="no space left"):
                slot.publish()
        assert store.find("dataset", KEY) is None
        slot.publish()
    assert doctor(store).is_clean


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[tuple[Store, Artefact]]:
    """A store with one artefact and one run on a file system that turned read-only."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder))
    store = Store.open(folder)
    with store.produce("dataset", KEY) as slot:
        write_fields(slot.path / "fields.zarr", xr.Dataset({"a": ("time", np.arange(10.0))}))
        artefact = slot.publish()
    store.new_run("sst").finish("done")
    for path in store.verified.iterdir():
        path.unlink()
    mount("-o", "remount,ro", str(folder))
    yield store, artefact
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_read_only_store_can_be_read(frozen: tuple[Store, Artefact]) -> None:
    store, artefact = frozen
    assert Store.open(store.root) == store
    assert store.load(artefact.ref) == artefact
    assert open_fields(artefact.file("fields.zarr"))["a"].values.tolist() == list(range(10))
    with store.produce("dataset", KEY) as slot:
        assert slot.existing == artefact
    assert store.run("sst/latest").state == "done"
    assert doctor(store).is_clean
    assert gc(store, dry_run=True).num_bytes > 0


def test_a_read_only_store_says_so_when_it_should_be_written(frozen: tuple[Store, Artefact]) -> None:
    store, artefact = frozen
    with (
        pytest.raises(StoreNotWritable, match=r"cannot be written.*mount it writable.*--store"),
        store.produce("dataset", OTHER),
    ):
        pass
    with pytest.raises(StoreNotWritable, match="cannot be written"):
        store.new_run("sst")
    with pytest.raises(StoreNotWritable, match="cannot be written"):
        gc(store)
    with pytest.raises(StoreNotWritable, match="cannot be written"):
        store.set_aside(artefact.path)
    with pytest.raises(StoreNotWritable, match="cannot be written"):
        Store.open(store.root / "new")


def test_a_refusal_elsewhere_is_not_blamed_on_the_store(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    with pytest.raises(PermissionError), store.produce("dataset", KEY):
        raise PermissionError(errno.EACCES, "Permission denied", "/data/secret.nc")
