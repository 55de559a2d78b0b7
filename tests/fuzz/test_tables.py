"""Strange tables: whatever the columns are called and hold, each report ends in one class, and none is
used that cannot be.
"""

import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import judged

COUNT = int(os.environ.get("COUNT", "0"))
NAMES = [
    "time",
    "date",
    "latitude",
    "LON",
    "longitude",
    " Latitude ",
    "station",
    "variable",
    "value",
    "VALUE",
    "t",
    "u",
    "error",
    "qc",
    "received_at",
    "units",
    "height",
    "",
    "lat",
    "reason",
    "window",
    "place of latitude",
    "0",
]
WORDS = [
    "2020-01-01T05:40Z",
    "2020-01-01",
    "2020-02-30",
    "20200101",
    "9999-12-31",
    "0001-01-01",
    "now",
    "nan",
    "NaT",
    "inf",
    "-1e400",
    "999",
    "t",
    "u",
    "T",
    " t ",
    "",
    "K",
    "furlong",
    "degC",
    "٣",
    "1,5",
    "2020-01-01T05:40+99:00",
    "\x00",
    "é",
]
CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**62), 2**62),
    st.sampled_from([0, 1, 90, -90, 360, 999, -9999, 2**63 - 1, 20200101, 54000]),
    st.floats(),
    st.sampled_from(WORDS),
    st.text(max_size=6),
    st.datetimes().map(pd.Timestamp),
    st.timedeltas().map(str),
    st.binary(max_size=4),
    st.just(pd.NaT),
)
KINDS = [
    "object",
    "str",
    "float64",
    "float32",
    "int8",
    "bool",
    "category",
    "datetime64[ns]",
    "datetime64[s, Europe/Paris]",
]


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """Return columns of one kind or mixed, under names that mean something or nothing, some of them twice."""
    rows = draw(st.integers(0, 5))
    names = draw(st.lists(st.sampled_from(NAMES), max_size=9, unique=draw(st.booleans())))
    columns = []
    for _ in names:
        cells = st.sampled_from(WORDS[:8]) if draw(st.booleans()) else CELLS
        values = pd.Series(draw(st.lists(cells, min_size=rows, max_size=rows)), dtype="object")
        columns.append(_as_kind(values, draw(st.sampled_from(KINDS))))
    table = pd.concat(columns, axis=1) if columns else pd.DataFrame(index=range(rows))
    table.columns = pd.Index(names)
    if draw(st.booleans()):
        table.index = pd.Index([0] * rows)
    return table


def _as_kind(values: pd.Series, kind: str) -> pd.Series:
    try:
        with np.errstate(all="ignore"):
            return values.astype(kind)
    except (ValueError, TypeError, OverflowError, RuntimeError):
        return values


@pytest.mark.filterwarnings("ignore")
@settings(
    max_examples=COUNT or 60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(table=tables())
def test_a_strange_table_ends_in_classes_or_a_fault(table: pd.DataFrame) -> None:
    judged(table)
