"""Learn a model from a dataset."""

from pathlib import Path

from koopcast.fields import FieldData
from koopcast.fitting import fit
from koopcast.learned import write_model
from koopcast.models import FittedModelSpec, Learned, ModelSpec, NetworkModelSpec
from koopcast.rng import derived_seed, torch_generator
from koopcast.stores.arrays import write_fields
from koopcast.stores.files import write_table
from koopcast.training import TrainingSpec, TrainingTask, train_task
from schemas.stages import TrainStep
from tasks.training_processes import train_in_processes
from tasks.workspace import Workspace, repeat_folder

DIAGNOSTICS, TRAINING = "diagnostics.zarr", "training.parquet"


def train(step: TrainStep, workspace: Workspace) -> None:
    """Fit or train the model, as often as is asked for; write tensors, card and what can be drawn of it."""
    data = workspace.data(step.data)
    key = workspace.job.inputs[str(step.data)].key
    for repeat in range(step.repeats):
        folder = repeat_folder(workspace.path, repeat)
        folder.mkdir(exist_ok=True)
        model = _learned(step, data, workspace, repeat, folder)
        write_model(folder, step.model, model, step.mapping, key)
        diagnostics = model.diagnostics()
        if diagnostics:
            write_fields(folder / DIAGNOSTICS, diagnostics)


def _learned(step: TrainStep, data: FieldData, workspace: Workspace, repeat: int, folder: Path) -> Learned:
    spec: ModelSpec = step.model
    seed = workspace.job.seed if repeat == 0 else derived_seed(workspace.job.seed, "repeat", repeat)
    if isinstance(spec, FittedModelSpec):
        return spec.fit(data.part_or_all("train"), torch_generator(seed, "fit"), step.subset)
    assert isinstance(spec, NetworkModelSpec)
    task = TrainingTask(spec, step.training or TrainingSpec(), data, step.mapping, step.subset)
    if not spec.is_trained_by_gradient:
        return fit(task, seed=seed)
    scratch = workspace.slot.scratch / f"repeat-{repeat}"
    if task.training.processes > 1:
        result = train_in_processes(step, workspace, seed, scratch)
    else:
        result = train_task(task, seed=seed, device=workspace.device, scratch=scratch)
    # Wall-clock times differ from run to run, and equal results have equal bytes.
    write_table(folder / TRAINING, result.history.drop(columns=["seconds", "waiting"]))
    return result.model
