"""The page of a cycle: closed elements, a word and a colour for its state, few points for many windows."""

from html.parser import HTMLParser
from typing import Literal

import numpy as np
import pandas as pd
import pytest

from koopcast.report import CyclePage, KeyFigure, Section, Table, render_cycle
from koopcast.report.figures import (
    chi_square_series,
    departure_histogram,
    report_counts,
    spread_against_error,
)
from koopcast.report.figures.windows import MOST, condensed


def monitors(windows: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "label": pd.date_range("2020-01-01", periods=windows, freq="6h"),
            "source": "analysis",
            "chi_square_per_observation": rng.uniform(0.5, 1.5, windows),
            "used": rng.integers(0, 50, windows),
            "duplicate": rng.integers(0, 5, windows),
        }
    )


@pytest.mark.parametrize(
    ("windows", "points", "each"), [(1, 1, 1), (MOST, MOST, 1), (MOST + 1, 201, 2), (1460, 365, 4)]
)
def test_many_windows_are_drawn_as_means_over_few_of_them(windows: int, points: int, each: int) -> None:
    table = monitors(windows)
    shown, per = condensed(table)
    assert (len(shown), per) == (points, each)
    first = table["chi_square_per_observation"].iloc[:each].mean()
    assert shown["chi_square_per_observation"].iloc[0] == pytest.approx(first)
    assert shown["label"].iloc[-1] == table["label"].iloc[(points - 1) * each]


def test_a_long_series_says_what_its_points_are() -> None:
    assert "Each point is a mean over 4 windows." in chi_square_series(monitors(1460)).caption
    assert "Each point" not in chi_square_series(monitors(100)).caption
    counted = report_counts(monitors(1460), ["duplicate"])
    assert (
        f"{int(monitors(1460)[['used', 'duplicate']].to_numpy().sum())} reports in 1460 windows"
        in counted.alt
    )


class Reader(HTMLParser):
    """Checks that what is opened is closed in order, and keeps what it meets."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [str(value) for name, value in attrs if name == "id"]
        if tag not in {"meta", "link", "br", "hr", "img"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [str(value) for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize(
    ("state", "colour"), [("well", "good"), ("look", "warn"), ("behind", "warn"), ("damaged", "bad")]
)
def test_a_page_is_closed_refreshes_itself_and_escapes_what_others_wrote(
    state: Literal["well", "behind", "look", "damaged"], colour: str
) -> None:
    edges = np.arange(-5, 5.25, 0.25)
    departures = pd.DataFrame({"left": edges[:-1], "right": edges[1:], "reports": 7})
    calibration = pd.DataFrame({"expected": [1.0, 2.0], "found": [1.1, 1.9], "reports": [30, 40]})
    pictures = [
        chi_square_series(monitors(5)),
        departure_histogram(departures),
        spread_against_error(calibration, "K"),
    ]
    page = CyclePage(
        name="sst",
        title="sst",
        summary="<b>bold</b>",
        moment="now",
        state=state,
        key_figures=[KeyFigure("Windows", "3", "last: now")],
        sections=[Section("Part", "part", pictures, [Table(["a", "b"], [["<script>", "1"]], "a note")])],
        alarms=["it <failed>"],
        refresh_seconds=60,
    )
    html = render_cycle(page)
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    assert f'<span class="state {colour}">{state}</span>' in html
    assert '<meta http-equiv="refresh" content="60">' in html
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "it &lt;failed&gt;" in html
    assert "<b>bold" not in html
