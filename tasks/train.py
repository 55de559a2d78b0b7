"""Learn a model from a dataset."""

import pandas as pd

from koopcast.fields import FieldData
from koopcast.models import FittedModelSpec, Model, NetworkModelSpec
from koopcast.stores.arrays import write_fields
from koopcast.stores.files import info_to_json, write_json, write_table, write_tensors
from koopcast.training import TrainingSpec
from koopcast.training import train as train_network
from schemas.stages import TrainStep
from tasks.workspace import MODEL_CARD, MODEL_TENSORS, Workspace

DIAGNOSTICS, TRAINING = "diagnostics.zarr", "training.parquet"


def train(step: TrainStep, workspace: Workspace) -> None:
    """Fit or train the model, and write its tensors, its card and what can be drawn of it."""
    data = workspace.data(step.data)
    if isinstance(step.model, FittedModelSpec):
        model: Model = step.model.fit(data.part_or_all("train"), workspace.generator("fit"), step.subset)
    else:
        model, history = _by_gradient(step.model, step, data, workspace)
        # Wall-clock times differ from run to run, and equal results have equal bytes.
        write_table(workspace.path / TRAINING, history.drop(columns="seconds"))
    write_tensors(workspace.path / MODEL_TENSORS, model.tensors())
    card = {
        "spec": step.model.model_dump(mode="json"),
        "info": info_to_json(model.info),
        "card": model.card(),
    }
    write_json(workspace.path / MODEL_CARD, card)
    diagnostics = model.diagnostics()
    if diagnostics:
        write_fields(workspace.path / DIAGNOSTICS, diagnostics)


def _by_gradient(
    spec: NetworkModelSpec, step: TrainStep, data: FieldData, workspace: Workspace
) -> tuple[Model, pd.DataFrame]:
    result = train_network(
        spec,
        step.training or TrainingSpec(),
        data,
        seed=workspace.job.seed,
        device=workspace.device,
        scratch=workspace.slot.scratch,
        subset=step.subset,
    )
    return result.model, result.history
