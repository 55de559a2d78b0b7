"""The report of a run: one self-contained page, and its figures as files."""

from koopcast.report.clock import Clock
from koopcast.report.content import (
    CyclePart,
    DataPart,
    EvaluationPart,
    ExpectationRow,
    ModelPart,
    ReportContent,
    StepRow,
    SweepPart,
)
from koopcast.report.gallery import Gallery, gallery
from koopcast.report.graph import draw_graph
from koopcast.report.page import render, write
from koopcast.report.style import Picture

__all__ = [
    "Clock",
    "CyclePart",
    "DataPart",
    "EvaluationPart",
    "ExpectationRow",
    "Gallery",
    "ModelPart",
    "Picture",
    "ReportContent",
    "StepRow",
    "SweepPart",
    "draw_graph",
    "gallery",
    "render",
    "write",
]
