"""The steps of a pipeline: each composes options of the science with references to other steps."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, NonNegativeInt, PositiveInt

from koopcast.assimilation import AnyAnalysis, AnyInitial
from koopcast.assimilation.cycle import ModelNoise
from koopcast.baselines import AnyBaseline
from koopcast.ingest import Split
from koopcast.integrators import AnyIntegrator
from koopcast.koopman import AnyKoopman
from koopcast.metrics import AnyMetric
from koopcast.observations import AnyObservations
from koopcast.operators import AnyOperator
from koopcast.sources import AnySource
from koopcast.spec import Family, Spec
from koopcast.systems import AnySystem
from koopcast.training import TrainingSpec
from schemas.references import Analysis, Dataset, Model, Ref

AnyModel: TypeAlias = Annotated[AnyKoopman | AnyOperator, Family("models")]


class Step(Spec):
    """What every step has."""

    retries: NonNegativeInt = 0
    """How often to try again after a failure of the machine (never after invalid input)."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""


class IngestStep(Step):
    """Read real files into a dataset: units, mask, calendar and parts checked."""

    task: Literal["ingest"] = "ingest"
    source: AnySource
    variables: list[str] = Field(min_length=1)
    """Names in the file; each becomes a channel."""
    units: dict[str, str] = {}
    """Convert these variables to these units (CF table)."""
    mask: Literal["auto", "none"] = "auto"
    """`auto`: cells that are NaN at every time are masked for ever, others per time; `none`: NaN is an error."""
    select: dict[str, tuple[float | str, float | str]] = {}
    """Keep the closed range of a coordinate: `{latitude: [-10, 10]}`."""
    split: Split | None = None


class GenerateStep(Step):
    """Integrate a system from drawn initial states. Parts: those of the split, and `system` (the true model)."""

    task: Literal["generate"] = "generate"
    system: AnySystem
    integrator: AnyIntegrator | None = None
    """Default: what suits the system."""
    samples: PositiveInt = 1
    steps: PositiveInt = 1000
    """Records kept of each sample."""
    dt: Annotated[float, Field(gt=0)] | None = None
    """Integration step in the system's time unit; default: accurate for the system's own parameters."""
    record_every: PositiveInt = 1
    """Integration steps between two records."""
    burn_in: NonNegativeInt = 0
    """Records thrown away before the first that is kept."""
    dtype: Literal["float32", "float64"] = "float32"
    """Of the stored fields; integration is in float64."""
    split: Split | None = None


class TrainStep(Step):
    """Learn a model of the dynamics from the `train` part of a dataset; `valid` steers it, `test` is never seen."""

    task: Literal["train"] = "train"
    data: Ref[Dataset]
    model: AnyModel
    training: TrainingSpec | None = None
    """For models that are trained by gradients; default: the options of `TrainingSpec`."""


class AssimilateStep(Step):
    """Cycle a forecast model through observations of a dataset (a twin experiment where they are synthetic)."""

    task: Literal["assimilate"] = "assimilate"
    model: Ref[Model]
    """A trained step, or `<generate step>.system` for the true model."""
    data: Ref[Dataset]
    """The truth; usually its `test` part."""
    observations: AnyObservations
    method: AnyAnalysis
    initial: AnyInitial = Field(default="climatology", validate_default=True)
    """How the first ensemble is drawn."""
    model_noise: ModelNoise = ModelNoise()
    cycles: PositiveInt | None = None
    """Stop after so many observation times; default: the whole of `data`."""
    burn_in: NonNegativeInt = 0
    """Observation times that are left out of scores."""
    repeats: PositiveInt = 1
    """Independent experiments on each sample (own sites, noise and ensemble), run as one batch."""
    keep: Literal["members", "mean"] = "members"
    """What the artefact holds of each ensemble; probabilistic scores need `members`."""


class EvaluateStep(Step):
    """Score models (forecasts) and analyses beside baselines, and gate the run on the result."""

    task: Literal["evaluate"] = "evaluate"
    of: list[Ref[Model | Analysis]] = Field(min_length=1)
    data: Ref[Dataset] | None = None
    """Truth for forecasts; default: the `test` part of what the models were trained on."""
    against: list[AnyBaseline] = []
    leads: list[PositiveInt] = [1]
    """Forecast lengths in record steps."""
    metrics: list[AnyMetric] = Field(default=["rmse"], validate_default=True)
    expect: list[str] = []
    """Conditions such as `rmse(dynamics, lead=3) <= 0.5 * rmse(persistence, lead=3)`; one that fails ends the run with exit code 3."""


AnyStep = Annotated[
    AssimilateStep | EvaluateStep | GenerateStep | IngestStep | TrainStep, Field(discriminator="task")
]
