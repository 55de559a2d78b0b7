"""A training that several processes share, started by `torchrun` on this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import torch

from koopcast import distributed, errors
from koopcast.errors import KoopcastError, StepFailed
from koopcast.learned import read_model, write_model
from koopcast.models import NetworkModel, NetworkModelSpec
from koopcast.stores.files import open_data, read_json, read_table, write_json, write_table
from koopcast.training import TrainedResult, TrainingSpec, TrainingTask, train_task
from schemas.stages import TrainStep
from tasks.threads import compute_with
from tasks.workspace import Workspace

ORDER, FAULT, RESULT, HISTORY = "order.json", "fault.json", "result", "history.parquet"
TAIL = 2000
"""Characters of the processes' own output that an error shows."""


def train_in_processes(step: TrainStep, workspace: Workspace, seed: int, scratch: Path) -> TrainedResult:
    """Return what `train_task` returns, computed by `training.processes` processes.

    Raises:
        KoopcastError: What one of them raised.
        StepFailed: One of them ended without a word.
    """
    assert step.training is not None
    scratch.mkdir(parents=True, exist_ok=True)
    (scratch / FAULT).unlink(missing_ok=True)
    processes = step.training.processes
    order = {
        "step": step.model_dump(mode="json"),
        "data": str(workspace.artefact(step.data).path),
        "part": step.data.part,
        "seed": seed,
        "device": workspace.device.type,
        "threads": max(1, workspace.job.threads // processes),
        "scratch": str(scratch),
    }
    write_json(scratch / ORDER, order)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, f"--nproc-per-node={processes}", "-m", "tasks.training_processes"]
    ended = subprocess.run([*command, str(scratch / ORDER)], capture_output=True, text=True, check=False)
    if (scratch / FAULT).is_file():
        fault = read_json(scratch / FAULT)
        raise getattr(errors, fault["kind"])(fault["message"], fault["remedy"])
    if ended.returncode != 0:
        raise StepFailed(f"a process of the training failed: {ended.stderr[-TAIL:]}", "see the lines above")
    model = read_model(scratch / RESULT)
    assert isinstance(model, NetworkModel)
    return TrainedResult(model, read_table(scratch / HISTORY))


def work(order_file: Path) -> None:
    """Train as one of the processes; the first one writes the result."""
    order = json.loads(order_file.read_text(encoding="utf-8"))
    scratch = Path(order["scratch"])
    compute_with(order["threads"])
    step = TrainStep.model_validate(order["step"])
    data = open_data(Path(order["data"]))
    spec = step.model
    assert isinstance(spec, NetworkModelSpec)
    task = TrainingTask(
        spec,
        step.training or TrainingSpec(),
        data.part(order["part"]) if order["part"] else data,
        step.mapping,
        step.subset,
    )
    device = torch.device(order["device"])
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    try:
        with distributed.group(device) as share:
            result = train_task(task, seed=order["seed"], device=device, scratch=scratch / "checkpoints")
            if share.rank == 0:
                _write(scratch, step, result.model, result.history)
    except KoopcastError as error:
        fault = {"kind": type(error).__name__, "message": error.message, "remedy": error.remedy}
        write_json(scratch / FAULT, fault)
        raise


def _write(scratch: Path, step: TrainStep, model: NetworkModel, history: pd.DataFrame) -> None:
    (scratch / RESULT).mkdir(exist_ok=True)
    write_model(scratch / RESULT, step.model, model, step.mapping, "")
    write_table(scratch / HISTORY, history)


if __name__ == "__main__":
    work(Path(sys.argv[1]))
