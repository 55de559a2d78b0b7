"""Artefacts appear whole or not at all, and are checked when they are read."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from koopcast.errors import InvalidInput, StoreDamaged, StoreError, StoreLocked, StoreMissing
from koopcast.stores import Artefact, ArtefactRef, Store, doctor

KEY = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def make(
    store: Store, key: str = KEY, kind: str = "dataset", text: str = "fields", **fields: Any
) -> Artefact:
    with store.produce(kind, key) as slot:
        (slot.path / "deep").mkdir()
        (slot.path / "deep" / "values.bin").write_bytes(text.encode() * 100)
        (slot.path / "info.json").write_text(text)
        return slot.publish(**fields)


def test_a_published_artefact_is_found_with_its_manifest(store: Store) -> None:
    made = make(store, spec={"task": "ingest"}, seed=7, inputs={"data": OTHER}, versions={"edmd": "1"})
    artefact = found(store, made.ref)
    assert artefact == made == store.load(made.ref)
    assert artefact.manifest.seed == 7
    assert artefact.manifest.inputs == {"data": OTHER}
    assert artefact.manifest.files["deep/values.bin"].size == 600
    assert artefact.file("info.json").read_text() == "fields"
    assert artefact.file("deep").is_dir()
    assert sorted(path.name for path in store.artefacts.iterdir()) == [f"dataset-{KEY}"]
    assert list(store.locks.iterdir()) == []


def test_a_fact_that_is_no_number_does_not_spoil_the_manifest(store: Store) -> None:
    made = make(store, facts={"loss": float("nan"), "best": float("inf"), "rank": 8, "shape": [3, 4]})
    assert store.load(made.ref).manifest.facts == {"loss": None, "best": None, "rank": 8, "shape": [3, 4]}


def test_a_reference_survives_json(store: Store) -> None:
    ref = make(store).ref
    assert ArtefactRef.model_validate_json(ref.model_dump_json()) == ref


def test_equal_results_have_equal_digests_whenever_they_were_made(tmp_path: Path) -> None:
    first = make(Store.open(tmp_path / "a"), timings={"fit": 1.0})
    second = make(Store.open(tmp_path / "b"), timings={"fit": 2.0})
    other = make(Store.open(tmp_path / "c"), text="others")
    assert first.manifest.created != second.manifest.created
    assert first.ref == second.ref != other.ref


def test_an_unpublished_artefact_is_not_there(store: Store) -> None:
    with pytest.raises(StoreError, match="nothing was published"), store.produce("dataset", KEY) as slot:
        (slot.path / "half").write_text((slot.scratch / "epoch-3").write_text("weights") * "half")
    assert store.find("dataset", KEY) is None
    assert list(store.artefacts.iterdir()) == []
    with store.produce("dataset", KEY) as slot:
        assert (slot.scratch / "epoch-3").read_text() == "weights"
        slot.publish()
    assert list(store.partial.iterdir()) == []


def test_a_slot_that_publishes_nothing_is_an_error(store: Store) -> None:
    with pytest.raises(StoreError, match="nothing was published"), store.produce("dataset", KEY):
        pass


def test_force_replaces_a_published_artefact(store: Store) -> None:
    make(store, text="former")
    with store.produce("dataset", KEY, force=True) as slot:
        assert slot.existing is None
        assert store.find("dataset", KEY) is not None
        (slot.path / "info.json").write_text("latter")
        latter = slot.publish()
    assert store.load(latter.ref).file("info.json").read_text() == "latter"
    assert doctor(store).is_clean
    assert not doctor(store).leftovers


def test_a_link_is_not_published(store: Store, tmp_path: Path) -> None:
    with store.produce("dataset", KEY) as slot:
        (slot.path / "link").symlink_to(tmp_path)
        with pytest.raises(StoreError, match="symbolic link"):
            slot.publish()
        (slot.path / "link").unlink()
        slot.publish()


@pytest.mark.parametrize("key", ["abc", KEY.upper(), "../" + KEY, KEY + "\n"])
def test_a_key_that_is_no_hash_is_refused(store: Store, key: str) -> None:
    with pytest.raises(InvalidInput, match="no name of an artefact"):
        store.find("dataset", key)


@pytest.mark.parametrize("uri", ["http://host/runs", "ftp://host", "file:///tmp/x", "memory://x"])
def test_other_places_than_local_paths_are_refused_by_name(uri: str) -> None:
    with pytest.raises(InvalidInput, match=rf"{uri.partition(':')[0]}.*give a local path"):
        Store.open(uri)


def test_a_directory_that_holds_other_things_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("ten years of work")
    with pytest.raises(InvalidInput, match=r"thesis\.tex"):
        Store.open(tmp_path)


def test_many_may_open_a_new_store_at_once(tmp_path: Path) -> None:
    for turn in range(10):
        with ThreadPoolExecutor(8) as pool:
            opened = list(pool.map(Store.open, [tmp_path / str(turn)] * 8))
        assert set(opened) == {Store(tmp_path / str(turn))}


def test_a_store_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(StoreMissing, match="there is no store"):
        Store.open(tmp_path / "none", create=False)


def test_a_store_of_a_later_format_is_refused(store: Store) -> None:
    (store.root / "store.json").write_text('{"format": 99}')
    with pytest.raises(StoreError, match="format 99"):
        Store.open(store.root)


def found(store: Store, ref: ArtefactRef) -> Artefact:
    artefact = store.find(ref.kind, ref.key)
    assert artefact is not None
    return artefact


def damage_byte(artefact: Artefact) -> None:
    with (artefact.path / "deep/values.bin").open("r+b") as file:
        file.seek(100)
        file.write(b"#")


def damage_length(artefact: Artefact) -> None:
    os.truncate(artefact.path / "deep/values.bin", 10)


def damage_absence(artefact: Artefact) -> None:
    (artefact.path / "deep/values.bin").unlink()


def damage_surplus(artefact: Artefact) -> None:
    (artefact.path / "deep/more.bin").write_bytes(b"more")


def damage_manifest(artefact: Artefact) -> None:
    path = artefact.path / "manifest.json"
    path.write_text(path.read_text().replace('"seed": null', '"seed": 8'))


def damage_torn_manifest(artefact: Artefact) -> None:
    os.truncate(artefact.path / "manifest.json", 40)


DAMAGES = [
    (damage_byte, r"deep/values\.bin' has digest"),
    (damage_length, r"deep/values\.bin' has digest .* \(10 bytes\), expected .* \(600 bytes\)"),
    (damage_absence, r"deep/values\.bin' is missing"),
    (damage_surplus, r"deep/more\.bin' does not belong"),
    (damage_manifest, r"manifest\.json was altered"),
    (damage_torn_manifest, r"manifest\.json is not a manifest"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_damage_is_found_on_load_and_by_the_doctor_and_healed_by_the_next_run(
    store: Store, damage: Callable[[Artefact], None], message: str
) -> None:
    ref = make(store).ref
    whole = make(store, OTHER)
    store.load(ref)
    damage(found(store, ref))
    with pytest.raises(StoreDamaged, match=rf"dataset-{KEY}.*{message}.*run the pipeline again"):
        store.load(ref)
    report = doctor(store)
    assert not report.is_clean
    assert [item.artefact for item in report.damaged] == [f"dataset-{KEY}"]
    assert make(store).ref == ref
    assert doctor(store).is_clean
    assert len(list(store.damaged.iterdir())) == 1
    assert store.load(whole.ref) == whole


def test_an_artefact_without_manifest_is_not_published_but_damaged(store: Store) -> None:
    make(store).path.joinpath("manifest.json").unlink()
    assert store.find("dataset", KEY) is None
    assert doctor(store).damaged[0].faults == ("it has no manifest",)
    make(store)
    assert doctor(store).is_clean


def test_rot_under_an_unchanged_time_is_found_by_a_deep_check_only(store: Store) -> None:
    artefact = make(store)
    path = artefact.path / "deep/values.bin"
    before = path.stat()
    damage_byte(artefact)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    store.load(artefact.ref)
    with pytest.raises(StoreDamaged, match="has digest"):
        store.verify(artefact, deep=True)
    with pytest.raises(StoreDamaged, match="has digest"):
        store.load(artefact.ref)


def test_a_reference_to_another_result_of_the_same_key_is_refused(store: Store) -> None:
    former = make(store, text="former").ref
    store.set_aside(found(store, former).path)
    with pytest.raises(StoreMissing, match="holds no artefact"):
        store.load(former)
    make(store, text="latter")
    with pytest.raises(StoreDamaged, match="made anew with another result"):
        store.load(former)


def test_untouched_files_are_not_hashed_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = make(store).ref
    hashed: list[str] = []
    monkeypatch.setattr("koopcast.stores.integrity.sha256", lambda path: hashed.append(path.name) or "")
    store.load(ref)
    assert hashed == []


WORKER = """
import hashlib, os, sys
from koopcast.stores import Store


def publish_in_a_loop():
    store = Store.open(sys.argv[1])
    run = store.new_run("loop")
    for number in range(10_000):
        key = hashlib.sha256(str(number).encode()).hexdigest()
        with store.produce("dataset", key) as slot:
            if slot.existing:
                continue
            for part in range(4):
                (slot.path / f"{part}.bin").write_bytes(f"{number} {part};".encode() * 5000)
            (slot.scratch / "checkpoint").write_text(str(number))
            slot.publish(spec={"number": number}, seed=number)


print("ready", flush=True)
for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        publish_in_a_loop()
    print(child, flush=True)
    os.waitpid(child, 0)
    print("dead", flush=True)
"""


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def await_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


def await_growth(folder: Path, count: int) -> None:
    """Wait until more than `count` artefacts are published, however slow the machine is."""
    deadline = time.monotonic() + 30
    while len(list(folder.glob("dataset-*"))) <= count:
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_kill_9_at_random_moments_never_leaves_a_torn_artefact(tmp_path: Path) -> None:
    moments = random.Random(5)
    seen = 0
    process = start(WORKER, str(tmp_path / "store"))
    await_ready(process)
    assert process.stdin is not None
    assert process.stdout is not None
    for turn in range(20):
        process.stdin.write("start\n")
        process.stdin.flush()
        writer = int(process.stdout.readline())
        if turn % 2:  # the other half of the kills may also hit the start of the run
            await_growth(tmp_path / "store" / "artefacts", seen)
        time.sleep(moments.uniform(0, 0.1))
        os.kill(writer, signal.SIGKILL)
        assert process.stdout.readline() == "dead\n"
        store = Store.open(tmp_path / "store")
        report = doctor(store)
        assert report.is_clean, list(report.lines())
        assert report.num_artefacts >= seen
        seen = report.num_artefacts
        assert all(run.state == "killed" for run in store.runs("loop"))
    process.communicate()
    assert seen >= 10
    for path in store.artefacts.glob("dataset-*"):
        number = json.loads((path / "manifest.json").read_text())["seed"]
        for part in range(4):
            assert (path / f"{part}.bin").read_bytes() == f"{number} {part};".encode() * 5000


RACER = """
import os, sys, time
from koopcast.stores import Store
store = Store.open(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
with store.produce("dataset", sys.argv[2]) as slot:
    if slot.existing:
        print("received", slot.existing.file("who").read_text())
    else:
        time.sleep(0.3)
        (slot.path / "who").write_text(str(os.getpid()))
        slot.publish()
        print("computed", os.getpid())
"""


def test_of_two_processes_that_want_one_key_one_computes_it(tmp_path: Path) -> None:
    racers = [start(RACER, str(tmp_path / "store"), KEY) for _ in range(3)]
    for racer in racers:
        await_ready(racer)
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    answers = [racer.communicate()[0].split() for racer in racers]
    assert sorted(what for what, _ in answers) == ["computed", "received", "received"]
    assert len({who for _, who in answers}) == 1


def test_of_many_threads_that_want_one_key_one_computes_it(store: Store) -> None:
    computed, received = [], []

    def want() -> None:
        with store.produce("dataset", KEY) as slot:
            if slot.existing is not None:
                received.append(slot.existing)
                return
            time.sleep(0.05)
            (slot.path / "file").write_text("once")
            computed.append(slot.publish())

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(computed) == 1
    assert received == computed * 7


def test_waiting_for_another_ends_with_its_name(store: Store) -> None:
    waits = []
    with store.produce("dataset", KEY) as slot:
        with (
            pytest.raises(StoreLocked, match=rf"process {os.getpid()} on .*waited"),
            store.produce("dataset", KEY, timeout=0.2, on_wait=lambda holder, _: waits.append(holder)),
        ):
            pass
        slot.publish()
    assert {holder.pid for holder in waits} == {os.getpid()}


def test_leftovers_of_a_dead_writer_go_when_the_key_is_made(store: Store) -> None:
    dead = store.unfinished(f"dataset-{KEY}")
    dead.mkdir(parents=True)
    (dead / "half").write_text("half")
    report = doctor(store)
    assert report.is_clean
    assert [item.num_bytes for item in report.leftovers] == [4]
    make(store)
    assert not dead.exists()
