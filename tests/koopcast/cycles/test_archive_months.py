"""Fields of completed months lie together: the same values, whatever was killed, changed or late."""

import shutil
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from koopcast.cycles.archive import FIELDS, mirror, place
from koopcast.errors import StoreDamaged
from koopcast.stores.arrays import open_fields

JANUARY, LAST = 3, 5
"""Windows of the first month, and the first tick's last window after which none of them can change."""


def own_fields(archive):
    return [(archive.root / "data" / one.data / FIELDS).exists() for one in archive.manifests()]


@pytest.fixture(scope="module")
def full(make_twin, tmp_path_factory):
    """An archive whose first month is complete, and lies window by window."""

    twin = make_twin(tmp_path_factory.mktemp("full"))
    twin.deliver(range(LAST + 1))
    twin.tick(twin.local(compact="never"), LAST)
    return twin


def test_a_completed_month_lies_together_with_the_same_values(twin, full, content):
    archive = twin.copy(full)
    single = full.local()
    assert all(own_fields(archive))
    assert twin.tick(archive, LAST) == []
    assert own_fields(archive) == [False] * JANUARY + [True] * (LAST + 1 - JANUARY)
    assert len(list(archive.root.glob("months/*.json"))) == 1
    for quantity in ("analysis", "background_spread", "forecast"):
        assert archive.fields(quantity).identical(single.fields(quantity))
        assert archive.fields(quantity).sizes["time"] == LAST + 1
    for one, other in zip(archive.manifests(), single.manifests(), strict=True):
        assert one == other
        assert archive.window(one).equals(single.window(other))
    assert archive.faults() == []
    # Ticks of another size leave the same bytes.
    by_and_by = twin.local("by-and-by")
    twin.deliver(range(LAST + 1))
    for number in (2, LAST):
        twin.tick(by_and_by, number)
    assert content(by_and_by) == content(archive)


def test_a_kill_at_any_moment_leaves_a_whole_archive_that_ends_in_the_same_bytes(
    twin, full, content, monkeypatch
):
    whole = twin.copy(full)
    twin.tick(whole, LAST)
    expected, analysis = content(whole), whole.fields("analysis").load()
    steps, kills = [], 0
    for name in ("remove", "sync", "sync_tree", "write_whole"):
        monkeypatch.setattr(place, name, killing(getattr(place, name), steps))
    for moment in range(1000):
        archive = twin.copy(full, f"kill{moment}")
        steps[:] = [moment]
        try:
            twin.tick(archive, LAST)
        except KeyboardInterrupt:
            kills += 1
        steps.clear()
        assert archive.faults() == []
        assert archive.fields("analysis").equals(analysis)
        twin.tick(archive, LAST)
        assert content(archive) == expected
        shutil.rmtree(archive.root.parent)
        if kills == moment:
            break
    # The folder of the month, its manifest, the windows' own fields, and that they are gone.
    assert kills == 2 + 1 + JANUARY + 1


def killing(act, steps):
    """The function, killed before it acts once `steps` of them are done."""

    def acting(*arguments, **options):
        if steps:
            if steps[0] == 0:
                raise KeyboardInterrupt
            steps[0] -= 1
        return act(*arguments, **options)

    return acting


def test_a_window_of_a_month_that_is_analysed_again_has_its_own_fields_until_the_month_does(
    twin, full, content, monkeypatch
):
    archive = twin.copy(full)
    twin.tick(archive, LAST)
    (before,) = archive.root.glob("data/2020-01-*")
    assert twin.tick(archive, LAST, force=twin.label(1)) == [twin.label(1)]
    assert own_fields(archive)[1] is False
    late = twin.deliver(range(2, 3), "late.csv", minutes=20)
    monkeypatch.setattr(type(archive), "tidy", lambda *_: None)
    assert twin.tick(archive, LAST, force=twin.label(2)) == [twin.label(k) for k in range(2, LAST + 1)]
    monkeypatch.undo()
    assert own_fields(archive) == [False] * 2 + [True] * (LAST - 1)
    assert archive.faults() == []
    changed = archive.fields("analysis").load()
    assert (changed["X"].values[:2] == full.local().fields("analysis")["X"].values[:2]).all()
    twin.tick(archive, LAST)
    assert own_fields(archive) == [False] * JANUARY + [True] * (LAST + 1 - JANUARY)
    assert archive.fields("analysis").equals(changed)
    assert archive.faults() == []
    fresh = twin.local("fresh")
    twin.deliver(range(LAST + 1))
    twin.tick(fresh, LAST)
    assert late.exists()
    assert content(fresh) == content(archive)
    twin.tick(archive, LAST)
    assert not before.exists()


def test_what_was_altered_is_never_brought_together_and_always_told(twin, full):
    archive = twin.copy(full)
    second = list(archive.manifests())[1]
    chunk = archive.folder(second) / FIELDS / "X" / "c" / "0" / "0"
    chunk.write_bytes(np.float32(chunk.stat().st_size // 4 * [0.0]).tobytes())
    with pytest.raises(StoreDamaged, match=f"fields of window {second.label} are altered"):
        twin.tick(archive, LAST)
    assert list(archive.root.glob("months/*.json")) == []
    assert archive.faults() == [f"window {second.label}: file {FIELDS}/X/c/0/0 is missing or altered"]
    archive = twin.copy(full, "other")
    twin.tick(archive, LAST)
    (month,) = archive.root.glob("data/2020-01-*")
    assert open_fields(month / FIELDS).sizes["time"] == JANUARY
    (month / FIELDS / "X" / "c" / "0" / "0").unlink()
    assert archive.faults() == [f"month 2020-01: file {FIELDS}/X/c/0/0 is missing or altered"]


def test_months_on_an_object_store_are_the_local_ones(twin, bucket_uri, content):
    twin.deliver(range(LAST + 1))
    local = twin.local()
    twin.tick(local, LAST)
    twin.tick(twin.mirrored(bucket_uri, "a"), 3)
    twin.tick(twin.mirrored(bucket_uri, "b"), LAST)
    fresh = twin.mirrored(bucket_uri, "c")
    assert content(fresh) == content(local)
    assert fresh.faults() == []
    assert fresh.fields("analysis").equals(local.fields("analysis"))


@pytest.mark.parametrize("form", ["windows", "icechunk"])
def test_members_are_kept_where_they_are_asked_for(twin, form):
    twin = replace(twin, members=True)
    twin.deliver(range(LAST + 1))
    archive = twin.local(form=form)
    twin.tick(archive, LAST)
    members = archive.fields("members")["X"]
    assert members.dims == ("time", "member", "state")
    assert members.sizes["member"] == twin.chain().method.num_members()
    # Means and deviations of numbers of size 10, rounded to single precision.
    assert np.allclose(members.mean("member"), archive.fields("analysis")["X"], atol=1e-5)
    assert np.allclose(members.std("member", ddof=1), archive.fields("spread")["X"], atol=1e-5)
    assert archive.faults() == []


def test_a_month_whose_windows_hold_other_fields_stays_apart_and_loses_none(twin):
    twin.deliver(range(LAST + 1))
    more = replace(twin, members=True, leads=(1, 3))
    archive = twin.local()
    twin.tick(archive, 1)
    for _ in range(2):
        more.tick(archive, LAST)
        assert own_fields(archive) == [True] * (LAST + 1)
        assert list(archive.root.glob("months/*.json")) == []
    assert archive.fields("analysis").sizes["time"] == LAST + 1
    assert archive.fields("members").sizes["time"] == LAST - 1
    forecast = archive.fields("forecast")["X"]
    assert forecast["lead"].values.tolist() == [1, 3]
    assert forecast.sel(lead=1).notnull().all()
    assert forecast.sel(lead=3).notnull().all("state").values.tolist() == [False] * 2 + [True] * (LAST - 1)
    assert archive.faults() == []
    more.tick(archive, LAST, force=twin.label(0))
    assert own_fields(archive) == [False] * JANUARY + [True] * (LAST + 1 - JANUARY)
    assert archive.fields("members").sizes["time"] == LAST + 1


def test_a_window_that_is_analysed_again_with_other_fields_keeps_its_own(twin, full):
    archive = twin.copy(full)
    twin.tick(archive, LAST)
    replace(twin, members=True).tick(archive, LAST, force=twin.label(2))
    assert own_fields(archive) == [False] * 2 + [True] * (LAST - 1)
    assert archive.fields("analysis").sizes["time"] == LAST + 1
    assert archive.fields("members").sizes["time"] == LAST - 1
    assert archive.faults() == []


def test_leads_of_other_values_are_other_fields(twin):
    twin.deliver(range(LAST + 1))
    archive = twin.local()
    twin.tick(archive, 1)
    replace(twin, leads=(2,)).tick(archive, LAST)
    assert own_fields(archive) == [True] * (LAST + 1)
    assert archive.fields("forecast")["lead"].values.tolist() == [1, 2]


@pytest.mark.parametrize("where", ["folder", "bucket"])
def test_fields_of_a_month_whose_manifest_is_gone_are_swept_by_no_tick(
    twin, full, where, bucket_uri, monkeypatch
):
    if where == "folder":
        archive = twin.copy(full)
    else:
        twin.deliver(range(LAST + 1))
        archive = twin.mirrored(bucket_uri, "a")
        monkeypatch.setattr(mirror, "GRACE", timedelta(0))
    twin.tick(archive, LAST)
    manifest = archive.root / "months" / "2020-01.json"
    text = manifest.read_text()
    archive._place.unpublish("months/2020-01.json")
    for _ in range(2):
        with pytest.raises(StoreDamaged, match=f"months/2020-01.json' is missing.*{twin.label(0)}"):
            twin.tick(archive, LAST)
    archive._place.write("months/2020-01.json", text)
    assert twin.tick(archive, LAST) == []
    assert archive.faults() == []
    assert archive.fields("analysis").equals(full.local().fields("analysis"))
