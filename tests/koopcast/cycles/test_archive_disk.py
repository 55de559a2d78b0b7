"""A disk that fills up or turns read-only under an archive: a clear error, and no window is torn."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from koopcast.errors import StoreNotWritable


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"file systems cannot be mounted here: {done.stderr.strip()}")


@pytest.fixture
def disk(twin) -> Iterator[Path]:
    """The folder of the twin's archive as a file system of its own, of 600 kilobytes."""
    folder = twin.folder / "archive"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("form", ["windows", "icechunk"])
def test_a_disk_that_fills_up_tears_no_window(twin, disk, content, form):
    twin.deliver(range(12))
    archive = twin.local(form=form)
    with pytest.raises(StoreNotWritable, match="no space left"):
        twin.tick(archive, 11)
    published = archive.labels()
    assert 0 < len(published) < 12
    assert archive.faults() == []
    mount("-o", "remount,size=64m", str(disk))
    assert len(twin.tick(archive, 11)) == 12 - len(published)
    whole = twin.local("whole", form=form)
    twin.tick(whole, 11)
    assert content(archive) == content(whole)
    assert archive.faults() == []


def test_an_archive_that_may_only_be_read_is_read_and_refuses_the_tick(twin, disk):
    twin.deliver(range(3))
    archive = twin.local()
    twin.tick(archive, 1)
    mount("-o", "remount,ro", str(disk))
    with pytest.raises(StoreNotWritable, match="mount it writable"):
        twin.tick(archive, 2)
    assert archive.faults() == []
    assert archive.fields("analysis").sizes["time"] == 2
    fresh = twin.local("archive/new")
    with pytest.raises(StoreNotWritable, match="mount it writable"):
        twin.tick(fresh, 2)
