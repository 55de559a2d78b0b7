"""Pages whose every text was written by somebody who means harm: all of it is shown, none of it is markup."""

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from koopcast.grids import TimeAxis
from koopcast.report import (
    CyclePage,
    CyclePart,
    DataPart,
    EvaluationPart,
    ExpectationRow,
    KeyFigure,
    ModelPart,
    Picture,
    ReportContent,
    Section,
    StepRow,
    Table,
    render_cycle,
    write,
)
from koopcast.verification.table import COLUMNS

ATTACKS = (
    '"onload="alert(1)',
    "</style></title></text></svg><script>alert(1)</script>",
    "$\\frac{$ {{ 7 * 7 }} javascript:alert(1)",
    "../../../../evil",
    "'><img src=x onerror=alert(1)>",
    "]]><script>alert(1)</script><!--",
    "&lt;b&gt;",
)
DRAWN = ATTACKS[:4]
"""With those a whole report is drawn."""
ELEMENTS = {
    "html", "head", "meta", "title", "style", "body", "div", "strong", "span", "nav", "a", "main",
    "header", "h1", "h2", "h3", "p", "dl", "dt", "dd", "ul", "li", "code", "section", "table", "thead",
    "tr", "th", "td", "small", "tbody", "footer", "figure", "figcaption", "details", "summary", "pre",
    "svg", "g", "path", "rect", "text", "defs", "use", "clippath", "image", "tspan", "lineargradient",
    "stop", "desc", "marker", "line", "circle",
}  # fmt: skip


class Inspector(HTMLParser):
    """Notes what a browser would run, fetch or follow."""

    def __init__(self) -> None:
        super().__init__()
        self.offences: list[str] = []
        self.texts: list[str] = []
        self.styles = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.styles += tag == "style"
        if tag not in ELEMENTS:
            self.offences.append(f"<{tag}>")
        for name, value in attrs:
            if name.startswith("on") or name in ("formaction", "srcdoc", "action"):
                self.offences.append(f"{tag} {name}={value}")
            is_address = name in ("href", "src", "xlink:href")
            if is_address and not (value or "").startswith(("#", "data:image/png;base64,")):
                self.offences.append(f"{tag} {name}={value}")
            self.texts.append(value or "")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def inspect(html: str) -> Inspector:
    inspector = Inspector()
    inspector.feed(html)
    inspector.close()
    return inspector


def run_of(name: str) -> ReportContent:
    """Return a run in which every text is `name`."""
    row = ("rmse", name, "forecast", "forecast", name, 1, 0.588, name, "lower", 0.0, 12)
    base = ("rmse", f"{name}2", "baseline", "forecast", name, 1, 0.9, name, "lower", 0.0, 12)
    table = pd.DataFrame([row, base], columns=list(COLUMNS)).astype({"lead": "Int64"})
    values = np.random.default_rng(0).normal(size=(2, 1, 1, 4, 12)).astype("f4")
    fields = xr.Dataset(
        {name: (("source", "time", "lead", "y", "x"), values, {"units": name, "long_name": name})},
        coords={"source": ["truth", "forecast"], "lead": [1], "time": [3.0]},
    )
    sample = fields.isel(source=0, lead=0, drop=True).expand_dims("sample")
    columns = ["metric", "subject", "n", "value", "units"]
    study = pd.DataFrame([(name, name, None, 2.0, name)], columns=columns).astype({"n": "Int64"})
    training = pd.DataFrame({"epoch": [0, 1], "train_loss": [1.0, 0.5], "valid_loss": [1.0, 0.6]})
    cycles = pd.DataFrame({"time": range(5), "rmse": 0.5})
    return ReportContent(
        name=name,
        summary=name,
        run=name,
        finished=name,
        seconds=1.0,
        hardware=name,
        yaml=name,
        reproduce=[name],
        expectations=[ExpectationRow(name, True, name)],
        steps=[
            StepRow(name, name, name, 1.0, name, name),
            StepRow(f"{name}2", name, "failed", 1.0, after=[name]),
        ],
        evaluations={name: EvaluationPart(table, examples={name: fields}, time=TimeAxis(9, 1.0, name))},
        datasets={name: DataPart({name: name}, sample)},
        studies={name: study},
        models={name: ModelPart({name: name}, training=training)},
        chains={name: CyclePart(cycles, {name: 1.0}, name)},
        warnings=[name],
        attributions=[name],
        versions={name: name},
    )


@pytest.mark.parametrize("attack", DRAWN)
def test_a_report_shows_hostile_texts_as_texts(tmp_path: Path, attack: str) -> None:
    page = write(run_of(attack), tmp_path / "report")
    found = inspect(page.read_text(encoding="utf-8"))
    assert found.offences == []
    assert found.styles == 1
    assert sum(attack in text for text in found.texts) > 10
    drawn = list((tmp_path / "report" / "figures").iterdir())
    assert len(drawn) > 2
    assert sorted(tmp_path.rglob("*.svg")) == sorted(drawn)
    for picture in drawn:
        assert inspect(picture.read_text(encoding="utf-8")).offences == []


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_page_of_a_cycle_shows_hostile_texts_as_texts(attack: str) -> None:
    picture = Picture(
        attack, attack, attack, attack, '<svg xmlns="http://www.w3.org/2000/svg"><g id="a"/></svg>'
    )
    section = Section(attack, "forecasts", [picture], [Table([attack, attack], [[attack, attack]], attack)])
    html = render_cycle(
        CyclePage(
            attack, attack, attack, attack, "look", [KeyFigure(attack, attack, attack)], [section],
            [attack], [attack],
        )
    )  # fmt: skip
    found = inspect(html)
    assert found.offences == []
    assert found.styles == 1
    assert sum(attack in text for text in found.texts) > 8


def test_pictures_whose_names_differ_in_odd_letters_have_names_of_their_own() -> None:
    names = {Picture(name, "", "", "", "").name for name in ("a/b", "a b", "../a", "a-b")}
    assert len(names) == 4
    assert all("/" not in name and "." not in name for name in names)
    assert "a-b" in names
