"""Findings of a study as a table, and back."""

from koopcast.studies.base import Findings
from tasks.study import score_mapping, to_table

SCORES = {
    "error": {"iid": {"20": 3.5, "40": 1.25}, "dpp": {"20": 1.5}},
    "iterations": {"skr": {"all": 9.0}},
}


def test_scores_come_back_from_the_table_under_their_size() -> None:
    assert score_mapping(to_table(Findings(SCORES), {"error": "1", "iterations": "1"})) == {
        "error": {"iid": {"n=20": 3.5, "n=40": 1.25}, "dpp": {"n=20": 1.5}},
        "iterations": {"skr": {"all": 9.0}},
    }


def test_every_row_has_the_units_of_its_metric() -> None:
    table = to_table(Findings(SCORES), {"error": "K", "iterations": "1"})
    assert table.loc[table["metric"] == "error", "units"].unique().tolist() == ["K"]
    assert table["n"].isna().tolist() == [False, False, False, True]
