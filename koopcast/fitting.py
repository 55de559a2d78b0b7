"""Fitting of networks in closed form: all pairs at once, then the same model as a training would leave."""

from collections.abc import Mapping

import torch
from torch import Tensor

from koopcast.batches import Runs
from koopcast.models import NetworkModel
from koopcast.operators.fitted import Examples, FittedOperatorSpec
from koopcast.rng import numpy_generator, torch_generator
from koopcast.training import TrainingTask, valid_cells

BATCH = 256


def fit(task: TrainingTask, *, seed: int) -> NetworkModel:
    """Return the fitted model of a task whose spec is a `FittedOperatorSpec`.

    Raises:
        EmptySelection: A part is shorter than one pair.
    """
    spec, signature, info = task.spec, task.signature, task.data.info
    assert isinstance(spec, FittedOperatorSpec)
    runs, valid_runs = task.runs()
    statistics = runs.statistics(valid_cells(task.data), of_cells=spec.needs_cells())
    if task.subset is not None:
        task.subset.limit(runs, signature.frames_in, statistics, numpy_generator(seed, "subset"))
    network = spec.build(signature, torch_generator(seed, "weights"))
    model = spec.assemble(network, info, signature, statistics)
    valid = None if valid_runs is None else _examples(model, valid_runs)
    train = _examples(model, runs)
    facts: Mapping[str, float | int | str] = spec.fit_network(
        model.network, train, valid, torch_generator(seed, "fit")
    )
    on = "train" if valid_runs is None else "valid"
    error = _error(model, valid_runs or runs)
    return model.finished(error, {**facts, "pairs": len(train.inputs), "error_on": on})


def _examples(model: NetworkModel, runs: Runs) -> Examples:
    names = tuple(model.info.variables)
    signature = model.signature
    pairs, weights = [], []
    for frames, share in runs.weighted_batches(BATCH):
        pairs.append(model.normalised(signature.given(frames, names), signature.target(frames, names)))
        weights.append(torch.ones(len(frames), dtype=torch.float64) if share is None else share)
    inputs, outputs = (torch.cat(part) for part in zip(*pairs, strict=True))
    counts = torch.cat(weights)
    return Examples(inputs, outputs, None if bool((counts == 1).all()) else counts)


@torch.no_grad()
def _error(model: NetworkModel, runs: Runs) -> Tensor:
    """Return the root mean square of the error of each variable, over the cells that hold data."""
    valid = valid_cells(runs.data)
    total = torch.zeros(len(model.signature.outputs), dtype=torch.float64)
    for frames in runs.batches(BATCH):
        squares = model.error(frames).square() * valid[..., None]
        total += squares.flatten(0, -2).sum(0).double() / (valid.sum() * model.signature.frames_out)
    return (total / runs.count).sqrt()
