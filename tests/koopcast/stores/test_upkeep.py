"""The doctor names the steps that damage concerns; garbage collection keeps what runs refer to."""

from pathlib import Path

import pytest

from koopcast.errors import InvalidInput, StoreDamaged
from koopcast.stores import Artefact, StepRecord, Store, doctor, gc


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def key(name: str) -> str:
    return name.encode().hex().ljust(64, "0")


def make(store: Store, name: str, *inputs: str) -> Artefact:
    with store.produce("dataset", key(name)) as slot:
        (slot.path / "values.bin").write_text(name * 10)
        return slot.publish(inputs={item: key(item) for item in inputs})


def step(artefact: Artefact) -> StepRecord:
    return StepRecord(kind="dataset", key=artefact.ref.key, digest=artefact.ref.digest, state="done")


def run(store: Store, pipeline: str = "sst", **steps: Artefact) -> str:
    with store.new_run(pipeline, {name: step(artefact) for name, artefact in steps.items()}) as record:
        return record.name


def names(store: Store) -> set[str]:
    return {
        bytes.fromhex(path.name.split("-")[1]).decode().rstrip("\0") for path in store.artefacts.iterdir()
    }


def test_the_doctor_names_the_steps_to_run_again_and_those_downstream(store: Store) -> None:
    data, model = make(store, "data"), make(store, "model", "data")
    scores, other = make(store, "scores", "model"), make(store, "other")
    run(store, data=data, dynamics=model, scores=scores, other=other)
    run(store, "cycle", first=model)
    (data.path / "values.bin").write_text("torn")
    (damage,) = doctor(store).damaged
    assert damage.steps == ("sst/data",)
    assert damage.downstream == ("cycle/first", "sst/dynamics", "sst/scores")
    text = "\n".join(doctor(store).lines())
    assert "run again: sst/data" in text
    assert "downstream: cycle/first, sst/dynamics, sst/scores" in text


def test_the_doctor_reports_what_does_not_belong_and_what_is_gone(store: Store) -> None:
    data = make(store, "data")
    name = run(store, data=data)
    (store.artefacts / "notes.txt").write_text("mine")
    store.set_aside(data.path)
    (store.root / "runs" / "sst" / "20200101T000000Z-0000").mkdir()
    report = doctor(store)
    assert report.foreign == ("runs/sst/20200101T000000Z-0000", "artefacts/notes.txt")
    assert report.missing == (f"run {name}, step 'data': artefact {data.ref} is gone",)
    assert not report.is_clean


def test_work_in_progress_is_neither_damage_nor_left_over(store: Store) -> None:
    with store.produce("dataset", key("data")) as slot:
        (slot.path / "half").write_text("half")
        (slot.scratch / "checkpoint").write_text("weights")
        assert doctor(store).is_clean
        assert doctor(store).leftovers == ()
        slot.publish()


def test_an_empty_store_is_clean(store: Store) -> None:
    assert doctor(store).is_clean
    assert gc(store).removed == ()


def test_collection_keeps_what_kept_runs_name_and_their_inputs(store: Store) -> None:
    old, base, new = make(store, "old"), make(store, "base"), make(store, "new", "base")
    make(store, "nobody")
    run(store, data=old)
    run(store, data=new)
    assert doctor(store).is_clean
    planned = gc(store, keep_runs=1, dry_run=True)
    assert names(store) == {"old", "base", "new", "nobody"}
    collected = gc(store, keep_runs=1)
    assert collected == planned
    assert names(store) == {"base", "new"}
    assert collected.num_bytes > 60
    assert store.load(base.ref) == base
    assert [record.record.steps["data"].key for record in store.runs("sst")] == [new.ref.key]
    assert doctor(store).is_clean
    assert gc(store, keep_runs=1).removed == ()


def test_collection_keeps_the_newest_run_that_was_done(store: Store) -> None:
    good = make(store, "good")
    run(store, data=good)
    for _ in range(3):
        with pytest.raises(RuntimeError), store.new_run("sst"):
            raise RuntimeError
    gc(store, keep_runs=2)
    assert store.resolve("runs://sst/latest/data") == good.ref
    assert names(store) == {"good"}
    assert len(list(store.runs("sst"))) == 3


def test_collection_leaves_runs_in_progress_and_their_work_alone(store: Store) -> None:
    planned, before = make(store, "planned"), make(store, "before")
    with store.new_run("sst", {"data": step(planned)}):
        make(store, "during")
        with store.produce("dataset", key("now")) as slot:
            (slot.path / "half").write_text("half")
            (slot.scratch / "checkpoint").write_text("weights")
            removed = gc(store, keep_runs=0).removed
            assert [item.path for item in removed] == [f"artefacts/{before.ref}"]
            assert (slot.scratch / "checkpoint").exists()
            slot.publish()
    assert names(store) == {"planned", "during", "now"}


def test_collection_sweeps_what_dead_writers_left(store: Store) -> None:
    data = make(store, "data")
    waiting = StepRecord(kind="dataset", key=key("waiting"), state="running")
    with store.new_run("sst", {"data": step(data), "waiting": waiting}):
        pass
    for scratch in ("data", "waiting", "forgotten"):
        (store.partial / key(scratch)).mkdir(parents=True)
    store.unfinished(f"dataset-{key('dead')}").mkdir()
    (store.artefacts / ".tmp-anything").mkdir()
    (store.locks / f"{key('dead')}.lock").write_text("")
    store.set_aside(make(store, "torn").path)
    gc(store)
    assert [path.name for path in store.partial.iterdir()] == [key("waiting")]
    assert names(store) == {"data"}
    assert list(store.locks.iterdir()) == []
    assert list(store.damaged.iterdir()) == []
    assert [path.name for path in store.verified.iterdir()] == [f"dataset-{key('data')}.json"]


def test_collection_stops_where_a_record_cannot_be_read(store: Store) -> None:
    make(store, "data")
    (store.root / "runs" / "sst" / "20200101T000000Z-0000").mkdir(parents=True)
    with pytest.raises(StoreDamaged, match="no readable"):
        gc(store)
    assert names(store) == {"data"}


def test_a_negative_number_of_runs_is_refused(store: Store) -> None:
    with pytest.raises(InvalidInput):
        gc(store, keep_runs=-1)
