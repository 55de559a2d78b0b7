"""What a report is made of; every part may be left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd
import xarray as xr

from koopcast.grids import TimeAxis
from koopcast.report.style import Picture


@dataclass(frozen=True)
class KeyFigure:
    """One number of the header."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class StepRow:
    """One step of the run."""

    name: str
    task: str
    state: str
    """`completed`, `cached`, `failed`, `skipped`."""
    seconds: float | int | None = None
    """Of the computation, now or when the result was first made."""
    key: str = ""
    summary: str = ""
    """What it made, in a few words."""
    after: Sequence[str] = ()
    """Steps that it reads; draws the graph where `graph_svg` is not given."""


@dataclass(frozen=True)
class ExpectationRow:
    """A condition on the scores."""

    text: str
    holds: bool
    value: str
    """The numbers behind it: `0.487 <= 0.761`."""


@dataclass(frozen=True)
class EvaluationPart:
    """What an evaluate step found; see `koopcast.verification.Evaluation`."""

    table: pd.DataFrame
    curves: xr.Dataset = field(default_factory=xr.Dataset)
    examples: Mapping[str, xr.Dataset] = field(default_factory=dict)
    eigenfunctions: Mapping[str, xr.Dataset] = field(default_factory=dict)
    """Model -> `eigenfunction (sample, time, mode)` with `eigenvalue` and `data_residual`; may be lazy."""
    time: TimeAxis | None = None
    """Gives leads their unit."""


@dataclass(frozen=True)
class ModelPart:
    """A model: its card, and what can be drawn of it."""

    card: Mapping[str, float | int | str] = field(default_factory=dict)
    diagnostics: xr.Dataset = field(default_factory=xr.Dataset)
    """`eigenvalue_real`, `eigenvalue_imag`, `mode_field`; see `Model.diagnostics`."""
    training: pd.DataFrame | None = None
    """`epoch`, `train_loss`, `valid_loss`."""
    time: TimeAxis | None = None


@dataclass(frozen=True)
class DataPart:
    """A dataset: what it holds, in numbers, and a few of its fields."""

    facts: Mapping[str, float | int | str] = field(default_factory=dict)
    example: xr.Dataset = field(default_factory=xr.Dataset)
    """Variables with dims `([sample,] [time,] *space)`: few samples and times."""


@dataclass(frozen=True)
class CyclePart:
    """A chain of analyses: its table of cycles, and levels to compare its error with."""

    cycles: pd.DataFrame
    references: Mapping[str, float | int] = field(default_factory=dict)
    """Label -> error: a free run, the climatology, a static fit. Default: other subjects of the scores."""
    units: str = "1"
    departures: pd.DataFrame | None = None
    """Columns `type`, `flag`, `count` and statistics; see `koopcast.assimilation.diagnostics`."""


@dataclass(frozen=True)
class SweepPart:
    """What a sweep made of a step with scores."""

    optima: pd.DataFrame
    """One row a subject: the axes, `score`, `mean`, `half_width`, `seeds`, `lost`; see `koopcast.tuning`."""
    points: pd.DataFrame
    """One row a point: the axes, `seed`, `state`, `message`, `key`, and each score."""
    options: str = ""
    """The best options as YAML."""


@dataclass(frozen=True)
class ReportContent:
    """A run, as its report shows it."""

    name: str
    state: Literal["completed", "failed", "expectations not held"] = "completed"
    summary: str = ""
    """One sentence on what the run shows: the comment of the YAML file's first line."""
    run: str = ""
    """Identity of the run."""
    finished: str = ""
    seconds: float | int | None = None
    expectations: Sequence[ExpectationRow] = ()
    steps: Sequence[StepRow] = ()
    graph_svg: str | None = None
    """A trusted drawing of the graph; default: drawn from `steps`."""
    evaluations: Mapping[str, EvaluationPart] = field(default_factory=dict)
    datasets: Mapping[str, DataPart] = field(default_factory=dict)
    studies: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """Columns `metric`, `subject`, `n` (missing where there is one score alone), `value`, `units`."""
    refinements: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """Histories: columns `method`, `case`, `iteration`, and what was lowered; see `koopcast.refinement`."""
    sweeps: Mapping[str, SweepPart] = field(default_factory=dict)
    models: Mapping[str, ModelPart] = field(default_factory=dict)
    chains: Mapping[str, CyclePart] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    attributions: Sequence[str] = ()
    """Owners and licences of the data."""
    versions: Mapping[str, str] = field(default_factory=dict)
    hardware: str = ""
    yaml: str = ""
    """The resolved pipeline."""
    reproduce: Sequence[str] = ()
    """Commands that make the run again."""


@dataclass(frozen=True)
class Table:
    """A table of a page about a cycle."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A part of a page about a cycle."""

    title: str
    anchor: str
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()


@dataclass(frozen=True)
class CyclePage:
    """A page about a cycle."""

    name: str
    title: str
    summary: str
    moment: str
    """As of when."""
    state: Literal["well", "behind", "look", "damaged"]
    key_figures: Sequence[KeyFigure]
    sections: Sequence[Section]
    alarms: Sequence[str] = ()
    """What a person has to see first."""
    notes: Sequence[str] = ()
    refresh_seconds: int | None = None
    """How often a browser reads it again."""
