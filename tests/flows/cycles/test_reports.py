"""Dirty reports, gross errors, positions between points."""

import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from koopcast.cycles.reports import Reason
from schemas.faults import PipelineInvalid
from tasks.cycle import tick
from tests.flows.cycles.conftest import at, cycle, deliver, reports


def test_dirt_of_a_day_ends_in_one_class_each(place: Path) -> None:
    good = reports(place, range(2))
    dirt = good.iloc[:8].copy()
    dirt["value"] = dirt["value"].astype(object)
    dirt["state"] = dirt["state"].astype(float)
    dirt.loc[0, "time"] = "soon"
    dirt.loc[1, "state"] = np.nan
    dirt.loc[2, "value"] = 9999
    dirt.loc[3, "value"] = 400.0
    dirt.loc[4, "state"] = 77.0
    dirt.loc[5, "value"] = "n/a"
    dirt.loc[6, "time"] = "2019-01-01T00:00"
    dirt.loc[7, "value"] = 1.25
    pd.concat([good, dirt]).to_csv(place / "inbox/dirt.csv", index=False)
    with (place / "inbox/dirt.csv").open("a") as file:
        file.write("2020-01-01T05:40:00,3,1.0,5,6,7\n2020-01-01T05:40:00,4,1.")
    (place / "inbox/again.csv").write_bytes((place / "inbox/dirt.csv").read_bytes())
    (place / "inbox/empty.csv").write_text("")
    (place / "inbox/picture.csv").write_bytes(bytes(range(256)))
    ready = cycle(place)
    ticked = tick(ready, at(1))
    assert len(ticked.faults) == 2
    seen = [dict(manifest.values["observations"]) for manifest in ticked.done]
    for counts in seen:
        counts.pop("digest")
    # A cell of a ring is always somewhere: 77 is 77 - 6 * 12.
    assert seen[0]["used"] == 13
    assert seen[0]["conflict"] == 1
    assert seen[0]["duplicate"] == 14
    totals = ready.inbox.totals()
    delivered = sum(delivery.rows for delivery in ready.inbox.deliveries.values())
    assert delivered == 2 * (24 + 8 + 2)
    assert (
        sum(sum(counts.values()) for counts in seen) + sum(totals.values()) - totals["in_windows"]
        == delivered
    )
    assert totals["no_time"] == 2
    assert totals["no_window"] == 2
    assert totals["torn"] == totals["malformed"] == 2
    assert seen[0]["no_value"] == 4
    assert seen[0]["out_of_bounds"] == 2


def test_a_gross_error_is_refused_by_the_background_check_and_named(place: Path) -> None:
    whole = reports(place, range(20))
    row = 12 * 19 + 5
    whole.loc[row, "value"] = whole.loc[row, "value"] + 9.0
    whole.to_csv(place / "inbox/all.csv", index=False)
    ready = cycle(place, "twin", "observations.qc={background_check: 4}")
    done = tick(ready, at(19)).done
    feedback = ready.archive.feedback(done[-1])
    refused = feedback[~feedback["used"]]
    assert refused["state"].tolist() == [5.0]
    assert refused["reason"].tolist() == [Reason.BACKGROUND_CHECK]
    seen = dict(done[-1].values["observations"])
    assert (seen["used"], seen["background_check"]) == (11, 1)
    truth = np.load(place / "truth.npy")[20]
    analysis = ready.archive.fields("analysis")["X"].values.squeeze()[-1]
    assert abs(analysis[5] - truth[5]) < 1


@pytest.mark.parametrize("rotation", ["true", "false"])
def test_an_error_of_next_to_none_stops_no_window(place: Path, rotation: str) -> None:
    whole = reports(place, range(2)).assign(error=0.5)
    whole.loc[:2, "error"] = [1e-5, 1e-8, 1e-25]
    whole.to_csv(place / "inbox/all.csv", index=False)
    ready = cycle(place, "twin", f"method.rotation={rotation}")
    done = tick(ready, at(1)).done
    assert [dict(manifest.values["observations"])["used"] for manifest in done] == [10, 12]
    feedback = ready.archive.feedback(done[0]).sort_values("state")
    assert feedback["reason"].tolist() == [Reason.USED, *[Reason.BAD_ERROR] * 2, *[Reason.USED] * 9]
    assert np.isclose(feedback["oa"].iloc[0], 0, atol=1e-4)


def test_reports_between_points_are_of_both(place: Path) -> None:
    truth = np.load(place / "truth.npy")
    g = np.random.default_rng(4)
    middle = (truth + np.roll(truth, -1, axis=1)) / 2
    moments = [pd.Timestamp("2020-01-01T05:40") + pd.Timedelta(hours=6 * window) for window in range(16)]
    tables = [
        pd.DataFrame({"time": moment, "state": np.arange(12) + 0.49, "value": values})
        for moment, values in zip(moments, middle[1:17] + 0.3 * g.standard_normal((16, 12)), strict=True)
    ]
    pd.concat(tables).to_csv(place / "inbox/all.csv", index=False)
    errors = {}
    for position in ("nearest", "bilinear"):
        ready = cycle(place, position, f"observations.position={position}")
        assert all(manifest.source == "analysis" for manifest in tick(ready, at(15)).done)
        analysis = ready.archive.fields("analysis")["X"].values.squeeze()
        errors[position] = np.sqrt(np.mean((analysis[6:] - truth[7:17]) ** 2))
    assert errors["bilinear"] < 0.4
    assert errors["nearest"] > 2 * errors["bilinear"]
    with pytest.raises(PipelineInvalid, match="'nudging' takes values of cells alone"):
        cycle(place, "other", "observations.position=bilinear", "method={kind: nudging}")


def test_a_file_from_the_future_of_a_clock_that_was_set_back_is_read(place: Path) -> None:
    deliver(place, range(2))
    ahead = time.time() + 5 * 3600
    os.utime(place / "inbox/all.csv", (ahead, ahead))
    ticked = tick(cycle(place, "twin", "observations.settle=5"), at(1))
    assert (ticked.waiting, [manifest.source for manifest in ticked.done]) == ([], ["analysis"] * 2)
    now = time.time()
    os.utime(place / "inbox/all.csv", (now, now))
    assert len(tick(cycle(place, "twin", "observations.settle=60"), at(1)).waiting) == 1
