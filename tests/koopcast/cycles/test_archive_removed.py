"""What an archive removes on purpose is no fault, and what it needs again is computed again, to the byte."""

import pytest

from koopcast.cycles.archive import RESTART, Archive, place
from koopcast.cycles.archive.retention import Retention
from koopcast.errors import InvalidInput, StoreDamaged
from koopcast.stores.bucket import Bucket
from koopcast.times import parse_duration

LAST = 8
THIN = {"restart_every": 4, "restart_keep": 3, "compact": "never"}
"""Of nine windows, 0, 4 and the last three keep their states."""


def states(archive: Archive) -> list[int]:
    return [
        number
        for number, one in enumerate(archive.manifests())
        if (archive.root / "data" / one.data / RESTART).is_file()
    ]


@pytest.fixture(scope="module")
def thin(make_twin, tmp_path_factory):
    """An archive that keeps few states."""
    twin = make_twin(tmp_path_factory.mktemp("thin"))
    twin.deliver(range(LAST + 1))
    twin.tick(twin.local(**THIN), LAST, max_rerun_windows=1)
    return twin


def test_states_between_are_removed_whatever_the_ticks_and_kills(twin, thin, content, monkeypatch):
    archive = thin.local()
    assert states(archive) == [0, 4, 6, 7, 8]
    assert archive.faults() == []
    twin.deliver(range(LAST + 1))
    other = twin.local(**THIN)
    remove, count = place.remove, []

    def killed(path):
        count.append(path)
        if len(count) == 2:
            raise KeyboardInterrupt
        remove(path)

    twin.tick(other, 3, max_rerun_windows=1)
    monkeypatch.setattr(place, "remove", killed)
    with pytest.raises(KeyboardInterrupt):
        twin.tick(other, LAST, max_rerun_windows=1)
    assert other.faults() == []
    twin.tick(other, LAST, max_rerun_windows=1)
    assert content(other) == content(archive)


def test_a_state_that_was_removed_is_computed_from_the_nearest_that_is_kept(twin, thin, content):
    archive = twin.copy(thin, **THIN)
    before = content(archive)
    assert twin.tick(archive, LAST, force=twin.label(4), max_rerun_windows=1) == [twin.label(4)]
    assert content(archive) == before
    # Other reports change window 3, whose predecessor's state is gone, and all that follow.
    twin.deliver(range(3, 4), "late.csv", minutes=20)
    changed = [twin.label(number) for number in range(3, LAST + 1)]
    assert twin.tick(archive, LAST, force=twin.label(3), max_rerun_windows=1) == changed
    assert states(archive) == [0, 4, 6, 7, 8]
    assert archive.faults() == []
    fresh = twin.local("fresh", **THIN)
    twin.tick(fresh, LAST, max_rerun_windows=1)
    assert content(fresh) == content(archive)


def test_a_window_whose_past_does_not_come_out_again_is_refused_naming_the_nearest_that_does(twin, thin):
    archive = twin.copy(thin, **THIN)
    twin.deliver(range(2, 3), "late.csv", minutes=20)
    with pytest.raises(
        InvalidInput, match=f"{twin.label(2)} does not come out as it was.*force {twin.label(1)}"
    ):
        twin.tick(archive, LAST, force=twin.label(4), max_rerun_windows=1)
    assert archive.faults() == []


def test_windows_of_long_ago_are_dropped_by_whole_months_and_the_rest_stays_whole(twin, content, monkeypatch):
    twin.deliver(range(LAST + 1))
    options = {"keep": parse_duration("PT18H"), "compact": "never"}
    archive = twin.local(**options)
    twin.tick(archive, LAST - 2)
    # The last label is 18:00 on 1 February, so that 18 hours before it is just in February.
    assert archive.labels() == [twin.label(number) for number in range(3, LAST - 1)]
    assert archive.faults() == []
    twin.tick(archive, LAST)
    assert archive.fields("analysis").sizes["time"] == LAST - 2
    everything = twin.local("everything", compact="never")
    twin.tick(everything, LAST)
    kept = list(everything.manifests())[3:]
    assert list(archive.manifests()) == kept
    with pytest.raises(InvalidInput, match="no longer kept"):
        twin.tick(archive, LAST, force=twin.label(1))
    with pytest.raises(InvalidInput, match="no state before it is kept"):
        twin.tick(archive, LAST, force=twin.label(3))
    other = twin.local("other", **options)
    twin.tick(other, 1)
    monkeypatch.setattr(Retention, "sweep", killed_at_second_sweep(Retention.sweep))
    with pytest.raises(KeyboardInterrupt):
        twin.tick(other, LAST)
    monkeypatch.undo()
    assert other.faults() == []
    assert other.labels() == archive.labels()
    twin.tick(other, LAST)
    assert content(other) == content(archive)
    assert len(list(other.root.glob("data/*"))) == LAST - 2


def killed_at_second_sweep(sweep):
    """The sweep, killed the second time: after the record, before anything goes."""
    count = []

    def sweeping(retention, manifests):
        count.append(retention)
        if len(count) == 2:
            raise KeyboardInterrupt
        return sweep(retention, manifests)

    return sweeping


def test_an_object_store_drops_the_same(twin, bucket_uri, content):
    twin.deliver(range(LAST + 1))
    options = {**THIN, "keep": parse_duration("P1D")}
    local = twin.local(**options)
    twin.tick(local, LAST, max_rerun_windows=1)
    twin.tick(twin.mirrored(bucket_uri, "a", **options), 5, max_rerun_windows=1)
    twin.tick(twin.mirrored(bucket_uri, "b", **options), LAST, max_rerun_windows=1)
    fresh = twin.mirrored(bucket_uri, "c")
    assert content(fresh) == content(local)
    assert fresh.faults() == []
    named = {one.data for one in local.manifests()}
    assert set(Bucket(bucket_uri).entries("cycles/twin/data")) == named


def test_what_the_archive_says_of_itself_is_never_guessed(twin):
    twin.deliver(range(2))
    archive = twin.local()
    twin.tick(archive, 0)
    manifest = archive.root / "windows" / f"{twin.label(0)}.json"
    for path, told in (
        (archive.root / "cycle.json", "remove 'cycle.json': the next tick writes the present options"),
        (manifest, f"the manifest of window {twin.label(0)}"),
    ):
        whole = path.read_text()
        for damaged in (whole[: len(whole) // 2], "", "[]", "{}"):
            path.write_text(damaged)
            with pytest.raises(
                StoreDamaged, match=told if damaged in ("", whole[: len(whole) // 2]) else path.name
            ):
                twin.tick(archive, 1)
            assert path.read_text() == damaged
        path.write_text(whole)
    (archive.root / "removed.json").write_text("{")
    with pytest.raises(StoreDamaged, match="does not say what was removed"):
        twin.tick(archive, 1)
    (archive.root / "removed.json").unlink()
    (archive.root / "cycle.json").unlink()
    assert twin.tick(archive, 1) == [twin.label(1)]
    assert archive.faults() == []
    manifest.write_text(manifest.read_text()[:99])
    assert len(archive.faults()) == 1


def test_a_tick_does_not_go_on_from_an_altered_state(twin):
    twin.deliver(range(2))
    archive = twin.local()
    twin.tick(archive, 0)
    manifest = archive.manifest(twin.label(0))
    path = archive.folder(manifest) / RESTART
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(StoreDamaged, match=f"the state that window {twin.label(0)} left is altered"):
        twin.tick(archive, 1)
    path.write_bytes(whole)
    assert twin.tick(archive, 1) == [twin.label(1)]
