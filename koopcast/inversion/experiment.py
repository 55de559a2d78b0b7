"""Twin experiments of inversion: known inputs, noisy outputs at a few places, several methods."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import xarray as xr
from jaxtyping import Float
from pydantic import Field, PositiveInt, StringConstraints
from torch import Tensor

from koopcast import progress
from koopcast.errors import EmptySelection
from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.inversion import AnyInversion
from koopcast.inversion.base import Observed, Posterior
from koopcast.mapping import Signature
from koopcast.models import MapModel
from koopcast.rng import torch_generator
from koopcast.spec import Problem, Spec
from koopcast.studies.base import Findings

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
INPUT_ERROR, SOLUTION_ERROR = "input_error", "solution_error"


class ExperimentSpec(Spec):
    """Observe the outputs of some samples, infer their inputs, and compare with the truth."""

    samples: PositiveInt = 8
    """Samples, from the first on."""
    observations: PositiveInt = 100
    """Places, drawn without repetition from the inner nodes; the same for all samples."""
    snr_db: tuple[PositiveInt, ...] = Field((25,), min_length=1)
    """Signal-to-noise ratios in decibels: the variance of the noise is mean(u²) / 10^(SNR/10)."""
    methods: dict[Name, AnyInversion] = Field(min_length=1)
    """Names -> methods, which see the same observations."""

    def metrics(self) -> Mapping[str, str]:
        """Return what is measured: ‖estimate - truth‖/‖truth‖ of the input and of the whole output, mean over
        samples.
        """
        return {INPUT_ERROR: "1", SOLUTION_ERROR: "1"}

    def subjects(self) -> Mapping[str, Sequence[int]]:
        """Return the methods, each at every ratio."""
        return dict.fromkeys(self.methods, tuple(self.snr_db))

    def faults(self, fields: FieldsInfo, signature: Signature | None) -> Iterator[Problem]:
        """Yield what does not fit the data, or what the model maps to what; paths begin at the step."""
        if signature is None or signature.ahead or {signature.channels_in, signature.channels_out} != {1}:
            yield Problem(("model",), "the model is no map from one field to another of the same record")
        if len(fields.axes) != 2 or any(axis.periodic for axis in fields.axes):
            yield Problem(
                ("data",), "places are drawn from the inner nodes of a square, and the data have none"
            )
            return
        inner = math.prod(size - 2 for size in fields.shape)
        if self.observations > inner:
            path = ("experiment", "observations")
            yield Problem(path, f"{self.observations} is above {inner}, the inner nodes; lower it")
        if self.samples > fields.samples:
            path = ("experiment", "samples")
            yield Problem(path, f"{self.samples} is above {fields.samples}, those of the data; lower it")

    def run(self, model: MapModel, data: FieldData, seed: int) -> tuple[Findings, xr.Dataset]:
        """Return scores by method and ratio, a table by sample, and the posterior fields.

        Raises:
            EmptySelection: The data have fewer samples.
        """
        truth, outputs = self._truth(model, data)
        rows, fields = [], {}
        for done, ratio in enumerate(self.snr_db):
            observed = self.observe(outputs, ratio, seed)
            for name, method in self.methods.items():
                started = time.monotonic()
                posterior = method.invert(model, observed, torch_generator(seed, "invert", name, ratio))
                spent = time.monotonic() - started
                rows += _rows(name, ratio, posterior, truth, outputs, spent / self.samples)
                fields[name, ratio] = posterior
            progress.report("ratio", done + 1, len(self.snr_db))
        table = pd.DataFrame(rows)
        means = table.groupby(["method", "snr_db"])[[INPUT_ERROR, SOLUTION_ERROR]].mean()
        scores = {
            metric: {
                name: {str(ratio): float(means[metric][name, ratio]) for ratio in self.snr_db}
                for name in self.methods
            }
            for metric in self.metrics()
        }
        return Findings(scores, {"samples": table}), _dataset(fields, truth, data)

    def observe(self, outputs: Float[Tensor, "sample y x"], ratio: int, seed: int) -> Observed:
        """Return noisy values; places are the same at every ratio, and the noise but for its size."""
        rows, columns = outputs.shape[1:]
        inner = torch.arange(rows * columns).reshape(rows, columns)[1:-1, 1:-1].flatten()
        generator = torch_generator(seed, "observations")
        nodes = inner[torch.randperm(len(inner), generator=generator)[: self.observations]].sort().values
        clean = outputs.flatten(1)
        std = (clean.square().mean(1) / 10 ** (ratio / 10)).sqrt()
        noise = torch.randn(len(outputs), len(nodes), generator=generator)
        return Observed((rows, columns), nodes, clean[:, nodes] + std[:, None] * noise, std)

    def _truth(
        self, model: MapModel, data: FieldData
    ) -> tuple[Float[Tensor, "sample y x"], Float[Tensor, "sample y x"]]:
        names, view = tuple(data.info.variables), data.view
        if view.num_samples < self.samples:
            raise EmptySelection(
                f"the data have {view.num_samples} samples and {self.samples} are asked for", "lower samples"
            )
        run = data.tensor()[: self.samples]
        signature = model.signature
        return signature.given(run, names)[:, 0, ..., 0], signature.target(run, names)[:, 0, ..., 0]


def relative_error(
    estimate: Float[Tensor, "sample y x"], truth: Float[Tensor, "sample y x"]
) -> Float[np.ndarray, " sample"]:
    """Return ‖estimate - truth‖/‖truth‖ of each sample."""
    error = (estimate - truth).flatten(1).norm(dim=-1) / truth.flatten(1).norm(dim=-1)
    return np.asarray(error.numpy())


def _rows(
    name: str,
    ratio: int,
    posterior: Posterior,
    truth: Float[Tensor, "sample y x"],
    outputs: Float[Tensor, "sample y x"],
    seconds: float,
) -> list[dict[str, float | int | str]]:
    """Return one row a sample; `within`: share of nodes with the truth inside two standard deviations."""
    errors = relative_error(posterior.mean, truth), relative_error(posterior.solution, outputs)
    within = np.full(len(truth), np.nan)
    if posterior.std is not None:
        inside = (posterior.mean - truth).abs() <= 2 * posterior.std
        within = inside.flatten(1).float().mean(1).numpy()
    return [
        {
            "method": name,
            "snr_db": ratio,
            "sample": sample,
            INPUT_ERROR: float(errors[0][sample]),
            SOLUTION_ERROR: float(errors[1][sample]),
            "within": float(within[sample]),
            "seconds": seconds,
        }
        for sample in range(len(truth))
    ]


def _dataset(
    fields: Mapping[tuple[str, int], Posterior], truth: Float[Tensor, "sample y x"], data: FieldData
) -> xr.Dataset:
    """Return means, spreads and solutions, with the truth beside them."""
    dims = ("sample", *(axis.name for axis in data.info.axes))
    variables = {"truth": (dims, truth.numpy())}
    for (name, ratio), posterior in fields.items():
        parts = {"mean": posterior.mean, "std": posterior.std, "solution": posterior.solution}
        for part, values in parts.items():
            if values is not None:
                variables[f"{name}_{ratio}db_{part}"] = (dims, values.numpy())
    return xr.Dataset(variables)
