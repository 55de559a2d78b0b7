"""The report of a run: one self-contained page, and its figures as files."""

from koopcast.report.clock import Clock
from koopcast.report.content import (
    CyclePage,
    CyclePart,
    DataPart,
    EvaluationPart,
    ExpectationRow,
    KeyFigure,
    ModelPart,
    ReportContent,
    Section,
    StepRow,
    SweepPart,
    Table,
)
from koopcast.report.gallery import Gallery, gallery
from koopcast.report.graph import draw_graph
from koopcast.report.page import render, render_cycle, write
from koopcast.report.style import Picture

__all__ = [
    "Clock",
    "CyclePage",
    "CyclePart",
    "DataPart",
    "EvaluationPart",
    "ExpectationRow",
    "Gallery",
    "KeyFigure",
    "ModelPart",
    "Picture",
    "ReportContent",
    "Section",
    "StepRow",
    "SweepPart",
    "Table",
    "draw_graph",
    "gallery",
    "render",
    "render_cycle",
    "write",
]
