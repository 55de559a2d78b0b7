import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from koopcast.grids import TimeAxis
from koopcast.report import (
    CyclePart,
    EvaluationPart,
    ExpectationRow,
    ModelPart,
    ReportContent,
    StepRow,
    draw_graph,
    render,
    write,
)
from koopcast.report.gallery import _placed as placed
from koopcast.report.studies import study_tables
from koopcast.verification.table import COLUMNS

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Reader(HTMLParser):
    """Collects identifiers and checks that every element is closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.tags, self.urls = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.urls += [value for name, value in attrs if name in ("href", "src", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read(html):
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    return reader


def example(sources):
    values = np.random.default_rng(0).normal(size=(len(sources), 1, 1, 4, 40)).astype("f4")
    dims = ("source", "time", "lead", "y", "x")
    return xr.Dataset(
        {"t": (dims, values, {"units": "K"})}, coords={"source": list(sources), "lead": [1], "time": [3.0]}
    )


def scores():
    rows = [
        ("rmse", "model", "forecast", "forecast", "t", 1, 0.588, "K", "lower", 0.0, 12),
        ("rmse", "model", "forecast", "forecast", "t", 6, 0.9, "K", "lower", 0.0, 7),
        ("rmse", "climatology", "baseline", "forecast", "t", 1, 0.993, "K", "lower", 0.0, 12),
        ("rmse", "climatology", "baseline", "forecast", "t", 6, 0.913, "K", "lower", 0.0, 7),
        ("rmse", "analysis", "analysis", "analysis", "t", None, 0.489, "K", "lower", 0.0, 12),
        ("rmse", "climatology", "baseline", "analysis", "t", None, 0.993, "K", "lower", 0.0, 12),
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"lead": "Int64"})


def study():
    rows = [
        ("iterations", "gmres", None, 41.2, "1"),
        ("iterations", "recycled", None, 9.5, "1"),
        ("seconds", "gmres", None, 0.25, "s"),
        ("error_ratio", "iid", 20, 31.0, "1"),
        ("error_ratio", "iid", 40, 2.0, "1"),
        ("error_ratio", "dpp", 20, 3.0, "1"),
    ]
    return pd.DataFrame(rows, columns=["metric", "subject", "n", "value", "units"]).astype({"n": "Int64"})


@pytest.fixture(scope="module")
def content():
    time = TimeAxis(54, "P1M", "", "standard")
    return ReportContent(
        name="sst <script>alert(1)</script>",
        summary="Forecast & analyse",
        seconds=75.0,
        expectations=[ExpectationRow("rmse(analysis) <= 0.5", True, "0.489 <= 0.5")],
        steps=[
            StepRow("sst", "ingest", "cached", 1.0, "ab12"),
            StepRow("model", "train", "completed", 2.0, after=["sst"]),
            StepRow("analysis", "assimilate", "completed", 4.0, after=["model", "sst"]),
        ],
        evaluations={
            "scores": EvaluationPart(
                scores(),
                examples={
                    "model": example(["truth", "forecast"]),
                    "analysis": example(["truth", "analysis"]),
                },
                time=time,
            )
        },
        studies={"comparison": study()},
        models={"model": ModelPart({"rank": 8, "training_error": 0.25})},
        chains={"analysis": CyclePart(pd.DataFrame({"time": range(12), "rmse": 0.5}), units="K")},
        yaml="name: sst\nsteps: {a: <b>}\n",
        reproduce=["koopcast run sst.yaml --locked"],
        versions={"koopcast": "0.1.0"},
    )


@pytest.fixture(scope="module")
def page(content, tmp_path_factory):
    return write(content, tmp_path_factory.mktemp("report"))


def test_the_page_asks_the_network_for_nothing(page):
    html = page.read_text(encoding="utf-8")
    reader = read(html)
    assert "script" not in reader.tags
    assert all(url.startswith(("#", "data:image/png;base64,")) for url in reader.urls)
    assert "default-src 'none'" in html
    assert "@import" not in html
    assert not re.findall(r"url\((?!#)", html)
    assert len(html) < 4_000_000


def test_identifiers_are_unique_and_links_lead_somewhere(page):
    reader = read(page.read_text(encoding="utf-8"))
    assert len(set(reader.ids)) == len(reader.ids)
    assert {url[1:] for url in reader.urls if url.startswith("#")} <= set(reader.ids)


def test_what_people_wrote_is_escaped(page):
    html = page.read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "steps: {a: &lt;b&gt;}" in html


def test_the_header_compares_with_the_best_baseline_and_calls_a_tie_a_tie(page):
    html = page.read_text(encoding="utf-8")
    assert "41% below climatology (0.993)" in html
    assert "a tie with climatology (0.913)" in html
    assert "51% below climatology (0.993)" in html
    assert "1 of 1 expectations held" in html
    assert "A tie at 6 months: model (0.900 K) and climatology (0.913 K)" in html


def test_figures_are_on_the_page_and_saved_as_files(page):
    html = page.read_text(encoding="utf-8")
    files = sorted(path.stem for path in (page.parent / "figures").iterdir())
    assert files == [
        "analysis-cycles",
        "comparison-error_ratio",
        "scores-analysis-fields-t",
        "scores-model-fields-t",
        "scores-rmse-t",
    ]
    assert all(f'<figure id="{name}"' in html for name in files)
    assert html.count("<figcaption>") == len(files)


def test_an_expectation_that_failed_shows_in_the_state():
    content = ReportContent("x", expectations=[ExpectationRow("rmse(a) <= 1", False, "2 > 1")])
    html = render(content)
    assert '<span class="state bad">expectations not held</span>' in html
    assert "0 of 1 expectations held" in html


def test_an_empty_report_is_a_page_too():
    assert "<h1>nothing</h1>" in render(ReportContent("nothing"))
    read(render(ReportContent("nothing")))


def test_a_graph_of_ones_own_is_used_as_it_is():
    assert '<svg id="mine"></svg>' in render(
        ReportContent("x", steps=[StepRow("a", "train", "failed")], graph_svg='<svg id="mine"></svg>')
    )


def test_the_graph_has_a_box_for_each_step_and_an_arrow_for_each_reference():
    steps = [
        StepRow("data", "ingest", "completed"),
        StepRow("model", "train", "failed", after=["data"]),
        StepRow("scores & more", "evaluate", "skipped", after=["model", "data", "elsewhere"]),
    ]
    svg = draw_graph(steps)
    assert svg.count("<rect") == 3
    assert svg.count("<path") == 2 * 3
    assert "scores &amp; more" in svg
    read(svg)


def test_a_subject_that_diverged_is_named_so():
    table = scores()
    table.loc[0, "value"] = np.inf
    assert "<td>diverged</td>" in render(ReportContent("x", evaluations={"s": EvaluationPart(table)}))


def test_mode_fields_take_the_coordinates_of_the_fields_they_were_learned_from():
    example = xr.Dataset(coords={"y": [10.0, 20.0], "x": [1.0, 2.0, 3.0]})
    bare = xr.Dataset({"mode_field": (("mode", "y", "x"), np.zeros((1, 2, 3)))})
    assert placed(bare, [example])["y"].values.tolist() == [10.0, 20.0]
    other = xr.Dataset(coords={"y": [10.0], "x": [1.0, 2.0, 3.0]})
    xr.testing.assert_identical(placed(bare, [other]), bare)


def test_a_study_has_a_table_of_single_scores_one_for_each_metric_by_size_and_a_figure(page):
    single, by_size = study_tables("comparison", study())
    assert [head.label for head in single.columns] == ["iterations", "seconds (s)"]
    assert [[cell.text for cell in row.cells] for row in single.rows] == [["41.2", "0.250"], ["9.50", "–"]]
    assert [head.label for head in by_size.columns] == ["20", "40"]
    assert by_size.title == "Comparison: error ratio"
    assert [cell.text for cell in by_size.rows[1].cells] == ["3.00", "–"]
    html = page.read_text()
    assert 'id="studies"' in html
    assert 'id="comparison-error_ratio"' in html


def test_metrics_at_one_size_stand_in_one_table():
    rows = study()
    (table,) = study_tables("comparison", rows[rows["n"] == 20])
    assert table.title == "Comparison, n = 20"
    assert [head.label for head in table.columns] == ["error ratio"]
