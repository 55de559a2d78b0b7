import numpy as np
import pandas as pd
import pytest

from koopcast.cycles.reports import Reason, deduplicate
from koopcast.cycles.thinning import thinned


def table(**columns):
    base = {"reason": np.int8(Reason.USED), "error": 1.0}
    return pd.DataFrame({**base, **columns})


def test_a_superobservation_is_the_best_mean_of_its_reports():
    reports = table(cell=[3, 3, 4, 3], value=[1.0, 4.0, 9.0, 5.0], error=[1.0, 2.0, 1.0, 1.0])
    mean = thinned(reports, np.array([1, 1, 1, 2]), "mean")
    # Weights 1 and 1/4: (1 + 1) / 1.25, with the error 1 / sqrt(1.25).
    assert np.allclose(mean["value"], [1.6, 4.0, 9.0, 5.0])
    assert np.allclose(mean["error"][0], 1.25**-0.5)
    assert mean["reason"].tolist() == [Reason.USED, Reason.THINNED, Reason.USED, Reason.USED]
    first = thinned(reports, np.array([1, 1, 1, 1]), "first")
    assert first["value"].tolist() == [1.0, 4.0, 9.0, 5.0]
    assert first["reason"].tolist() == [Reason.USED, Reason.THINNED, Reason.USED, Reason.THINNED]
    assert reports["reason"].eq(Reason.USED).all()
    assert thinned(reports, np.array([1, 1, 1, 1]), "none") is reports


def test_repeats_are_known_by_their_station_or_their_place():
    reports = table(
        variable="t", time=pd.Timestamp(2020, 1, 1), station=["a", "a", "", "", "b"],
        latitude=[1.0, 1.5, 1.0, 1.0, 1.0], value=[5.0, 5.0, 5.0, 6.0, 5.0], qc="",
        received_at=pd.to_datetime(["2020-01-03", "2020-01-02", None, None, None]),
    )  # fmt: skip
    for policy, kept in (("first", {5.0: 3}), ("last", {5.0: 2, 6.0: 1}), ("none", {5.0: 2}), ("mean", None)):
        judged = deduplicate(reports, ["latitude"], policy)
        used = judged[judged["reason"] == Reason.USED]
        assert (judged["reason"] == Reason.DUPLICATE).sum() == 1
        if kept is None:
            assert sorted(used["value"]) == [5.0, 5.0, 5.5]
        else:
            assert used["value"].value_counts().to_dict() == kept


def test_the_last_value_is_the_last_received_also_where_it_was_there_before() -> None:
    reports = table(
        variable="t", time=pd.Timestamp(2020, 1, 1), station="a", latitude=1.0, value=[5.0, 6.0, 5.0],
        qc="", received_at=pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-03"]),
    )  # fmt: skip
    for policy, number in (("first", 0), ("last", 2)):
        judged = deduplicate(reports, ["latitude"], policy)
        used = judged[judged["reason"] == Reason.USED]
        assert used["received_at"].tolist() == [reports["received_at"][number]]
        assert sorted(judged["reason"]) == [Reason.USED, Reason.DUPLICATE, Reason.CONFLICT]


@pytest.mark.parametrize("policy", ["first", "last", "mean", "none"])
def test_what_one_file_holds_in_single_precision_is_what_another_says(policy: str) -> None:
    exact = {
        "latitude": [50.1, -7.7, 0.0],
        "longitude": [-169.9, 359.9, -1e-13],
        "value": [280.15, 0.1, 101325.01],
    }
    parts = [
        table(**{name: column(values) for name, values in exact.items()})
        for column in (np.float64, lambda values: np.float32(values).astype(np.float64))
    ]
    parts.append(table(latitude=[1e300, 50.11], longitude=[0.0, -169.9], value=[280.15, 280.15]))
    parts[-1].loc[0, "reason"] = np.int8(Reason.NO_POSITION)
    whole = pd.concat(parts, ignore_index=True).assign(
        variable="t", time=pd.Timestamp(2020, 1, 1), station="", qc="", received_at=pd.NaT
    )
    judged = deduplicate(whole, ["latitude", "longitude"], policy)
    assert judged["reason"].value_counts().to_dict() == {
        Reason.USED: 4, Reason.DUPLICATE: 3, Reason.NO_POSITION: 1,
    }  # fmt: skip


def test_a_station_has_one_place_on_the_map_and_several_depths() -> None:
    reports = table(
        variable="t", time=pd.Timestamp(2020, 1, 1), station="a", latitude=[1.0, 1.5, 1.0],
        z=[10.0, 20.0, 10.0], value=[5.0, 6.0, 7.0], qc="", received_at=pd.NaT,
    )  # fmt: skip
    judged = deduplicate(reports, ["latitude", "z"], "first")
    assert judged["reason"].tolist() == [Reason.USED, Reason.CONFLICT, Reason.USED]
    assert judged["z"].tolist() == [10.0, 10.0, 20.0]
