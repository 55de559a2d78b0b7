"""What a stage works with: its inputs opened, its random streams, and the place for its result."""

from dataclasses import dataclass
from pathlib import Path

import torch

from koopcast.devices import resolve
from koopcast.dynamics import Dynamics
from koopcast.fields import FieldData
from koopcast.generation import Run, SystemDynamics
from koopcast.learned import read_model
from koopcast.models import MapModel
from koopcast.priors import Prior, read_prior
from koopcast.rng import torch_generator
from koopcast.stores import Artefact, Slot, Store
from koopcast.stores.files import open_data
from koopcast.systems.base import EvolvingSpec, SystemSpec
from schemas.references import Ref
from schemas.stages import GenerateStep, TrainStep
from schemas.stages.generate import SYSTEM
from tasks.job import Job


@dataclass(frozen=True)
class Workspace:
    """One job beside its store and the slot that takes its result."""

    job: Job
    store: Store
    place: Slot | None = None
    """None while results are computed that find their places later."""

    @property
    def slot(self) -> Slot:
        """What takes the result."""
        assert self.place is not None, "nothing is written before there is a place for it"
        return self.place

    @property
    def path(self) -> Path:
        """Where the files of the result go."""
        return self.slot.path

    @property
    def device(self) -> torch.device:
        """The device that the step names."""
        return resolve(self.job.step.device)

    def generator(self, *names: str | int, device: str = "cpu") -> torch.Generator:
        """Return the random stream of `names` below the step's seed."""
        return torch_generator(self.job.seed, *names, device=device)

    def artefact(self, ref: Ref[object]) -> Artefact:
        """Return the artefact behind a reference, its files verified.

        Raises:
            StoreMissing: It is not in the store.
            StoreDamaged: A file is not what was written.
        """
        source = self.job.inputs[str(ref)]
        return self.store.get(source.kind, source.key)

    def data(self, ref: Ref[object]) -> FieldData:
        """Return a dataset, seen through the part that the reference names."""
        data = open_data(self.artefact(ref).path)
        return data.part(ref.part) if ref.part else data

    def is_model(self, ref: Ref[object]) -> bool:
        """Return whether a reference is of something that forecasts."""
        return self.job.inputs[str(ref)].kind == "model" or ref.part == SYSTEM

    def dynamics(self, ref: Ref[object]) -> Dynamics:
        """Return the model behind a reference: a trained one, or the true one of a `generate` step."""
        artefact = self.artefact(ref)
        if ref.part == SYSTEM:
            return true_model(GenerateStep.model_validate(artefact.manifest.spec), self.device)
        model = read_model(artefact.path)
        assert isinstance(model, Dynamics)
        return model

    def prior(self, ref: Ref[object]) -> Prior:
        """Return the prior behind a reference."""
        return read_prior(self.artefact(ref).path)

    def map(self, ref: Ref[object]) -> MapModel:
        """Return the map behind a reference."""
        model = read_model(self.artefact(ref).path)
        assert isinstance(model, MapModel)
        return model

    def models(self, ref: Ref[object]) -> list[Dynamics | MapModel]:
        """Return what a reference forecasts or maps with: the models of all trainings, or the true one."""
        artefact = self.artefact(ref)
        if ref.part == SYSTEM:
            return [self.dynamics(ref)]
        count = TrainStep.model_validate(artefact.manifest.spec).repeats
        found = [read_model(repeat_folder(artefact.path, repeat)) for repeat in range(count)]
        return [model for model in found if isinstance(model, (Dynamics, MapModel))]


def true_model(step: GenerateStep, device: torch.device) -> SystemDynamics:
    """Return the system of a `generate` step as a model."""
    return SystemDynamics(integration(step), device)


def integration(step: GenerateStep) -> Run:
    """Return what a `generate` step integrates; its system evolves."""
    system: SystemSpec = step.system
    assert isinstance(system, EvolvingSpec)
    return Run(
        system=system,
        integrator=step.chosen_integrator(system),
        samples=step.samples,
        steps=step.steps,
        dt=step.dt,
        record_every=step.record_every,
        burn_in=step.burn_in,
        verify_tol=step.verify_tol,
        tail_tol=step.tail_tol,
        defect_tol=step.tolerance(),
        arithmetic=step.arithmetic,
    )


def repeat_folder(folder: Path, repeat: int) -> Path:
    """Return where the model of one of several trainings stands: the first in the artefact itself."""
    return folder / f"repeat-{repeat}" if repeat else folder
