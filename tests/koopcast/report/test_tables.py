import math

import pandas as pd
import pytest

from koopcast.grids import TimeAxis
from koopcast.report.clock import Clock
from koopcast.report.tables import Column, analysis_tables, forecast_tables, map_tables, number
from koopcast.verification.table import COLUMNS

CLOCK = Clock.of(TimeAxis(54, "P1M", "", "standard"))


def row(metric, subject, role, pairs, lead, value, sense="lower", perfect=0.0):
    return (metric, subject, role, pairs, "t", lead, value, "K", sense, perfect, 12)


def table(*rows):
    return pd.DataFrame(list(rows), columns=list(COLUMNS)).astype({"lead": "Int64"})


FORECASTS = table(
    row("rmse", "model", "forecast", "forecast", 1, 0.54),
    row("rmse", "model", "forecast", "forecast", 6, 0.916),
    row("rmse", "model", "forecast", "forecast", None, 0.7),
    row("rmse", "persistence", "baseline", "forecast", 1, 0.715),
    row("rmse", "persistence", "baseline", "forecast", 6, 2.2),
    row("rmse", "climatology", "baseline", "forecast", 1, 1.015),
    row("rmse", "climatology", "baseline", "forecast", 6, 0.913),
    row("rmse", "analysis", "analysis", "analysis", None, 0.478),
    row("rmse", "climatology", "baseline", "analysis", None, 0.992),
)


def test_the_best_is_marked_and_a_tie_has_no_winner():
    (found,) = forecast_tables(FORECASTS, CLOCK)
    assert found.title == "RMSE of t (K)"
    assert (found.corner, [head.label for head in found.columns]) == ("lead (months)", ["1", "6"])
    cells = {row.subject: row.cells for row in found.rows}
    assert [cells[name][0].is_best for name in ("model", "persistence", "climatology")] == [
        True,
        False,
        False,
    ]
    assert not any(cells[name][1].is_best for name in cells)
    assert [cells[name][1].is_tie for name in ("model", "persistence", "climatology")] == [True, False, True]
    (remark,) = found.remarks
    assert (
        remark == "A tie at 6 months: climatology (0.913 K) and model (0.916 K) differ by less than 5\u00a0%."
    )


def test_analyses_are_compared_at_their_own_times_only():
    (found,) = analysis_tables(FORECASTS)
    assert {row.subject: row.cells[0].text for row in found.rows} == {
        "analysis": "0.478",
        "climatology": "0.992",
    }
    assert found.columns[0].note == "lower is better"
    assert analysis_tables(FORECASTS[FORECASTS["pairs"] == "forecast"]) == []


@pytest.mark.parametrize(
    ("sense", "perfect", "values", "best", "ties"),
    [
        ("lower", 0.0, {"a": 1.0, "b": 1.06, "c": 1.04}, "a", ["c"]),
        ("higher", 1.0, {"a": 0.5, "b": 0.9, "c": 0.88}, "b", ["c"]),
        ("target", 1.0, {"a": 0.7, "b": 1.1, "c": 0.88}, "b", ["c"]),
        ("lower", 0.0, {"a": math.inf, "b": 2.0}, "b", []),
        ("lower", 0.0, {"a": math.inf, "b": math.nan}, None, []),
    ],
)
def test_best_and_ties_follow_the_sense_of_the_metric(sense, perfect, values, best, ties):
    column = Column("x", "x", values, "1", sense, perfect)
    assert (column.best(), column.ties()) == (best, ties)


def test_components_of_a_metric_are_left_out_and_metrics_named_by_options_are_kept():
    rows = table(
        row("rank_histogram", "analysis", "analysis", "analysis", None, 3.0, "target", 1.0),
        row("rank_histogram.slope", "analysis", "analysis", "analysis", None, 9.0),
        row("rmse.time_mean", "analysis", "analysis", "analysis", None, 0.2),
    )
    (found,) = analysis_tables(rows)
    assert [head.label for head in found.columns] == ["rank χ²/dof (K)", "RMSE, time mean (K)"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5404, "0.540"),
        (12.345, "12.3"),
        (123.4, "123"),
        (7893.06, "7893"),
        (0.0, "0.00"),
        (-0.251, "−0.251"),
        (2.5e-7, "2.5·10⁻⁷"),
        (math.inf, "diverged"),
        (math.nan, "undefined"),
    ],
)
def test_numbers_have_three_figures(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("axis", "lead", "text"),
    [
        (TimeAxis(1, "P1M", "", "standard"), 1, "1 month"),
        (TimeAxis(1, "PT6H", "", "standard"), 4, "24 hours"),
        (TimeAxis(1, 0.05), 20, "1 model time unit"),
        (TimeAxis(1, 600.0, "s"), 2, "1.2e+03 s"),
        (TimeAxis(1, ""), 3, "3 records"),
        (None, 1, "1 record"),
    ],
)
def test_leads_are_told_in_the_units_of_the_record_step(axis, lead, text):
    assert Clock.of(axis).text(lead) == text


def test_what_is_read_off_models_stands_once_beside_forecasts_and_with_each_output_of_maps():
    period = ("period_error", "model", "forecast", "model", None, None, 0.02, "month", "lower", 0.0, None)
    *_, models = forecast_tables(pd.concat([FORECASTS, table(period)]), CLOCK)
    assert [head.label for head in models.columns] == ["period error (month)"]
    assert [(line.subject, [cell.text for cell in line.cells]) for line in models.rows] == [
        ("model", ["0.0200"])
    ]
    size = ("parameters", "fno", "map", "model", None, None, 800.0, "1", "lower", 0.0, None)
    maps = table(row("rmse", "fno", "map", "map", None, 0.5), size)
    (only,) = map_tables(maps)
    assert [cell.text for cell in only.rows[0].cells] == ["0.500", "800"]
    assert forecast_tables(maps, CLOCK) == []
