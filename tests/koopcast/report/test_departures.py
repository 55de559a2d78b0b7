import numpy as np
import pandas as pd

from koopcast.report import CyclePart
from koopcast.report.departures import departure_tables

ROWS = pd.DataFrame(
    [
        {
            "type": "sst", "flag": "all_used", "count": 90,
            "ob_mean": 0.25, "ob_rms": 1.0, "oa_rms": 0.5,
            "chi_square": 1.25, "error_variance": 0.25, "stated_error_variance": 0.36,
            "background_variance": -0.1, "stated_background_variance": 1.0,
        },
        {"type": "sst", "flag": "used", "count": 90},
        {"type": "sst", "flag": "background_check", "count": 10, "ob_mean": 8, "ob_rms": 9, "oa_rms": 9},
    ]
)  # fmt: skip


def test_departures_are_shown_by_type_and_flag_with_estimated_errors_beside_stated_ones():
    (table,) = departure_tables(
        {"analysis": CyclePart(pd.DataFrame(), departures=ROWS), "old": CyclePart(ROWS)}
    )
    assert table.title == "Departures of analysis"
    assert [row.subject for row in table.rows] == ["sst, all that was used", "sst, background check"]
    cells = [[cell.text for cell in row.cells] for row in table.rows]
    # An estimate of a variance may come out negative: then there is no standard deviation to show.
    assert cells[0] == ["90", "0.250", "1.00", "0.500", "1.25", "0.500 / 0.600", "–"]
    assert cells[1] == ["10", "8.00", "9.00", "9.00", "–", "–", "–"]


def test_a_chain_without_observations_has_no_table():
    assert list(departure_tables({"analysis": CyclePart(pd.DataFrame(), departures=pd.DataFrame())})) == []
    empty = pd.DataFrame({"type": ["a"], "flag": ["missing"], "count": [3], "ob_mean": [np.nan]})
    assert list(departure_tables({"analysis": CyclePart(pd.DataFrame(), departures=empty)})) == []
