"""Windows of a cycle, in order and of any number in one tick."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from koopcast.cycles.verification import verified, verify
from koopcast.errors import InvalidInput, StoreDamaged
from koopcast.stores.arrays import open_fields
from schemas.cycle_options import CycleOptions
from schemas.faults import PipelineInvalid
from tasks.cycle import tick
from tasks.standing import standing
from tasks.status import climatology_of
from tests.flows.cycles.conftest import CYCLE, at, content, cycle, deliver, remove, reports


@pytest.mark.page
def test_windows_are_analysed_in_order_and_beat_the_climatology(place: Path) -> None:
    deliver(place, range(40))
    ready = cycle(place)
    done = tick(ready, at(39)).done
    assert [manifest.label for manifest in done] == [ready.ticker._clock.name(k) for k in range(40)]
    assert [manifest.previous for manifest in done] == ["start", *(manifest.digest for manifest in done[:-1])]
    truth = np.load(place / "truth.npy")[1:41]
    analysis = ready.archive.fields("analysis")["X"].values.squeeze()
    error = np.sqrt(np.mean((analysis - truth) ** 2, axis=1))
    assert error[15:].mean() < 0.35
    feedback = ready.archive.feedback(done[-1])
    assert len(feedback) == 12
    assert np.allclose(feedback["ob"], feedback["value"] - feedback["background"])
    assert feedback["oa"].std() < feedback["ob"].std()
    forecast = ready.archive.fields("forecast").isel(time=20)["X"]
    assert forecast["lead"].values.tolist() == [1, 2]
    assert np.sqrt(np.mean((forecast.values[0] - truth[21]) ** 2)) < 1
    assert np.sqrt(np.mean((forecast.values[1] - truth[22]) ** 2)) < 1.5
    assert ready.archive.faults() == []
    assert tick(cycle(place), at(39)).done == []
    errors = (
        verify(
            verified(
                ready.archive, list(ready.archive.manifests()), [1, 2], lambda: climatology_of(ready.training)
            )
        )
        .set_index(["lead", "against", "subject"])
        .sort_index()
    )
    assert set(errors["cases"]) == {39, 38}
    for against in ("analyses", "reports"):
        rmse = errors["rmse"].loc[1, against]
        assert rmse["forecast"] < 0.5 * rmse["persistence"]
        assert rmse["forecast"] < 0.5 * rmse["climatology"]
    page = (ready.archive.root / "status.html").read_text()
    assert "40" in page
    assert "Forecasts" in page
    now = standing(ready.archive)
    assert now.reports() == {"used": 480}
    assert now.gaps == []


def test_ticks_of_any_size_leave_the_same_bytes(place: Path) -> None:
    deliver(place, range(12))
    whole = cycle(place, "twin")
    tick(whole, at(11))
    first = content(whole.archive)
    remove(whole.archive)
    for window in range(12):
        tick(cycle(place, "twin"), at(window))
    assert content(whole.archive) == first
    remove(whole.archive)
    ticked = tick(cycle(place, "twin", "max_catchup=5"), at(11))
    assert (len(ticked.done), ticked.remaining) == (5, 7)
    tick(cycle(place, "twin"), at(11))
    assert content(whole.archive) == first


def test_a_window_without_reports_carries_the_forecast_on(place: Path) -> None:
    whole = reports(place, range(6))
    whole[~whole["time"].str.startswith("2020-01-01T17")].to_csv(place / "inbox/gap.csv", index=False)
    ticked = tick(cycle(place), at(5))
    assert [manifest.source for manifest in ticked.done] == ["analysis"] * 2 + ["forecast"] + ["analysis"] * 3
    assert ticked.warnings == [f"window {ticked.done[2].label}: 0 reports used"]
    folder = cycle(place).archive.folder(ticked.done[2])
    fields = open_fields(folder / "fields.zarr")
    assert (fields["X"].values == fields["X_background"].values).all()


def test_a_window_by_force_changes_what_follows_from_it_alone(place: Path) -> None:
    deliver(place, range(5))
    ready = cycle(place)
    done = tick(ready, at(4)).done
    before = content(ready.archive)
    again = tick(cycle(place), at(4), force=done[2].label).done
    assert [manifest.label for manifest in again] == [done[2].label]
    assert content(ready.archive) == before
    with pytest.raises(InvalidInput, match="no window has the label"):
        tick(cycle(place), at(4), force="2020-01-01T07:00")


def test_a_reanalysis_refuses_other_options_unless_it_forks(place: Path) -> None:
    deliver(place, range(6))
    text = CYCLE + "clock: reanalysis\n"
    assert len(tick(cycle(place, text=text), pd.Timestamp("2030-01-01")).done) == 6
    deliver(place, range(6, 8), "more.csv")
    changed = cycle(place, "twin", "method.members=20", text=text)
    with pytest.raises(InvalidInput, match="another options"):
        tick(changed, pd.Timestamp("2030-01-01"))
    same = cycle(place, "twin", "threads=1", "max_catchup=1", text=text)
    assert len(tick(same, pd.Timestamp("2030-01-01")).done) == 1
    identity = json.loads((changed.archive.root / "cycle.json").read_text())
    assert identity["forks"] == []


def test_a_window_does_not_go_on_from_a_state_of_other_members(place: Path) -> None:
    deliver(place, range(3))
    tick(cycle(place), at(1))
    with pytest.raises(
        InvalidInput, match="goes on from 16 members of 12 values, and the options ask for 20"
    ):
        tick(cycle(place, "twin", "method.members=20"), at(2))
    assert len(tick(cycle(place, "twin", "method.members=20", "first_guess=climatology"), at(2)).done) == 1


def test_windows_whose_start_or_step_was_changed_are_not_said_to_be_lost(place: Path) -> None:
    deliver(place, range(3))
    ready = cycle(place)
    tick(ready, at(2))
    before = content(ready.archive)
    for change in ("start=2020-01-01T12:00", "step=PT12H"):
        with pytest.raises(
            StoreDamaged, match="where `start` or `step` were changed, write them as they were"
        ):
            tick(cycle(place, "twin", f"cycle.{change}"), at(2))
    assert tick(cycle(place), at(2)).done == []
    assert content(ready.archive) == before


def test_a_particle_filter_carries_a_cycle(place: Path) -> None:
    """Its members have weights."""
    deliver(place, range(2))
    ready = cycle(place, "twin", "method={kind: particle, members: 8}")
    tick(ready, at(1))
    for name in ("analysis", "background_spread"):
        assert np.isfinite(ready.archive.fields(name)["X"].values).all()
    assert ready.archive.fields("spread").sizes == {"time": 2, "state": 12}


def test_a_fork_from_which_nothing_followed_is_undone_by_the_options_of_before(place: Path) -> None:
    deliver(place, range(3))
    tick(cycle(place, "twin", "clock=reanalysis"), at(1))
    with pytest.raises(InvalidInput, match="the options ask for 20"):
        tick(cycle(place, "twin", "clock=reanalysis", "method.members=20"), at(2), fork=True)
    back = cycle(place, "twin", "clock=reanalysis")
    assert len(tick(back, at(2)).done) == 1
    assert json.loads((back.archive.root / "cycle.json").read_text())["forks"] == []
    deliver(place, range(4))
    options = ("clock=reanalysis", "method.inflation.factor=1.1")
    assert len(tick(cycle(place, "twin", *options), at(3), fork=True).done) == 1
    with pytest.raises(InvalidInput, match="--fork"):
        tick(cycle(place, "twin", "clock=reanalysis"), at(3))
    assert len(json.loads((back.archive.root / "cycle.json").read_text())["forks"]) == 1


def test_a_reanalysis_without_reports_analyses_nothing(place: Path) -> None:
    ready = cycle(place, "twin", "clock=reanalysis")
    assert tick(ready, at(5)).done == []
    deliver(place, range(2))
    assert [manifest.source for manifest in tick(ready, at(5)).done] == ["analysis"] * 2


def test_a_smoother_analyses_the_window_of_the_cycle(place: Path) -> None:
    deliver(place, range(12))
    smoother = (
        "method={kind: ienks, members: 16, inflation: {kind: multiplicative, factor: 1.04}, rotation: true}"
    )
    ready = cycle(place, "twin", smoother)
    tick(ready, at(11))
    truth = np.load(place / "truth.npy")[1:13]
    analysis = ready.archive.fields("analysis")["X"].values.squeeze()
    assert np.sqrt(np.mean((analysis[8:] - truth[8:]) ** 2)) < 0.5


def test_all_faults_of_a_file_are_told_at_once(place: Path) -> None:
    text = (
        CYCLE.replace("step: PT6H,", "step: PT7H, window: {length: PT9H},").replace("std: 0.5", "std: -1")
        + "late: perhaps\nexpect: [rmse(cycle) < 1]\n"
    )
    with pytest.raises(PipelineInvalid) as caught:
        cycle(place, text=text)
    told = str(caught.value)
    assert all(word in told for word in ("window.length", "std", "perhaps"))
    with pytest.raises(PipelineInvalid) as caught:
        cycle(
            place,
            "twin",
            "cycle.step=PT7H",
            "observations.variables={T: {}}",
            text=CYCLE + "expect: [rmse(cycle) < 1]\n",
        )
    told = str(caught.value)
    assert all(
        word in told for word in ("no whole number of records", "no variable 'T'", "unknown metric 'rmse'")
    )


def test_a_step_that_does_not_fit_is_told_beside_the_record_that_was_given(place: Path) -> None:
    with pytest.raises(PipelineInvalid, match=r"'PT6H' is no whole number of .* which are PT4H apart"):
        cycle(place, "twin", "cycle.record=PT4H")


def test_restart_files_are_kept_for_as_long_as_late_reports_need_them(place: Path) -> None:
    bound = "archive={restart: {every: 4, last: 4}}"
    with pytest.raises(PipelineInvalid, match=r"archive.restart.last: 4 is below max_rerun_windows \+ 2, 5"):
        cycle(place, "twin", bound)
    cycle(place, "twin", bound, "max_rerun_windows=2")
    cycle(place, "twin", "archive={restart: {every: 1, last: 1}}")


OPTIONS = ["start=99999-01", "start=" + "9" * 60 + "-10", "step=P999999999D", "cutoff=P99999Y"]


@pytest.mark.parametrize("option", OPTIONS)
def test_windows_beyond_the_calendar_are_refused(place: Path, option: str) -> None:
    with pytest.raises(PipelineInvalid, match=r"is not a date|within the calendar"):
        cycle(place, "twin", f"cycle.{option}")


def test_a_window_that_falls_due_before_it_begins_is_refused(place: Path) -> None:
    with pytest.raises(PipelineInvalid, match="cutoff: '-PT6H' is before a window begins"):
        cycle(place, "twin", "cycle.cutoff=-PT6H")
    cycle(place, "twin", "cycle.cutoff=-PT1H")


@pytest.mark.parametrize("length", ["P31D", "P28DT1S", "P1MT1S", "PT0S", "-P1D"])
def test_a_window_is_no_longer_than_the_shortest_month(length: str) -> None:
    options = {"start": "2019-10", "step": "P1M"}
    with pytest.raises(ValidationError, match="a report belongs to one window"):
        CycleOptions.model_validate({**options, "window": {"length": length}})
    for fits in ("P28D", "P1M"):
        CycleOptions.model_validate({**options, "window": {"length": fits}})


@pytest.mark.parametrize("begin", ["PT1H", "-PT13H"])
def test_a_window_far_from_its_label_is_refused(begin: str) -> None:
    with pytest.raises(ValidationError, match=rf"window.begin: '{begin}' lies after the label, or has the"):
        CycleOptions.model_validate({"start": "2020-01", "step": "PT6H", "window": {"begin": begin}})
    CycleOptions.model_validate({"start": "2020-01", "step": "PT6H", "window": {"begin": "-PT12H"}})


def test_columns_of_no_meaning_are_refused(place: Path) -> None:
    with pytest.raises(PipelineInvalid) as caught:
        cycle(place, "twin", "observations.columns={eror: sigma, sate: cell, X: x, value: v, qc: flag}")
    told = str(caught.value)
    assert "observations.columns.eror: 'eror' is no meaning of a column; did you mean 'error'?" in told
    assert "did you mean 'state'?" in told
    assert len(caught.value.faults) == 2


def test_a_window_by_force_is_one_that_is_there_or_due(place: Path) -> None:
    deliver(place, range(3))
    ready = cycle(place)
    tick(ready, at(1))
    told = (ready.archive.root / "tick.json").read_bytes()
    for force, why in (("xx", "is not a date"), ("2020-01-01T07:00", "no window has the label")):
        with pytest.raises(InvalidInput, match=why):
            tick(ready, at(1), force=force)
        assert (ready.archive.root / "tick.json").read_bytes() == told
    with pytest.raises(InvalidInput, match="is not analysed yet, and not due"):
        tick(ready, at(1), force=f"{at(2):%Y-%m-%dT%H:%M}")
    assert len(tick(ready, at(2), force=f"{at(2):%Y-%m-%dT%H:%M}").done) == 1
