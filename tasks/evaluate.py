"""Score models and analyses beside baselines."""

from koopcast.dynamics import Dynamics
from koopcast.fields import FieldData
from koopcast.stores.arrays import open_fields, write_fields
from koopcast.stores.files import open_data, read_json, write_table
from koopcast.verification import AnalysisFields
from koopcast.verification import evaluate as verify
from schemas.references import Ref
from schemas.stages import EvaluateStep
from tasks.assimilate import ANALYSIS, OBSERVATIONS, SETTINGS
from tasks.workspace import Workspace

SCORES, CURVES, EXAMPLES = "scores.parquet", "curves.zarr", "examples.zarr"


def evaluate(step: EvaluateStep, workspace: Workspace) -> None:
    """Write the table of scores, the curves behind them, and a few fields to look at."""
    assert step.data is not None
    subjects: dict[str, Dynamics | AnalysisFields] = {
        ref.label: workspace.dynamics(ref) if workspace.is_model(ref) else analysis_fields(ref, workspace)
        for ref in step.of
    }
    data = workspace.data(step.data)
    result = verify(subjects, data, step.against, step.leads, step.metrics, device=workspace.device)
    write_table(workspace.path / SCORES, result.table)
    if result.curves:
        write_fields(workspace.path / CURVES, result.curves)
    for subject, fields in result.examples.items():
        write_fields(workspace.path / EXAMPLES, fields, group=subject)


def analysis_fields(ref: Ref[object], workspace: Workspace) -> AnalysisFields:
    """Return the analyses behind a reference beside the truth that they were drawn to."""
    artefact = workspace.artefact(ref)
    settings = read_json(artefact.file(SETTINGS))
    return AnalysisFields(
        analysis=open_fields(artefact.file(ANALYSIS), group="analysis"),
        background=open_fields(artefact.file(ANALYSIS), group="background"),
        observations=open_fields(artefact.file(OBSERVATIONS)),
        burn_in=settings["burn_in"],
        truth=_truth(artefact.manifest.inputs[settings["data"]], settings["part"], workspace),
    )


def _truth(key: str, part: str | None, workspace: Workspace) -> FieldData:
    found = workspace.store.find("dataset", key)
    assert found is not None
    data = open_data(found.path)
    return data.part(part) if part else data
