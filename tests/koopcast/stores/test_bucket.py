"""Objects are created once and replaced knowingly; leases exclude machines; a dead holder is succeeded."""

import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from koopcast.errors import InvalidInput, StoreError, StoreLocked, StoreMissing, StoreNotWritable
from koopcast.stores import lease as leases
from koopcast.stores.bucket import Bucket, Held, cache_of, is_bucket
from koopcast.stores.lease import Lease
from koopcast.stores.lock import Lock


@pytest.fixture
def bucket(bucket_uri: str) -> Bucket:
    return Bucket(bucket_uri)


def test_an_object_is_created_once_and_replaced_only_by_who_read_it(bucket: Bucket) -> None:
    assert bucket.get("a/b.json") is None
    first = bucket.create("a/b.json", b"one")
    with pytest.raises(StoreLocked, match="written by another"):
        bucket.create("a/b.json", b"two")
    second = bucket.replace("a/b.json", b"two", first)
    with pytest.raises(StoreLocked, match="written by another"):
        bucket.replace("a/b.json", b"three", first)
    held = bucket.get("a/b.json")
    assert held is not None
    assert (held.content, held.tag) == (b"two", second)
    bucket.delete(["a/b.json", "never was"])
    with pytest.raises(StoreLocked, match="written by another"):
        bucket.replace("a/b.json", b"four", second)


def test_a_write_whose_answer_was_lost_may_be_repeated(bucket: Bucket) -> None:
    tag = bucket.create("a", b"one")
    assert bucket.create("a", b"one") == tag
    after = bucket.replace("a", b"two", tag)
    assert bucket.replace("a", b"two", tag) == after


def test_of_many_who_create_one_object_one_succeeds(bucket: Bucket) -> None:
    won: list[int] = []

    def create(number: int) -> None:
        try:
            bucket.create("prize", str(number).encode())
        except StoreLocked:
            return
        won.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = bucket.get("prize")
    assert held is not None
    assert won == [int(held.content)]


def test_folders_go_there_and_back(bucket: Bucket, tmp_path: Path) -> None:
    for name, content in {"x": b"1", "y/z": b"22" * 10**6}.items():
        (tmp_path / "from" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "from" / name).write_bytes(content)
    bucket.upload({f"data/{name}": tmp_path / "from" / name for name in ("x", "y/z")})
    assert list(bucket.tags("data")) == ["data/x", "data/y/z"]
    assert bucket.entries("data") == ["x", "y"]
    assert bucket.tags("dat") == {}
    bucket.download({f"data/{name}": tmp_path / "to" / name for name in ("x", "y/z")})
    assert (tmp_path / "to/y/z").read_bytes() == (tmp_path / "from/y/z").read_bytes()
    with pytest.raises(StoreMissing, match="data/w' is gone"):
        bucket.download({"data/w": tmp_path / "to/w"})


def test_an_object_store_that_ignores_conditions_is_refused(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.demand_conditions()
    assert bucket.tags("clocks") == {}
    monkeypatch.setattr(bucket, "create", lambda name, content: bucket.put(name, content))
    with pytest.raises(StoreError, match="ignores conditions of writes"):
        bucket.demand_conditions()


def test_addresses_and_what_is_missing_are_named(bucket_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_bucket("s3://b/x")
    assert not is_bucket("./runs")
    assert not is_bucket("ftp://b/x")
    assert cache_of("s3://b/a/b") == cache_of("s3://b/a/b/")
    assert len({cache_of(uri) for uri in ("s3://b/a/b", "s3://b/a-b", "s3://b-a/b", "gs://b/a/b")}) == 4
    with pytest.raises(InvalidInput, match="no address of an object store"):
        Bucket("runs")
    with pytest.raises(StoreError, match="cannot be reached"):
        Bucket("s3://no-such-bucket/x").create("a", b"")


def lease(bucket: Bucket, folder: Path) -> Lease:
    return Lease(Lock(folder / "locks" / "writer.lock"), bucket, "locks/writer.lock")


@pytest.mark.parametrize("uri", ["s3://b/a?x", "s3://b/a#1", "s3://b//a", "s3://b/a/../c", "s3://b/."])
def test_an_address_that_would_lead_elsewhere_is_refused(uri):
    """The part behind `?` or `#` would be cut off, and two stores be one."""
    with pytest.raises(InvalidInput, match="choose a prefix without"):
        Bucket(uri)


class Forbidding(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(403)

    def log_message(self, *_: object) -> None:
        pass


def test_a_listing_that_is_forbidden_is_told_as_such(
    bucket_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HTTPServer(("127.0.0.1", 0), Forbidding) as server:
        answering = threading.Thread(target=server.serve_forever)
        answering.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        forbidden = Bucket(bucket_uri)
        with pytest.raises(StoreNotWritable, match=r"'.*/windows' is refused .*; check the keys"):
            forbidden.tags("windows")
        server.shutdown()
        answering.join()


def test_a_lease_excludes_who_shares_the_bucket_and_nothing_else(bucket: Bucket, tmp_path: Path) -> None:
    first, second = lease(bucket, tmp_path / "here"), lease(bucket, tmp_path / "there")
    assert first.try_acquire()
    assert first.is_ours
    assert first.is_held
    assert second.is_held
    assert not second.try_acquire()
    with pytest.raises(StoreLocked, match=r"is held by process \d+ on"):
        second.acquire(timeout=0.1, on_wait=lambda holder, waited: None)
    first.release()
    assert bucket.get("locks/writer.lock") is None
    assert second.try_acquire()
    second.release()


def test_a_lease_of_the_dead_is_taken_over_and_they_learn_it(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suspended, second = lease(bucket, tmp_path / "here"), lease(bucket, tmp_path / "there")
    monkeypatch.setattr(leases, "HEARTBEAT", 3600)
    assert suspended.try_acquire()
    now = bucket.now()
    monkeypatch.setattr(bucket, "now", lambda: now + timedelta(seconds=leases.LEASE + 2))
    assert second.try_acquire()
    monkeypatch.setattr(leases, "HEARTBEAT", 0.01)
    suspended._give_signs()
    assert not suspended.is_ours
    suspended.release()
    assert second.is_ours
    assert bucket.get("locks/writer.lock") is not None
    second.release()


def test_a_lease_of_this_folder_whose_holder_was_killed_is_free_at_once(
    bucket: Bucket, tmp_path: Path
) -> None:
    killed, next_one = lease(bucket, tmp_path), lease(bucket, tmp_path)
    assert killed.try_acquire()
    killed._released.set()
    killed._local.release()
    assert not next_one.is_held
    assert next_one.try_acquire()
    next_one.release()


def test_the_lease_of_a_folder_of_the_same_path_on_another_machine_is_respected(
    bucket: Bucket, tmp_path: Path
) -> None:
    ours, theirs = tmp_path / "cache", tmp_path / "theirs"
    first = lease(bucket, ours)
    assert first.try_acquire()
    ours.rename(theirs)
    assert not lease(bucket, ours).try_acquire()
    first.release()
    second = lease(bucket, ours)
    assert second.try_acquire()
    second.release()


def test_who_waits_asks_for_the_time_once(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT", 0.05)
    first, second = lease(bucket, tmp_path / "here"), lease(bucket, tmp_path / "there")
    assert first.try_acquire()
    asked, now = [], bucket.now
    monkeypatch.setattr(bucket, "now", lambda: asked.append(1) or now())
    with pytest.raises(StoreLocked, match="is held by process"):
        second.acquire(timeout=0.5, on_wait=lambda holder, waited: None)
    assert len(asked) == 1
    first.release()


def test_a_lease_lives_by_its_signs(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT", 0.02)
    ours = lease(bucket, tmp_path)
    assert ours.try_acquire()
    seen: set[str] = set()
    while len(seen) < 4:
        held: Held | None = bucket.get("locks/writer.lock")
        assert held is not None
        seen.add(held.tag)
    assert ours.is_ours
    ours.release()
    assert bucket.get("locks/writer.lock") is None
