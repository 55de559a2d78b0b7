"""Learn a prior from a dataset."""

from koopcast.priors import write_prior
from koopcast.stores.files import write_table
from schemas.stages import LearnPriorStep
from tasks.train import TRAINING
from tasks.workspace import Workspace


def learn_prior(step: LearnPriorStep, workspace: Workspace) -> None:
    """Train the prior; write tensors, card and the table of the training."""
    data = workspace.data(step.data).part_or_all("train")
    prior, table = step.prior.learn(data, workspace.job.seed, workspace.slot.scratch)
    write_prior(workspace.path, step.prior, prior)
    write_table(workspace.path / TRAINING, table)
