"""A store on an object store: published whole or not at all, wherever it is read, whoever writes at once."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NoReturn

import pytest

from koopcast.errors import (
    InvalidInput,
    StoreDamaged,
    StoreError,
    StoreLocked,
    StoreMissing,
    StoreNotWritable,
)
from koopcast.stores import Artefact, StepRecord, Store, doctor, gc
from koopcast.stores.bucket import Bucket
from koopcast.stores.durable import remove
from koopcast.stores.layout import Layout
from koopcast.stores.lease import Lease
from koopcast.stores.lock import LEASE
from koopcast.stores.remote import files_of, manifest_of

KEY = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4
NAME = f"dataset-{KEY}"

Machine = Callable[[str], Store]


@pytest.fixture
def machine(bucket_uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """Open the store as a machine with a cache of its own does."""

    def open_on(name: str) -> Store:
        monkeypatch.setenv("KOOPCAST_CACHE", str(tmp_path / name))
        return Store.open(bucket_uri)

    return open_on


@pytest.fixture
def here(machine: Machine) -> Store:
    return machine("here")


@pytest.fixture
def there(machine: Machine, here: Store) -> Store:
    return machine("there")


def bucket_of(store: Store) -> Bucket:
    assert store.bucket is not None
    return store.bucket


def make(
    store: Store, key: str = KEY, text: str = "fields", *, force: bool = False, inputs: tuple[str, ...] = ()
) -> Artefact:
    with store.produce("dataset", key, force=force) as slot:
        if slot.existing is not None:
            return slot.existing
        (slot.path / "deep").mkdir()
        (slot.path / "deep" / "values.bin").write_bytes(text.encode() * 100)
        (slot.path / "info.json").write_text(text)
        return slot.publish(inputs={item: item for item in inputs})


def object_of(artefact: Artefact, name: str = "deep/values.bin") -> str:
    return files_of(artefact)[name]


def test_what_one_machine_makes_another_finds_reads_and_does_not_make_again(
    here: Store, there: Store, tmp_path: Path
) -> None:
    made = make(here)
    local = make(Store.open(tmp_path / "local"))
    assert made.ref == local.ref
    found = there.find("dataset", KEY)
    assert found is not None
    assert found.ref == made.ref
    assert not found.path.exists()
    with there.produce("dataset", KEY) as slot:
        assert slot.existing is not None
        assert slot.existing.ref == made.ref
    assert not found.path.exists()
    loaded = there.load(made.ref)
    assert loaded.path.is_relative_to(there.root)
    assert loaded.file("deep/values.bin").read_text() == "fields" * 100
    assert there.address(made.ref) == f"{there.uri}/artefacts/{NAME}"
    assert bucket_of(here).entries("locks") == []
    assert list(there.incoming.iterdir()) == list(there.locks.glob("*.lock")) == []


def test_a_machine_that_has_read_an_artefact_asks_for_its_manifest_only(
    here: Store, there: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = make(here).ref
    there.load(ref)
    asked: list[str] = []
    get = Bucket.get
    monkeypatch.setattr(Bucket, "get", lambda self, name: asked.append(name) or get(self, name))
    for method in ("listing", "download", "sha256", "upload", "put", "create"):
        monkeypatch.setattr(Bucket, method, None)
    there.load(ref)
    with there.produce("dataset", KEY) as slot:
        assert slot.existing is not None
    assert asked == [f"artefacts/{NAME}/manifest.json"] * 2


def test_many_who_fetch_at_once_find_it_whole(here: Store, there: Store) -> None:
    ref = make(here).ref
    found: list[bytes] = []

    def fetch() -> None:
        found.append(there.load(ref).file("deep/values.bin").read_bytes())

    threads = [threading.Thread(target=fetch) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [b"fields" * 100] * 6


def test_of_two_machines_that_want_one_key_one_makes_it_and_the_other_receives_it(
    here: Store, there: Store
) -> None:
    made: list[str] = []
    received: list[Artefact] = []
    inside = threading.Event()

    def want(store: Store, who: str) -> None:
        with store.produce("dataset", KEY) as slot:
            if slot.existing is not None:
                received.append(slot.existing)
                return
            inside.set()
            time.sleep(0.2)
            (slot.path / "who").write_text(who)
            made.append(who)
            slot.publish()

    first = threading.Thread(target=want, args=(here, "here"))
    first.start()
    assert inside.wait(30)
    second = threading.Thread(target=want, args=(there, "there"))
    second.start()
    first.join()
    second.join()
    assert made == ["here"]
    assert there.load(received[0].ref).file("who").read_text() == "here"


@pytest.mark.parametrize("request_", ["upload", "create"])
def test_a_result_that_could_not_be_sent_is_published_by_the_next_attempt_and_not_made_again(
    here: Store, there: Store, monkeypatch: pytest.MonkeyPatch, request_: str
) -> None:
    def fail(*_: object) -> NoReturn:
        raise StoreError("'s3://bucket' cannot be reached", "check the network")

    def fail_but_for_locks(self: Bucket, name: str, content: bytes) -> str:
        return create(self, name, content) if "locks" in name else fail()

    create = Bucket.create
    with monkeypatch.context() as patched:
        patched.setattr(Bucket, request_, fail_but_for_locks if request_ == "create" else fail)
        with pytest.raises(StoreError, match=r"cannot be reached; the result is kept in .*computed twice"):
            make(here)
    assert there.find("dataset", KEY) is None
    assert any("not published: run its pipeline" in item.path for item in doctor(here).leftovers)
    with here.produce("dataset", KEY) as slot:
        assert slot.existing is not None
    assert there.get("dataset", KEY).file("info.json").read_text() == "fields"
    assert doctor(here).leftovers == ()


def test_a_sound_copy_on_one_machine_heals_what_another_found_damaged(here: Store, there: Store) -> None:
    made = make(here)
    bucket_of(here).delete([object_of(made)])
    with pytest.raises(StoreDamaged, match="is gone"):
        there.get("dataset", KEY)
    with here.produce("dataset", KEY) as slot:
        assert slot.existing == made
    assert there.load(made.ref).file("deep/values.bin").read_text() == "fields" * 100


def die_before_the_manifest(store: Store, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Upload the files of an artefact and end there; the machine is never seen again."""

    class Killed(BaseException):
        pass

    def upload_and_die(self: Bucket, files: Mapping[str, Path]) -> None:
        upload(self, files)
        raise Killed

    upload = Bucket.upload
    with monkeypatch.context() as patched:
        patched.setattr(Bucket, "upload", upload_and_die)
        with pytest.raises(Killed):
            make(store, key)
    remove(store.artefacts / f"dataset-{key}")


def test_of_a_publisher_that_was_killed_nothing_is_seen_and_the_next_completes(
    here: Store, there: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    die_before_the_manifest(here, KEY, monkeypatch)
    assert there.find("dataset", KEY) is None
    report = doctor(there)
    assert report.is_clean
    assert [(item.path, item.num_bytes) for item in report.leftovers] == [(f"artefacts/{NAME}", 606)]
    made = make(there)
    assert here.load(made.ref).file("info.json").read_text() == "fields"
    assert doctor(here).leftovers == ()


def alter(bucket: Bucket, artefact: Artefact) -> None:
    bucket.put(object_of(artefact), b"#" * 600)


def shorten(bucket: Bucket, artefact: Artefact) -> None:
    bucket.put(object_of(artefact), b"#" * 10)


def delete(bucket: Bucket, artefact: Artefact) -> None:
    bucket.delete([object_of(artefact)])


def alter_manifest(bucket: Bucket, artefact: Artefact) -> None:
    held = bucket.get(manifest_of(NAME))
    assert held is not None
    bucket.put(manifest_of(NAME), held.content.replace(b'"seed": null', b'"seed": 8'))


def tear_manifest(bucket: Bucket, artefact: Artefact) -> None:
    bucket.put(manifest_of(NAME), b'{"format": 1')


DAMAGES = [
    (alter, r"deep/values\.bin' has digest|deep/values\.bin' was altered"),
    (shorten, r"deep/values\.bin' has 10 bytes, expected 600|deep/values\.bin' was altered"),
    (delete, r"deep/values\.bin' is missing|deep/values\.bin' is gone"),
    (alter_manifest, r"manifest\.json was altered"),
    (tear_manifest, r"manifest\.json is not a manifest"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_damage_is_found_by_who_reads_and_by_the_doctor_and_healed_by_the_next_run(
    here: Store, there: Store, damage: Callable[[Bucket, Artefact], None], message: str
) -> None:
    made, whole = make(here), make(here, OTHER)
    damage(bucket_of(here), made)
    (found,) = doctor(here).damaged
    assert found.artefact == NAME
    assert re.search(message, found.faults[0])
    with pytest.raises(StoreDamaged, match=rf"{NAME}.*({message}).*run the pipeline again"):
        there.load(made.ref)
    with there.produce("dataset", KEY) as slot:
        assert slot.existing is None
        slot.path.joinpath("info.json").write_text("anew")
        slot.publish()
    assert doctor(there).is_clean
    assert here.get("dataset", KEY).file("info.json").read_text() == "anew"
    assert there.load(whole.ref).ref == whole.ref


def test_a_plan_finds_a_file_that_was_altered_after_the_publication(here: Store, there: Store) -> None:
    made = make(here)
    time.sleep(1.1)  # object stores tell the time in seconds
    bucket_of(here).put(object_of(made), b"fields" * 100)
    there.verify(made)
    alter(bucket_of(here), made)
    with pytest.raises(StoreDamaged, match="has digest"):
        there.verify(made)
    assert made.path.exists()
    here.verify(made)
    with pytest.raises(StoreDamaged, match="has digest"):
        here.verify(made, deep=True)


def test_a_copy_that_was_damaged_is_fetched_again(here: Store, there: Store) -> None:
    made = make(here)
    (there.load(made.ref).path / "info.json").write_text("mine")
    assert there.load(made.ref).file("info.json").read_text() == "fields"
    (there.artefacts / NAME / "manifest.json").write_text("{")
    assert there.load(made.ref).file("info.json").read_text() == "fields"


@pytest.mark.parametrize("text", ["fields", "something else"])
def test_of_two_writers_who_know_nothing_of_each_other_the_first_stays(
    here: Store, there: Store, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    def publish_late() -> Artefact:
        with here.produce("dataset", KEY) as slot:
            with monkeypatch.context() as patched:
                patched.setattr(Layout, "lock", Layout.lock_here)
                theirs = make(there, text=text)
            (slot.path / "deep").mkdir()
            (slot.path / "deep" / "values.bin").write_bytes(b"fields" * 100)
            (slot.path / "info.json").write_text("fields")
            assert slot.publish() == replace(theirs, path=here.artefacts / NAME)
        return theirs

    if text == "fields":
        publish_late()
    else:
        with pytest.raises(StoreLocked, match="published by another meanwhile, with another result"):
            publish_late()
    assert here.get("dataset", KEY).file("info.json").read_text() == text
    assert doctor(here).is_clean


def test_force_replaces_what_every_machine_reads(here: Store, there: Store) -> None:
    former = make(here)
    there.load(former.ref)
    latter = make(here, text="latter", force=True)
    assert there.get("dataset", KEY).file("info.json").read_text() == "latter"
    with pytest.raises(StoreDamaged, match="made anew with another result"):
        there.load(former.ref)
    assert [item.num_bytes for item in doctor(there).leftovers] == [606]
    assert there.load(latter.ref).ref == latter.ref


def step(artefact: Artefact) -> StepRecord:
    return StepRecord(kind="dataset", key=artefact.ref.key, digest=artefact.ref.digest, state="done")


def key(name: str) -> str:
    return name.encode().hex().ljust(64, "0")


def names(store: Store) -> set[str]:
    found = (name.partition("-")[2] for name in bucket_of(store).entries("artefacts"))
    return {bytes.fromhex(name).decode().rstrip("\0") for name in found}


def test_collection_keeps_what_runs_of_any_machine_name_and_removes_the_rest(
    here: Store, there: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, base = make(here, key("old")), make(here, key("base"))
    new = make(there, key("new"), inputs=(key("base"),))
    make(here, key("new"), "former", force=True)
    make(here, key("new"), force=True, inputs=(key("base"),))
    make(there, key("nobody"))
    die_before_the_manifest(here, key("dead"), monkeypatch)
    for store, artefact in ((here, old), (there, new)):
        with store.new_run("sst", {"data": step(artefact)}):
            pass
    planned = gc(there, keep_runs=1, dry_run=True)
    assert names(there) == {"old", "base", "new", "nobody", "dead"}
    assert gc(there, keep_runs=1) == planned
    assert names(there) == {"base", "new"}
    former = [item.num_bytes for item in planned.removed if item.path == f"artefacts/dataset-{key('new')}"]
    assert former == [606]
    assert [run.record.steps["data"].key for run in here.runs("sst")] == [new.ref.key]
    assert here.load(new.ref).ref == new.ref
    assert there.load(base.ref).ref == base.ref
    assert doctor(here).is_clean
    assert sorted(path.name for path in there.artefacts.iterdir()) == sorted([new.ref.name, base.ref.name])
    assert gc(there, keep_runs=1).removed == ()
    assert bucket_of(there).entries("locks") == []


def test_collection_leaves_the_work_of_another_machine_alone(here: Store, there: Store) -> None:
    before = make(here, key("before"))
    with here.new_run("sst", {}):
        make(here, key("during"))
        with here.produce("dataset", key("now")) as slot:
            bucket_of(here).put(f"artefacts/dataset-{key('now')}/0123/half", b"half")
            assert [item.path for item in gc(there, keep_runs=0).removed] == [f"artefacts/{before.ref}"]
            assert doctor(there).leftovers == ()
            slot.publish()
    assert names(there) == {"during", "now"}


def test_runs_are_seen_by_every_machine(here: Store, there: Store) -> None:
    made = make(here)
    with here.new_run("sst", {"data": step(made)}) as run:
        run.write("run.lock.yaml", "seed: 1")
        run.write("figures/loss.svg", b"<svg/>")
        seen = there.run("sst/latest")
        assert seen.name == run.name
        assert seen.state == "running"
    assert there.run(run.name).state == "done"
    assert there.resolve("runs://sst/latest/data") == made.ref
    assert seen.read("run.lock.yaml") == "seed: 1"
    assert seen.read("report.html") is None
    assert (seen.bring() / "figures/loss.svg").read_bytes() == b"<svg/>"
    with pytest.raises(StoreMissing, match=r"has no run 'nope'.*there are: latest"):
        there.run("sst/nope")
    with pytest.raises(StoreMissing, match="pipeline 'ssr' has no runs; did you mean 'sst'"):
        there.run("ssr/latest")


def test_a_run_whose_machine_died_is_killed_once_its_lease_is_over(
    here: Store, there: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = here.new_run("sst", {})
    lease = run._lock
    assert isinstance(lease, Lease)
    lease._released.set()
    lease._local.release()
    assert here.run("sst/latest").state == "killed"
    assert there.run("sst/latest").state == "running"
    now = bucket_of(there).now()
    monkeypatch.setattr(Bucket, "now", lambda self: now + timedelta(seconds=LEASE + 2))
    assert there.run("sst/latest").state == "killed"


def test_the_doctor_reports_what_does_not_belong_and_what_is_gone(here: Store) -> None:
    made = make(here)
    with here.new_run("sst", {"data": step(made)}) as run:
        pass
    bucket = bucket_of(here)
    bucket.delete(bucket.tags(f"artefacts/{NAME}"))
    bucket.put("artefacts/notes.txt", b"mine")
    bucket.put("runs/sst/20200101T000000Z-0000/report.html", b"")
    report = doctor(here)
    assert report.foreign == ("runs/sst/20200101T000000Z-0000", "artefacts/notes.txt")
    assert report.missing == (f"run {run.name}, step 'data': artefact {made.ref} is gone",)
    assert not report.is_clean


def test_places_that_are_no_store_are_refused(bucket_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreMissing, match=f"there is no store at '{bucket_uri}'"):
        Store.open(bucket_uri, create=False)
    parent = Bucket(bucket_uri.rpartition("/")[0])
    parent.put("thesis.tex", b"ten years of work")
    with pytest.raises(InvalidInput, match=r"not a store and holds other things \(thesis\.tex\)"):
        Store.open(parent.uri)
    parent.put("later/store.json", b'{"format": 99}')
    with pytest.raises(StoreError, match="format 99"):
        Store.open(f"{parent.uri}/later")
    with pytest.raises(StoreError, match=r"cannot be reached \(.*check the bucket"):
        Store.open("s3://no-such-bucket/x")
    with pytest.raises(InvalidInput) as refused:
        Store.open("s3://key:hidden@bucket/x")
    assert "hidden" not in str(refused.value)
    assert "in the environment" in str(refused.value)
    monkeypatch.setattr(Bucket, "create", Bucket.put)
    with pytest.raises(StoreError, match="ignores conditions of writes"):
        Store.open(f"{parent.uri}/careless")


class _Refusing(BaseHTTPRequestHandler):
    """An object store that knows our keys and lets us do nothing; its answer repeats the secret."""

    def do_GET(self) -> None:
        body = b"<Error><Code>SignatureDoesNotMatch</Code><StringToSign>hidden</StringToSign></Error>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_keys_that_are_refused_are_said_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "hidden",
        }.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(
            StoreNotWritable, match=r"is refused \(.*check the keys in the environment"
        ) as found:
            Store.open("s3://bucket/refused")
        server.shutdown()
    assert "hidden" not in str(found.value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "127.0.0.1:9000")
    with pytest.raises(InvalidInput, match="begin it with http:// or https://"):
        Store.open("s3://bucket/refused")
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(InvalidInput, match="Account must be specified"):
        Store.open("az://container/x")


FORKED = """
import os, sys
from koopcast.errors import StoreError
from koopcast.stores import Store
store = Store.open(sys.argv[1])
if os.fork() == 0:
    try:
        store.find("dataset", "0" * 64)
    except StoreError as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
"""


def test_a_forked_process_is_told_so_and_does_not_wait_for_ever(here: Store) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED, here.uri], capture_output=True, text=True, timeout=60, check=True
    )
    assert "forked from one that uses object stores; start processes anew" in done.stdout


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(
        InvalidInput, match=r"needs the package obstore; install it: pip install 'koopcast\[s3"
    ):
        Store.open("s3://bucket/x")
