"""Refine what a model predicts, and score it before and after."""

from dataclasses import replace

from koopcast.dynamics import Semilinear
from koopcast.errors import InvalidInput
from koopcast.fields import to_dataset
from koopcast.refinement.base import Equation
from koopcast.refinement.cases import predicted
from koopcast.refinement.comparison import UNITS, compare
from koopcast.stores.arrays import write_fields
from koopcast.stores.files import write_table
from koopcast.studies.base import ALL, Findings
from koopcast.systems.base import EvolvingSpec, SystemSpec
from schemas.stages import GenerateStep, RefineStep, TrainStep
from tasks.study import FINDINGS, TABLES, to_table
from tasks.workspace import Workspace

REFINED, HISTORY = "refined.zarr", f"{TABLES}/history.parquet"


def refine(step: RefineStep, workspace: Workspace) -> None:
    """Write the table of scores, the history of the refinements, and the refined frames."""
    data, model = workspace.data(step.data), workspace.map(step.model)
    prediction = predicted(model, data, step.cases)
    result = compare(prediction, equation(step, workspace), step.methods, training_seconds(step, workspace))
    findings = Findings({m: {s: {ALL: v} for s, v in table.items()} for m, table in result.scores.items()})
    write_table(workspace.path / FINDINGS, to_table(findings, UNITS))
    (workspace.path / TABLES).mkdir()
    write_table(workspace.path / HISTORY, result.history)
    signature = model.signature
    times = data.times().isel(time=slice(signature.frames_in, signature.num_frames))
    like = replace(
        data, info=replace(data.info, variables={n: data.info.variables[n] for n in signature.outputs})
    )
    for name, frames in result.frames.items():
        write_fields(workspace.path / REFINED, to_dataset(frames, like, times), group=name)


def equation(step: RefineStep, workspace: Workspace) -> Equation:
    """Return the equation of the system that made the data.

    Raises:
        InvalidInput: It is not v' = L v + N(v) on periodic axes.
    """
    made = GenerateStep.model_validate(workspace.artefact(step.system).manifest.spec)
    system: SystemSpec = made.system
    info = system.describe()
    problem = system.problem() if isinstance(system, EvolvingSpec) else None
    if not isinstance(problem, Semilinear) or not all(axis.periodic for axis in info.axes):
        raise InvalidInput(
            f"'{system.kind}' is not v' = L v + N(v) on periodic axes, and its residual is not known",
            "refine navier_stokes, burgers, kdv or kuramoto_sivashinsky",
        )
    assert isinstance(system, EvolvingSpec)
    return Equation(problem, info.axes, made.record_step(system))


def training_seconds(step: RefineStep, workspace: Workspace) -> float:
    """Return the wall-clock time of the model's training."""
    manifest = workspace.artefact(step.model).manifest
    return manifest.timings["total"] / TrainStep.model_validate(manifest.spec).repeats
