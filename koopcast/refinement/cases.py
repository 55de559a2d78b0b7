"""Cases to refine: what a map predicts from the first records of each sample, and the records that follow."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.errors import EmptySelection
from koopcast.fields import FieldData
from koopcast.grids import Window
from koopcast.models import MapModel
from koopcast.refinement.base import Prediction

AT_ONCE = 16
"""Samples that a model is given at once."""


@runtime_checkable
class HasLatent(Protocol):
    """A network that shows what its last spectral layer is given."""

    def latent(
        self, x: Float[Tensor, "batch *space channel"]
    ) -> Float[Tensor, "batch *space window variable"]:
        """Return it, on a window twice as long as the latent frames and one more."""


@runtime_checkable
class HasNetwork(Protocol):
    """A model with a network behind normalisers."""

    network: torch.nn.Module

    def features(
        self, frames: Float[Tensor, "batch frame *space channel"]
    ) -> Float[Tensor, "batch *space features"]:
        """Return what the network is given."""


@torch.no_grad()
def predicted(model: MapModel, data: FieldData, count: int | None = None) -> Prediction:
    """Return what the model predicts from the first records of the first `count` samples; default: of all.

    Raises:
        EmptySelection: Samples are shorter than what is given and predicted.
    """
    signature, view = model.signature, data.view
    if view.num_times < signature.num_frames:
        raise EmptySelection(
            f"the samples have {view.num_times} records, the model maps {signature.frames_in} to the "
            f"{signature.frames_out} after them",
            "give the part more records",
        )
    last = view.samples[1] if count is None else min(view.samples[1], view.samples[0] + count)
    end = view.times[0] + signature.num_frames
    run = data.tensor(window=Window((view.samples[0], last), (view.times[0], end)), dtype=torch.float64)
    names = tuple(data.info.variables)
    given, truth = signature.given(run, names), signature.target(run, names)
    parts = [given[i : i + AT_ONCE].float() for i in range(0, len(given), AT_ONCE)]
    places = [signature.inputs.index(name) for name in signature.outputs]
    return Prediction(
        start=given[:, -1][..., places],
        frames=torch.cat([model.predict(part) for part in parts]).double(),
        latent=_latent(model, parts),
        truth=truth,
    )


def _latent(
    model: MapModel, parts: list[Float[Tensor, "batch frame *space channel"]]
) -> Float[Tensor, "case window *space channel"] | None:
    if not isinstance(model, HasNetwork) or not isinstance(model.network, HasLatent):
        return None
    windows = [model.network.latent(model.features(part)).movedim(-2, 1) for part in parts]
    return torch.cat(windows).double()
