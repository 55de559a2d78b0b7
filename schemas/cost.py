"""What a step will take: bytes on disk, bytes in memory, and work, which a measured rate turns into
seconds.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass

from koopcast.batches import BUFFER_BYTES
from koopcast.generation.trajectories import STAGE_BYTES
from koopcast.grids import FieldsInfo
from koopcast.systems.base import DrawnSpec, StationarySpec, SystemSpec
from koopcast.training_spec import TrainingSpec
from schemas.references import Model
from schemas.stages import (
    AssimilateStep,
    Contract,
    EvaluateStep,
    GenerateStep,
    IngestStep,
    InvertStep,
    LearnPriorStep,
    RefineStep,
    Step,
    StudyStep,
    TrainStep,
)
from schemas.stages.base import Inputs

SINGLE, DOUBLE = 4, 8
STREAMED = 256 * 2**20
"""Bytes that a step which streams its fields holds of them at once."""
TABLES = 2**20
"""Bytes allowed for the tables of a study."""
METADATA, ENTRY = 15_000, 140
"""Bytes of descriptions beside the fields, and of what a manifest says of a file."""
ASSEMBLED, FACTORS = 16, 200
"""Numbers of an assembled system, and of the factors of one, for each number of a sample."""
STAGES_OF_STEP, STAGED = 40, 8
"""Copies of a state that a step works with, and of the records that are checked together."""
MARK = 32 * 2**20
"""Bytes that Dask, zarr and marks take."""


@dataclass(frozen=True)
class Cost:
    """A prediction for one step.

    `work` counts updates of one grid cell (for training: forward and backward passes over one; for a study:
    1, the whole of it); `rate` names the measured rate, in updates a second, that turns it into time.
    """

    disk: int
    memory: int
    work: float
    rate: str

    def seconds(self, rates: Mapping[str, float]) -> float | None:
        """Return the time at measured rates; None where this kind of work has not been measured."""
        measured = rates.get(self.rate, 0.0)
        return self.work / measured if measured > 0 else None


def predict(step: Step, inputs: Inputs, outline: Contract, workers: int = 2) -> Cost:
    """Return what a step will take, from shapes alone; `workers` make blocks of samples side by side."""
    match step:
        case IngestStep():
            size = num_values(outline.fields)
            return Cost(size * SINGLE, min(3 * size * DOUBLE, STREAMED), size, f"ingest:{step.source.kind}")
        case GenerateStep():
            return _generate(step, outline.fields, workers)
        case TrainStep():
            return _train(step, inputs)
        case AssimilateStep():
            return _assimilate(step, inputs)
        case EvaluateStep():
            return _evaluate(step, inputs)
        case InvertStep():
            return _invert(step, inputs)
        case LearnPriorStep():
            return _learn_prior(step, inputs)
        case RefineStep():
            return _refine(step, inputs)
        case StudyStep():
            return Cost(TABLES, STREAMED, 1.0, f"study:{step.study.kind}")
        case _:
            return Cost(0, 0, 0.0, step.__class__.__name__)


def num_values(fields: FieldsInfo) -> int:
    """Return the number of values in fields: samples, times, cells and channels."""
    return fields.samples * fields.time.size * state_size(fields)


def state_size(fields: FieldsInfo) -> int:
    """Return the number of values in one record."""
    return fields.num_cells * fields.num_channels


def physical_memory() -> int | None:
    """Return the bytes of memory of this machine; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def human(size: float) -> str:
    """Return a number of bytes as people write it."""
    power = min(4, max(0, int(math.log(size, 1024)))) if size >= 1 else 0
    return f"{size / 1024**power:.3g} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


def _generate(step: GenerateStep, fields: FieldsInfo, workers: int) -> Cost:
    sizes, computed = step.sizes(), step.computed()
    at_once = min(workers, sizes.num_blocks)
    figures = fields.samples * (len(step.parameters) + _num_figures(step.system)) * DOUBLE
    coordinates = DOUBLE * sum(fields.shape) + (0 if fields.is_stationary else DOUBLE * fields.time.size)
    disk = sizes.stored + figures + coordinates + METADATA + ENTRY * sizes.num_chunks
    state = sizes.block * state_size(computed) * DOUBLE
    if fields.is_stationary:
        # Systems of a block are assembled before the first is solved.
        working, updates = ASSEMBLED * state + FACTORS * state // sizes.block, num_values(computed)
    else:
        working = STAGES_OF_STEP * state + STAGED * STAGE_BYTES
        updates = fields.samples * (step.steps + step.burn_in) * step.record_every * state_size(computed)
    # Channels lie side by side in memory and apart on disk: writing copies.
    memory = at_once * (2 * sizes.buffered + working) + figures + MARK
    return Cost(disk, memory, updates, f"generate:{step.system.kind}")


def _num_figures(system: SystemSpec) -> int:
    """Return how many numbers are kept of each sample: residual, iterations and applications, or a defect."""
    if isinstance(system, DrawnSpec):
        return 0
    return 3 if isinstance(system, StationarySpec) else 1


def _train(step: TrainStep, inputs: Inputs) -> Cost:
    fields = inputs[str(step.data)].part("train").fields
    state, size = state_size(fields), num_values(fields)
    # A choice of runs looks at every frame once, block by block.
    chosen, looked_at = size, 0
    if step.subset is not None:
        chosen, looked_at = min(size, step.subset.count * state), size
    held = min(looked_at * SINGLE, BUFFER_BYTES)
    rate = f"train:{step.model.kind}"
    if step.model.is_trained_by_gradient:
        epochs = (step.training or TrainingSpec()).epochs
        return Cost(state * 2**10 * SINGLE, 3 * chosen * SINGLE + held, chosen * epochs + looked_at, rate)
    history = step.model.num_history()
    memory = 3 * chosen * history * DOUBLE + held
    return Cost(state * 2**5 * DOUBLE, memory, chosen * history + looked_at, rate)


def _learn_prior(step: LearnPriorStep, inputs: Inputs) -> Cost:
    size = num_values(inputs[str(step.data)].part("train").fields)
    # The fields in double precision while they are normalised, and as the network takes them.
    return Cost(TABLES, size * (DOUBLE + 2 * SINGLE), size, f"learn_prior:{step.prior.kind}")


def _assimilate(step: AssimilateStep, inputs: Inputs) -> Cost:
    fields = inputs[str(step.data)].fields
    records = min(step.cycles or fields.time.size, fields.time.size)
    members, experiments = step.method.num_members(), fields.samples * step.repeats
    kept = members if step.keep == "members" else 1
    state = state_size(fields) * inputs[str(step.model)].history
    disk = experiments * records * state_size(fields) * SINGLE * (2 * kept + 1)
    memory = disk + 6 * experiments * members * state * DOUBLE
    return Cost(disk, memory, experiments * records * members * state, f"assimilate:{step.method.kind}")


def _invert(step: InvertStep, inputs: Inputs) -> Cost:
    experiment = step.experiment
    runs = experiment.samples * len(experiment.snr_db) * len(experiment.methods)
    cells = inputs[str(step.data)].fields.num_cells
    return Cost(3 * runs * cells * SINGLE + TABLES, STREAMED, runs * cells, "invert")


def _refine(step: RefineStep, inputs: Inputs) -> Cost:
    data = inputs[str(step.data)].part(step.data.part).fields
    size = min(step.cases or data.samples, data.samples) * data.time.size * state_size(data)
    memory = STREAMED + 8 * size * DOUBLE
    return Cost(len(step.methods) * size * DOUBLE + TABLES, memory, len(step.methods) * size, "refine")


def _evaluate(step: EvaluateStep, inputs: Inputs) -> Cost:
    truth = inputs[str(step.data)].fields if step.data is not None else inputs[str(step.of[0])].fields
    forecasts = sum(inputs[str(ref)].kind is Model for ref in step.of) + len(step.against)
    work = num_values(truth) * (max(step.leads) * forecasts + len(step.of)) * len(step.metrics)
    return Cost(
        STREAMED // 64, min(4 * num_values(truth) * len(step.leads) * DOUBLE, 4 * STREAMED), work, "evaluate"
    )
