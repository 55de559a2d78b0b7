"""The report of a run: one self-contained page, and its figures as files."""

from koopcast.report.clock import Clock
from koopcast.report.content import (
    CyclePart,
    CycleStatus,
    DataPart,
    EvaluationPart,
    ExpectationRow,
    KeyFigure,
    ModelPart,
    ReportContent,
    StepRow,
    SweepPart,
)
from koopcast.report.gallery import Gallery, gallery
from koopcast.report.graph import draw_graph
from koopcast.report.page import render, render_status, write
from koopcast.report.style import Picture

__all__ = [
    "Clock",
    "CyclePart",
    "CycleStatus",
    "DataPart",
    "EvaluationPart",
    "ExpectationRow",
    "Gallery",
    "KeyFigure",
    "ModelPart",
    "Picture",
    "ReportContent",
    "StepRow",
    "SweepPart",
    "draw_graph",
    "gallery",
    "render",
    "render_status",
    "write",
]
