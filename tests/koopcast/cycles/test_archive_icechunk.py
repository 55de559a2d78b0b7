"""All windows in one repository with its history: the same values and manifests, whatever was killed."""

import shutil
import sys
import time
from dataclasses import replace

import pytest

from koopcast.cycles.archive import Archive, repository
from koopcast.cycles.archive.repository import REPOSITORY
from koopcast.errors import InvalidInput, StoreDamaged, StoreError, StoreLocked, StoreMissing

ICE = {"form": "icechunk"}
pytest.importorskip("icechunk")


def manifests(archive: Archive) -> list[str]:
    return [one.digest for one in archive.manifests()]


def test_a_repository_holds_the_fields_of_the_windows(twin):
    twin.deliver(range(5))
    windows, ice = twin.local("windows"), twin.local("ice", **ICE)
    twin.tick(windows, 4)
    for number in (1, 4):
        twin.tick(twin.local("ice", **ICE), number)
    for quantity in ("analysis", "background_spread", "forecast"):
        assert ice.fields(quantity).equals(windows.fields(quantity))
    for one, other in zip(ice.manifests(), windows.manifests(), strict=True):
        assert one.values["fields"] == other.values["fields"]
        assert ice.window(one).equals(windows.window(other))
        assert not [name for name in one.files if name.startswith("fields")]
    assert ice.faults() == []
    assert ice.versions() == []
    with pytest.raises(InvalidInput, match="begun with `store: icechunk`, not windows"):
        twin.tick(twin.local("ice"), 4)


def test_fields_are_known_as_they_were_before_a_late_rerun(twin):
    twin.deliver(range(4))
    archive = twin.local(**ICE)
    twin.tick(archive, 3)
    before = archive.fields("analysis").load()
    twin.deliver(range(1, 2), "late.csv", minutes=20)
    assert twin.tick(archive, 3) == [twin.label(number) for number in (1, 2, 3)]
    assert archive.versions() == [f"before-{twin.label(1)}-1"]
    now = archive.fields("analysis").load()
    assert archive.fields("analysis", f"before-{twin.label(1)}-1").equals(before)
    assert (now["X"].values[0] == before["X"].values[0]).all()
    assert (now["X"].values[1:] != before["X"].values[1:]).all()
    fresh = twin.local("fresh", **ICE)
    twin.tick(fresh, 3)
    assert manifests(fresh) == manifests(archive)
    assert fresh.fields("analysis").equals(now)
    with pytest.raises(StoreMissing, match=f"versions: before-{twin.label(1)}-1"):
        archive.fields("analysis", "yesterday")


def test_a_kill_between_commit_and_manifest_changes_nothing(twin, monkeypatch):
    twin.deliver(range(4))
    whole, archive = twin.local("whole", **ICE), twin.local(**ICE)
    twin.tick(whole, 3)
    twin.tick(archive, 1)
    write = archive._place.write

    def killed(name, text):
        if name == f"windows/{twin.label(2)}.json":
            raise KeyboardInterrupt
        write(name, text)

    monkeypatch.setattr(archive._place, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        twin.tick(archive, 3)
    monkeypatch.undo()
    # The repository is ahead by one window, which nobody sees.
    assert archive._repository.open().sizes["time"] == 3
    assert archive.fields("analysis").sizes["time"] == 2
    assert archive.faults() == []
    archive = twin.local(**ICE)
    twin.tick(archive, 3)
    assert manifests(archive) == manifests(whole)
    assert archive.fields("analysis").equals(whole.fields("analysis"))
    assert archive.faults() == []
    assert archive.versions() == []


def test_a_slice_that_was_altered_is_told(twin):
    twin.deliver(range(3))
    archive = twin.local(**ICE)
    twin.tick(archive, 2)
    one = list(archive.manifests())[1]
    archive._repository.write(one.label, archive.window(one).load() + 1)
    assert archive.faults() == [f"window {one.label}: its fields are missing or altered"]
    assert len(archive.versions()) == 1


def test_a_writer_whose_repository_went_on_without_it_is_refused(twin, monkeypatch):
    twin.deliver(range(3))
    archive, other = twin.local(**ICE), twin.local(**ICE)
    twin.tick(archive, 2)
    fields = archive.window(archive.manifest(twin.label(1))).load()
    put = repository._put

    def asleep(*arguments):
        monkeypatch.undo()
        other._repository.write(twin.label(1), fields + 1)
        put(*arguments)

    monkeypatch.setattr(repository, "_put", asleep)
    with pytest.raises(StoreLocked, match="was written by another"):
        archive._repository.write(twin.label(0), fields)
    assert (twin.local(**ICE).fields("analysis")["X"].values[1] == fields["X"].values[0] + 1).all()


@pytest.mark.parametrize("change", [{"members": True}, {"leads": (2,)}, {"leads": (1, 3)}, {"leads": ()}])
def test_windows_of_another_form_are_refused_before_anything_is_lost(twin, change):
    twin.deliver(range(3))
    archive = twin.local(**ICE)
    twin.tick(archive, 1)
    with pytest.raises(InvalidInput, match=f"window {twin.label(2)}: `.* would be other fields"):
        replace(twin, **change).tick(archive, 2)
    assert archive.faults() == []
    assert twin.tick(archive, 2) == [twin.label(2)]
    assert archive.faults() == []


def test_who_was_suspended_and_wakes_after_a_takeover_alters_no_field(twin, bucket_uri, suspended):
    twin.deliver(range(3))
    slow, quick, lock = suspended(**ICE)
    other = twin.deliver(range(1), "only-a.csv", minutes=20)
    ticker = twin.ticker(slow)
    ticker.scan()
    other.unlink()
    time.sleep(2.1)
    assert len(twin.tick(quick, 2)) == 3
    with pytest.raises(StoreLocked, match="was written by another"):
        ticker.run(twin.at(0))
    lock.release()
    fresh = twin.mirrored(bucket_uri, "c", **ICE)
    fresh.pull()
    assert fresh.faults() == []
    assert fresh.versions() == []


def test_a_repository_on_an_object_store_is_opened_at_once_from_elsewhere(twin, bucket_uri):
    twin.deliver(range(4))
    local = twin.local(**ICE)
    twin.tick(local, 3)
    for number, machine in ((1, "a"), (3, "b")):
        twin.tick(twin.mirrored(bucket_uri, machine, **ICE), number)
    fresh = twin.mirrored(bucket_uri, "c")
    fresh.pull()
    assert manifests(fresh) == manifests(local)
    assert fresh.fields("analysis").equals(local.fields("analysis"))
    assert fresh.faults() == []
    assert not (fresh.root / REPOSITORY).exists()


def test_a_repository_that_lacks_windows_is_not_gone_on_from(twin):
    """One of an older backup, below windows of a newer one."""
    twin.deliver(range(5))
    archive = twin.local(**ICE)
    twin.tick(archive, 1)
    shutil.copytree(archive.root / REPOSITORY, twin.folder / "older")
    twin.tick(archive, 3)
    shutil.move(archive.root / REPOSITORY, twin.folder / "newer")
    shutil.move(twin.folder / "older", archive.root / REPOSITORY)
    told = f"window {twin.label(2)}: its fields are missing or altered"
    for number, force in ((4, None), (3, twin.label(3))):
        with pytest.raises(StoreDamaged, match=f"they differ from {twin.label(2)} on; restore it from the"):
            twin.tick(twin.local(**ICE), number, force=force)
        assert twin.local(**ICE).faults()[0] == told
    shutil.rmtree(archive.root / REPOSITORY)
    shutil.move(twin.folder / "newer", archive.root / REPOSITORY)
    assert twin.tick(twin.local(**ICE), 4) == [twin.label(4)]
    assert twin.local(**ICE).faults() == []


def test_a_repository_that_cannot_be_read_is_told_and_not_gone_on_from(twin):
    twin.deliver(range(2))
    archive = twin.local(**ICE)
    twin.tick(archive, 0)
    for path in (archive.root / REPOSITORY / "refs").rglob("*.json"):
        path.write_bytes(b"torn")
    again = twin.local(**ICE)
    with pytest.raises(StoreError, match=r"fields.icechunk' cannot be used .*check the place"):
        twin.tick(again, 1)
    assert again.labels() == [twin.label(0)]
    (fault,) = again.faults()
    assert "cannot be used" in fault
    shutil.rmtree(archive.root / REPOSITORY)
    assert twin.local(**ICE).faults() == [f"the archive '{archive.root}' has no fields yet"]


def test_without_the_package_the_message_says_what_to_do(twin, monkeypatch):
    twin.deliver(range(1))
    monkeypatch.setitem(sys.modules, "icechunk", None)
    with pytest.raises(InvalidInput, match="needs the package icechunk; install it: pip install"):
        twin.tick(twin.local(**ICE), 0)
