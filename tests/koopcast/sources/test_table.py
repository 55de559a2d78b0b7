from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from koopcast.errors import DataError, EmptySelection, MissingFile
from koopcast.sources import TableSpec

LONG = """time,lat,lon,variable,value
2020-01-01T00:00Z,10,20,t,1
2020-01-01T00:00Z,10,30,t,2
2020-01-01T01:00Z,10,20,t,3
2020-01-01T01:00Z,10,20,s,35
2020-01-01T01:00Z,10,30,t,-9999
2020-01-01T00:00Z,10,-790,t,5
2020-01-01T00:00Z,,30,t,6
yesterday,10,20,t,7
2020-01-01T02:00Z,10,30,t,4
2020-01-01T02:00Z,10,30,t,4
"""


def _csv(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_long_tables_become_points_and_unusable_rows_are_counted(tmp_path: Path) -> None:
    opened = TableSpec(path=_csv(tmp_path / "a.csv", LONG), missing=[-9999], units={"t": "degC"}).open(
        ["t", "s"]
    )
    expected = [[1, 2], [3, np.nan], [np.nan, 4]]
    assert opened["t"].dims == ("time", "point")
    assert np.array_equal(opened["t"].values, expected, equal_nan=True)
    assert np.array_equal(opened["s"].values[1], [35, np.nan], equal_nan=True)
    assert opened["longitude"].values.tolist() == [20, 30]
    assert opened["t"].attrs["units"] == "degC"
    assert opened.attrs["rejected_rows"] == "no time: 1, no value: 1, no position on the globe: 2"


def test_parquet_gives_what_csv_gives(tmp_path: Path) -> None:
    csv = _csv(tmp_path / "a.csv", LONG)
    pd.read_csv(csv).to_parquet(tmp_path / "a.parquet")
    one, other = (TableSpec(path=path).open(["t"]) for path in (csv, str(tmp_path / "a.parquet")))
    assert one["t"].identical(other["t"])


def test_wide_tables_and_named_columns(tmp_path: Path) -> None:
    text = "time (UTC),temperature (celsius),id\n2020-01-01,1,B\n2020-01-01,2,A\n2020-01-02 12:00,3,B\n"
    source = TableSpec(path=_csv(tmp_path / "a.csv", text), columns={"temperature": "temperature (celsius)"})
    opened = source.open(["temperature"])
    assert opened.attrs["stations"] == "A, B"
    assert np.array_equal(opened["temperature"].values, [[2, 1], [np.nan, 3]], equal_nan=True)
    assert opened["time"].values[1] == np.datetime64("2020-01-02T12:00")


def test_a_table_without_places_is_one_point(tmp_path: Path) -> None:
    opened = TableSpec(path=_csv(tmp_path / "a.csv", "date,v\n2020-01-01,1\n2020-01-02,2\n")).open(["v"])
    assert opened["v"].values.tolist() == [[1], [2]]


def test_intervals_are_half_open_stamped_with_their_beginning_and_gapless(tmp_path: Path) -> None:
    text = "time,v\n2020-01-01T00:00,1\n2020-01-01T00:59,3\n2020-01-01T01:00,10\n2020-01-01T03:30,7\n"
    opened = TableSpec(path=_csv(tmp_path / "a.csv", text), every="PT1H").open(["v"])
    assert np.array_equal(opened["v"].values[:, 0], [2, 10, np.nan, 7], equal_nan=True)
    assert str(opened["time"].values[-1])[:16] == "2020-01-01T03:00"


def test_months_are_averaged_by_the_calendar(tmp_path: Path) -> None:
    text = "time,v\n2020-01-05,1\n2020-01-31T23:59,3\n2020-02-01,5\n2020-04-10,7\n"
    opened = TableSpec(path=_csv(tmp_path / "a.csv", text), every="P1M").open(["v"])
    assert np.array_equal(opened["v"].values[:, 0], [2, 5, np.nan, 7], equal_nan=True)
    assert str(opened["time"].values[3])[:10] == "2020-04-01"


@pytest.mark.parametrize(("policy", "expected"), [("first", 1.0), ("last", 4.0), ("mean", 2.5)])
def test_rows_that_disagree_need_a_policy(tmp_path: Path, policy: str, expected: float) -> None:
    path = _csv(tmp_path / "a.csv", "time,v\n2020-01-01,1\n2020-01-01,4\n2020-01-01,4\n")
    with pytest.raises(
        DataError, match="1 rows repeat a time and point with another value, first v at 2020-01-01"
    ):
        TableSpec(path=path).open(["v"])
    assert TableSpec(path=path, duplicates=policy).open(["v"])["v"].values.tolist() == [[expected]]


def test_numeric_times_need_their_units(tmp_path: Path) -> None:
    path = _csv(tmp_path / "a.csv", "time,v\n0,1\n0.5,2\n")
    with pytest.raises(DataError, match="time column holds numbers"):
        TableSpec(path=path).open(["v"])
    dated = TableSpec(path=path, time={"units": "days since 2020-01-01"}).open(["v"])
    assert str(dated["time"].values[1])[:13] == "2020-01-01T12"
    assert TableSpec(path=path, time={"units": "s"}).open(["v"])["time"].values.tolist() == [0, 0.5]


def test_what_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    path = _csv(tmp_path / "a.csv", LONG)
    with pytest.raises(DataError, match="no variable 'tt'; did you mean 't'"):
        TableSpec(path=path).open(["tt"])
    with pytest.raises(DataError, match="no column 'valu'; did you mean 'value'"):
        TableSpec(path=path, columns={"value": "valu"}).open(["t"])
    with pytest.raises(DataError, match="no time column"):
        TableSpec(path=_csv(tmp_path / "b.csv", "a,b\n1,2\n")).open(["b"])
    with pytest.raises(EmptySelection, match="no row of the table can be used"):
        TableSpec(path=_csv(tmp_path / "c.csv", "time,v\nnever,2\n")).open(["v"])
    (tmp_path / "d.parquet").write_text("no table")
    with pytest.raises(MissingFile, match="cannot be read as CSV or Parquet"):
        TableSpec(path=str(tmp_path / "d.parquet")).open(["v"])
    with pytest.raises(ValidationError, match="ISO 8601"):
        TableSpec(path=path, every="hourly")
