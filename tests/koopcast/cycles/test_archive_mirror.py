"""An archive on an object store: equal to a local one, and one writer at a time, from whatever machine."""

import os
import time
from datetime import timedelta

import boto3
import pytest

from koopcast.cycles.archive import FEEDBACK, FIELDS, RESTART, mirror
from koopcast.errors import StoreDamaged, StoreLocked
from koopcast.stores.bucket import Bucket


def test_a_cycle_on_an_object_store_is_the_local_one_to_the_byte(twin, bucket_uri, content):
    twin.deliver(range(3))
    local, there = twin.local(), twin.mirrored(bucket_uri, "a")
    twin.tick(local, 2)
    twin.tick(there, 2)
    elsewhere = twin.mirrored(bucket_uri, "b")
    assert content(elsewhere) == content(local) == content(there)
    assert elsewhere.faults() == []
    assert elsewhere.fields("analysis").equals(local.fields("analysis"))


def test_a_cycle_that_goes_on_elsewhere_has_the_bytes_of_an_unbroken_one(twin, bucket_uri, content):
    twin.deliver(range(4))
    whole = twin.local()
    twin.tick(whole, 3, late="next")
    for number, machine in ((1, "a"), (2, "b"), (3, "a")):
        twin.tick(twin.mirrored(bucket_uri, machine), number, late="next")
    assert content(twin.mirrored(bucket_uri, "d")) == content(whole)


def test_only_what_the_next_window_goes_on_from_is_fetched(twin, bucket_uri):
    twin.deliver(range(3))
    twin.tick(twin.mirrored(bucket_uri, "a"), 1)
    fresh = twin.mirrored(bucket_uri, "b")
    twin.tick(fresh, 2)
    held = {str(path.relative_to(fresh.root / "data")) for path in fresh.root.glob("data/*/*")}
    before, last = (fresh.manifest(twin.label(number)) for number in (1, 2))
    assert held == {f"{before.data}/{RESTART}", *(f"{last.data}/{name.split('/')[0]}" for name in last.files)}


def test_a_second_machine_is_refused_and_goes_on_once_the_first_is_done(twin, bucket_uri):
    twin.deliver(range(3))
    one, other = twin.mirrored(bucket_uri, "a"), twin.mirrored(bucket_uri, "b")
    lock = one.lock()
    assert lock.try_acquire()
    with pytest.raises(StoreLocked, match="is held by process"):
        twin.tick(other, 2)
    lock.release()
    assert len(twin.tick(other, 2)) == 3
    assert twin.tick(one, 2) == []


def test_who_was_suspended_and_wakes_after_a_takeover_is_refused_at_the_manifest(
    twin, bucket_uri, suspended, content, monkeypatch
):
    twin.deliver(range(4))
    slow, quick, lock = suspended()
    # The window that the first machine is about to publish has other reports, and so other bytes.
    other = twin.deliver(range(1), "only-a.csv", minutes=20)
    write, seen = slow._place.mirror.write, []

    def asleep(name, text):
        other.unlink()
        time.sleep(2.1)
        seen.extend(twin.tick(quick, 2))
        write(name, text)

    monkeypatch.setattr(slow._place.mirror, "write", asleep)
    with pytest.raises(StoreLocked, match="was written by another"):
        twin.ticker(slow).run(twin.at(0))
    lock.release()
    assert seen == [twin.label(number) for number in (0, 1, 2)]
    twin.tick(quick, 3)
    whole = twin.local()
    twin.tick(whole, 3)
    fresh = twin.mirrored(bucket_uri, "c")
    assert content(fresh) == content(whole)
    assert fresh.faults() == []


def test_who_was_suspended_and_wakes_after_a_takeover_sweeps_nothing_that_is_published(
    twin, bucket_uri, suspended, monkeypatch
):
    twin.deliver(range(3))
    slow, quick, lock = suspended()
    time.sleep(2.1)
    write = quick._place.mirror.write

    def later(name, text):
        time.sleep(1.1)  # the object store tells times by seconds
        write(name, text)

    monkeypatch.setattr(quick._place.mirror, "write", later)
    assert len(twin.tick(quick, 1)) == 2
    slow.sweep()
    lock.release()
    fresh = twin.mirrored(bucket_uri, "c")
    fresh.pull()
    assert fresh.faults() == []
    assert fresh.fields("analysis").sizes["time"] == 2


def test_a_writer_killed_before_its_manifest_is_made_up_for(twin, bucket_uri, content, monkeypatch):
    twin.deliver(range(3))
    one = twin.mirrored(bucket_uri, "a")
    twin.tick(one, 0)

    def killed(name, text):
        raise KeyboardInterrupt

    monkeypatch.setattr(one._place.mirror, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        twin.tick(one, 1)
    twin.tick(twin.mirrored(bucket_uri, "b"), 2)
    whole = twin.local()
    twin.tick(whole, 2)
    assert content(twin.mirrored(bucket_uri, "c")) == content(whole)
    assert set(Bucket(bucket_uri).entries("cycles/twin/data")) == {
        path.name for path in whole.root.glob("data/*")
    }


def test_data_that_nobody_can_name_any_more_are_swept(twin, bucket_uri, monkeypatch):
    twin.deliver(range(2))
    archive = twin.mirrored(bucket_uri, "a")
    twin.tick(archive, 0)
    bucket, first = Bucket(bucket_uri), archive.manifest(twin.label(0)).data
    # Nobody has published the second window yet, so that a suspended writer could still name its data.
    bucket.put(f"cycles/twin/data/{twin.label(1)}-0123456789abcdef/feedback.parquet", b"torn")
    twin.tick(archive, 0)
    assert len(bucket.entries("cycles/twin/data")) == 2
    time.sleep(1.1)
    twin.tick(archive, 1)
    twin.tick(archive, 1)
    assert bucket.entries("cycles/twin/data") == [first, archive.manifest(twin.label(1)).data]
    bucket.put(f"cycles/twin/data/{twin.label(2)}-0123456789abcdef/feedback.parquet", b"torn")
    monkeypatch.setattr(mirror, "GRACE", timedelta(seconds=-1))
    twin.tick(archive, 1)
    assert len(bucket.entries("cycles/twin/data")) == 2


def test_a_window_analysed_again_replaces_the_one_that_was_read(twin, bucket_uri, content):
    twin.deliver(range(3))
    one, other = twin.mirrored(bucket_uri, "a"), twin.mirrored(bucket_uri, "b")
    twin.tick(one, 2)
    other.pull()
    before = other.fields("analysis").load()
    twin.deliver(range(1, 2), "late.csv", minutes=20)
    assert twin.tick(one, 2) == [twin.label(number) for number in (1, 2)]
    other.pull()
    after = other.fields("analysis").load()
    assert (after["X"].values[0] == before["X"].values[0]).all()
    assert (after["X"].values[1:] != before["X"].values[1:]).all()
    assert other.faults() == []
    whole = twin.local()
    twin.tick(whole, 2)
    assert content(twin.mirrored(bucket_uri, "c")) == content(whole)


def test_what_the_bucket_lost_or_altered_is_told_and_never_gone_on_from(twin, bucket_uri):
    twin.deliver(range(3))
    archive = twin.mirrored(bucket_uri, "a")
    twin.tick(archive, 1)
    bucket, last = Bucket(bucket_uri), archive.manifest(twin.label(1))
    bucket.put(f"cycles/twin/data/{last.data}/{RESTART}", b"something else")
    assert archive.faults() == [f"window {last.label}: file {RESTART} is missing or altered"]
    with pytest.raises(StoreDamaged, match="is altered"):
        twin.tick(twin.mirrored(bucket_uri, "b"), 2)
    bucket.delete([f"cycles/twin/data/{last.data}/{name}" for name in last.files])
    assert len(archive.faults()) == len(last.files)


def test_a_working_copy_that_was_altered_is_made_good(twin, bucket_uri):
    twin.deliver(range(3))
    archive = twin.mirrored(bucket_uri, "a")
    twin.tick(archive, 1)
    kept = {path.name: path.read_bytes() for path in archive.root.glob("windows/*.json")}
    (archive.root / "windows" / f"{twin.label(0)}.json").write_text("{")
    (archive.root / "windows" / f"{twin.label(1)}.json").unlink()
    (archive.root / "windows" / f"{twin.label(7)}.json").write_text("{}")
    archive.pull()
    assert {path.name: path.read_bytes() for path in archive.root.glob("windows/*.json")} == kept
    (archive.root / "tags.json").write_text("[")
    assert twin.tick(archive, 2) == [twin.label(2)]


@pytest.mark.parametrize("name", ["windows/", "months/", "windows/old/20200131T060000Z.json", "data/"])
def test_marks_of_folders_and_copies_beside_the_manifests_stop_no_tick(twin, bucket_uri, name):
    """Browsers of object stores leave an empty object for a folder."""
    twin.deliver(range(2))
    twin.tick(twin.mirrored(bucket_uri, "a"), 0)
    host, _, folder = bucket_uri.removeprefix("s3://").partition("/")
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    client.put_object(Bucket=host, Key=f"{folder}/cycles/twin/{name}", Body=b"")
    client.close()
    assert twin.tick(twin.mirrored(bucket_uri, "a"), 1) == [twin.label(1)]
    assert twin.tick(twin.mirrored(bucket_uri, "b"), 1) == []


def test_data_of_a_working_copy_that_were_torn_are_fetched_again(twin, bucket_uri, content):
    twin.deliver(range(6))
    archive = twin.mirrored(bucket_uri, "a")
    twin.tick(archive, 3)
    for name in (RESTART, FEEDBACK, f"{FIELDS}/X/c/0/0"):
        for path in archive.root.glob(f"data/*/{name}"):
            path.write_bytes(path.read_bytes()[:7])
    assert [len(archive.feedback(one)) for one in archive.manifests()] == [6] * 4
    twin.tick(archive, 5)
    assert len(list(archive.root.glob("months/*.json"))) == 1
    whole = twin.local()
    twin.tick(whole, 5)
    assert content(twin.mirrored(bucket_uri, "b")) == content(whole)


def test_a_tick_asks_the_object_store_as_often_whatever_the_length_of_the_archive(
    twin, bucket_uri, monkeypatch
):
    twin.deliver(range(6))
    archive, asked = twin.mirrored(bucket_uri, "a"), []
    for name in ("get", "create", "replace", "put", "tags", "entries", "upload", "download", "delete"):
        act = getattr(Bucket, name)

        def counted(self, *arguments, act=act, name=name):
            asked.append(name)
            return act(self, *arguments)

        monkeypatch.setattr(Bucket, name, counted)
    counts = []
    for last in (1, 5):
        twin.tick(archive, last)
        asked.clear()
        assert twin.tick(archive, last) == []
        counts.append(sorted(asked))
    assert counts[0] == counts[1]
    assert len(counts[0]) <= 12
