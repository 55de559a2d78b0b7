"""Score models and analyses beside baselines."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from koopcast.assimilation.diagnostics import consistency
from koopcast.baselines import BaselineSpec
from koopcast.dynamics import Dynamics
from koopcast.errors import InvalidInput
from koopcast.fields import FieldData
from koopcast.models import MapModel
from koopcast.stores.arrays import open_fields, write_fields
from koopcast.stores.files import open_data, read_json, read_table, write_table
from koopcast.verification import AnalysisFields, Evaluation, eigenfunctions, evaluate_maps
from koopcast.verification import evaluate as verify
from schemas.references import Dataset, Ref
from schemas.stages import EvaluateStep
from tasks.assimilate import ANALYSIS, DEPARTURES, OBSERVATIONS, SETTINGS
from tasks.workspace import Workspace

SCORES, CURVES, EXAMPLES = "scores.parquet", "curves.zarr", "examples.zarr"
EIGENFUNCTIONS = "eigenfunctions.zarr"


def evaluate(step: EvaluateStep, workspace: Workspace) -> None:
    """Write the table of scores, the curves behind them, and a few fields to look at."""
    assert step.data is not None
    models = {ref.label: workspace.models(ref) for ref in step.of if workspace.is_model(ref)}
    chains = {ref.label: analysis_fields(ref, workspace) for ref in step.of if not workspace.is_model(ref)}
    first = {name: found[0] for name, found in models.items()}
    result = _scored(step, {**first, **chains}, workspace.data(step.data), workspace)
    tables = [result.table, *_repeated(step, models, step.data, workspace, is_first_known=True)]
    for name, ref in step.beside.items():
        tables += [_renamed(table, name) for table in _repeated(step, models, ref, workspace)]
    write_table(workspace.path / SCORES, averaged(tables))
    if result.curves:
        write_fields(workspace.path / CURVES, result.curves)
    for subject, fields in result.examples.items():
        write_fields(workspace.path / EXAMPLES, fields, group=subject)
    if step.eigenfunctions:
        _write_eigenfunctions(first, workspace.data(step.data), workspace)


def _write_eigenfunctions(
    models: Mapping[str, Dynamics | MapModel], data: FieldData, workspace: Workspace
) -> None:
    """Write a group a model that has eigenfunctions.

    Raises:
        InvalidInput: None has.
    """
    steps = {name: model for name, model in models.items() if isinstance(model, Dynamics)}
    found = {name: eigenfunctions(model, data, workspace.device) for name, model in steps.items()}
    kept = {name: values for name, values in found.items() if values is not None}
    if not kept:
        raise InvalidInput(
            f"eigenfunctions: {', '.join(steps)} step in time without a linear map of latent states",
            "score a Koopman model too, or remove `eigenfunctions`",
        )
    for name, values in kept.items():
        write_fields(workspace.path / EIGENFUNCTIONS, values, group=name)


def _scored(
    step: EvaluateStep,
    subjects: Mapping[str, Dynamics | MapModel | AnalysisFields],
    data: FieldData,
    workspace: Workspace,
    baselines: Sequence[BaselineSpec] | None = None,
) -> Evaluation:
    """Return the scores of subjects of one sort: maps, or forecasts and analyses."""
    maps = {name: subject for name, subject in subjects.items() if isinstance(subject, MapModel)}
    if maps:
        return evaluate_maps(maps, data, step.metrics, device=workspace.device)
    others = {name: subject for name, subject in subjects.items() if not isinstance(subject, MapModel)}
    against = step.against if baselines is None else baselines
    return verify(
        others, data, against, step.leads, step.metrics, device=workspace.device, sectors=step.sectors
    )


def _repeated(
    step: EvaluateStep,
    models: Mapping[str, Sequence[Dynamics | MapModel]],
    ref: Ref[Dataset],
    workspace: Workspace,
    *,
    is_first_known: bool = False,
) -> Iterator[pd.DataFrame]:
    """Yield the scores of each round of trainings on a dataset, without baselines."""
    data = workspace.data(ref)
    rounds = max((len(found) for found in models.values()), default=0)
    for number in range(1 if is_first_known else 0, rounds):
        subjects = {name: found[number] for name, found in models.items() if number < len(found)}
        yield _scored(step, subjects, data, workspace, baselines=()).table


def _renamed(table: pd.DataFrame, name: str) -> pd.DataFrame:
    return table.assign(subject=table["subject"] + f".{name}")


def averaged(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return one row a score: the mean over the trainings of a subject, its standard deviation as `std`."""
    rows = pd.concat(tables, ignore_index=True)
    names = [name for name in rows.columns if name not in ("value", "cases")]
    groups = rows.groupby(names, sort=False, dropna=False)
    return groups.agg(value=("value", "mean"), std=("value", "std"), cases=("cases", "first")).reset_index()


def analysis_fields(ref: Ref[object], workspace: Workspace) -> AnalysisFields:
    """Return the analyses behind a reference beside the truth that they were drawn to."""
    artefact = workspace.artefact(ref)
    settings = read_json(artefact.file(SETTINGS))
    return AnalysisFields(
        analysis=open_fields(artefact.file(ANALYSIS), group="analysis"),
        background=open_fields(artefact.file(ANALYSIS), group="background"),
        observations=open_fields(artefact.file(OBSERVATIONS)) if settings.get("records") != "all" else None,
        burn_in=settings["burn_in"],
        truth=_truth(artefact.manifest.inputs[settings["data"]], settings["part"], workspace),
        card=consistency(read_table(artefact.file(DEPARTURES))),
    )


def _truth(key: str, part: str | None, workspace: Workspace) -> FieldData:
    data = open_data(workspace.store.get("dataset", key).path)
    return data.part(part) if part else data
