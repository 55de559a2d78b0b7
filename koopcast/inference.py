"""Trained models in use: on datasets of a notebook, from the command line, and exported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor, nn
from torch._dynamo.exc import UserError

from koopcast.dynamics import Dynamics
from koopcast.errors import DataError, InvalidInput, ShapeMismatch
from koopcast.grids import FieldsInfo
from koopcast.learned import MODEL_CARD, read_model
from koopcast.mapping import Names
from koopcast.models import Learned, MapModel, NetworkModel
from koopcast.stores import Store

MEMORY = 2**28
"""Bytes of fields that are computed at once."""


def load(model: str | Path, store: str | Path = "runs") -> "Predictor":
    """Return a trained model, ready to predict.

    Args:
        model: `runs://<pipeline>/<run>/<step>` (run may be `latest`), or the folder of a model's artefact.
        store: Root of the store in which the address is looked up.

    Raises:
        StoreMissing: There is no such model.
    """
    text = str(model)
    if not text.startswith("runs://"):
        return Predictor(read_model(Path(model)))
    opened = Store.open(store, create=False)
    artefact = opened.load(opened.resolve(text))
    if not (artefact.path / MODEL_CARD).is_file():
        raise InvalidInput(f"'{text}' is a {artefact.ref.kind}, no model", "name a step that trains")
    return Predictor(read_model(artefact.path))


@dataclass(frozen=True)
class Predictor:
    """A model that takes and returns datasets. `model` is the thing itself, for tensors."""

    model: Learned

    @torch.no_grad()
    def predict(
        self, dataset: xr.Dataset, leads: Sequence[int] = (1,), predicted: int | None = None
    ) -> xr.Dataset:
        """Return what the model makes of a dataset.

        A map takes the first records it needs and returns its outputs, dims `([sample,] [time,] *space)`; a
        model of dynamics goes on from the last records, dims `([sample,] lead, *space)`. Fields are in the
        units of the training data. The grid may be another one where the model works on any.

        Args:
            dataset: Variables of the model, dims `([sample,] [time,] *space)`.
            leads: Records ahead, increasing, for dynamics.
            predicted: Records that a map returns, where it can be asked for another number than it learned:
                it is then given all records of the dataset.

        Raises:
            DataError: A variable or an axis is not there.
            ShapeMismatch: Too few records, or a grid that the model does not work on.
        """
        if isinstance(self.model, MapModel):
            return self._mapped(self.model, dataset, predicted)
        assert isinstance(self.model, Dynamics)
        return self._forecast(self.model, dataset, leads)

    def _mapped(self, model: MapModel, dataset: xr.Dataset, predicted: int | None) -> xr.Dataset:
        signature = model.signature
        frames = _frames(dataset, signature.inputs, model.info)
        known = signature.frames_in
        if frames.shape[1] < known and predicted is None:
            raise ShapeMismatch(
                f"the model takes {known} records, the data have {frames.shape[1]}", "give more"
            )
        given = frames[:, :known] if predicted is None else frames
        pieces = [model.predict(part, predicted) for part in given.split(_at_once(given))]
        result = torch.cat(pieces)
        names = {name: model.info.variables[name] for name in signature.outputs}
        return _dataset(result, names, dataset, model.info, "time" if _has_time(dataset) else None)

    def _forecast(self, model: Dynamics, dataset: xr.Dataset, leads: Sequence[int]) -> xr.Dataset:
        if not leads or list(leads) != sorted(set(leads)) or leads[0] < 1:
            raise InvalidInput(f"leads {list(leads)} do not increase from 1 on", "write 1, 3, 6")
        frames = _frames(dataset, tuple(model.info.variables), model.info)
        if frames.shape[1] < model.history:
            raise ShapeMismatch(
                f"a state is made of {model.history} records, the data have {frames.shape[1]}", "give more"
            )
        model = _on_grid(model, tuple(frames.shape[2:-1]))
        last = frames[:, -model.history :]
        result = torch.cat([model.forecast(part, leads) for part in last.split(_at_once(last))])
        fields = _dataset(result, model.info.variables, dataset, model.info, "lead")
        return fields.assign_coords(lead=("lead", list(leads), {"units": "records"}))

    def export(self, path: Path) -> None:
        """Write the map, or one step of the dynamics, as a `torch.export` program on the training grid.

        It takes physical fields `(batch, frame, *space, channel)`, any batch of two or more where the network
        can be traced so, else one member at a time, and returns `(batch, frame, *space, channel)`.

        Raises:
            InvalidInput: The model has no network.
        """
        model = self.model
        if not isinstance(model, NetworkModel) or not isinstance(model, (MapModel, Dynamics)):
            raise InvalidInput("a model without a network is not exported", "use `predict`")
        frames = model.signature.frames_in
        example = torch.zeros(3, frames, *model.info.shape, len(model.signature.inputs))
        module = _Exported(model).eval()
        with torch.no_grad():
            # Tables that depend on the grid are made here, as real tensors, and not while tracing.
            module(example)
        shapes = ({0: torch.export.Dim("batch", min=2)},)
        try:
            program = torch.export.export(module, (example,), dynamic_shapes=shapes)
        except UserError:
            program = torch.export.export(module, (example[:1],))
        torch.export.save(program, path)


class _Exported(nn.Module):
    """A model as a module whose parameters are those of its network."""

    def __init__(self, model: NetworkModel) -> None:
        super().__init__()
        self.network = model.network
        self.model = model

    def forward(self, frames: Tensor) -> Tensor:
        """Return the outputs of a map, or the next record."""
        if isinstance(self.model, MapModel):
            return self.model.predict(frames)
        assert isinstance(self.model, Dynamics)
        state = self.model.step(self.model.encode(frames))
        return self.model.decode(state)[:, None]


def _on_grid(model: Dynamics, shape: tuple[int, ...]) -> Dynamics:
    """Return the model on the grid of the data."""
    if shape == model.info.shape:
        return model
    if not isinstance(model, NetworkModel):
        raise ShapeMismatch(
            f"the model steps fields on {model.info.shape}, the data have {shape}", "use fields on its grid"
        )
    axes = tuple(replace(axis, size=size) for axis, size in zip(model.info.axes, shape, strict=True))
    moved = model.on(axes)
    assert isinstance(moved, Dynamics)
    return moved


def _has_time(dataset: xr.Dataset) -> bool:
    return "time" in dataset.dims


def _at_once(frames: Float[Tensor, "sample frame *space channel"]) -> int:
    return max(1, MEMORY // (64 * max(1, frames[0].numel())))


def _frames(
    dataset: xr.Dataset, names: Names, info: FieldsInfo
) -> Float[Tensor, "sample frame *space channel"]:
    """Return variables of a dataset as one tensor; samples and times of size 1 where there are none."""
    space = [axis.name for axis in info.axes]
    missing = [name for name in names if name not in dataset.data_vars]
    if missing:
        known = ", ".join(map(str, dataset.data_vars)) or "nothing"
        raise DataError(f"the data hold no variable '{missing[0]}'", f"they hold {known}; the model needs it")
    channels = []
    for name in names:
        array = dataset[name]
        if set(map(str, array.dims)) - {"sample", "time"} != set(space):
            raise DataError(
                f"'{name}' has dimensions {', '.join(map(str, array.dims))}, the model knows "
                f"[sample,] [time,] {', '.join(space)}",
                "rename them, or select a single value",
            )
        for dim in ("time", "sample"):
            array = array if dim in array.dims else array.expand_dims(dim)
        channels.append(array.transpose("sample", "time", *space).values.astype(np.float32))
    stacked = np.stack(channels, axis=-1)
    if not np.isfinite(stacked).all() and not info.is_masked:
        raise DataError("the data hold values that are not finite", "fill or mask them first")
    return torch.from_numpy(np.nan_to_num(stacked, nan=0.0) if info.is_masked else stacked)


def _dataset(
    values: Float[Tensor, "sample frame *space channel"],
    variables: Mapping[str, str],
    like: xr.Dataset,
    info: FieldsInfo,
    frame: str | None,
) -> xr.Dataset:
    """Return outputs as a dataset with the axes of the input; `frame` names the second dimension."""
    space = tuple(axis.name for axis in info.axes)
    dims = ("sample", frame or "frame", *space)
    fields = {
        name: (dims, values[..., place].numpy(), {"units": units})
        for place, (name, units) in enumerate(variables.items())
    }
    kept = {axis: like[axis] for axis in ("sample", *space) if axis in like.coords and axis in dims}
    dataset = xr.Dataset(fields, coords=kept)
    single = [dim for dim in ("sample", "frame") if dim in dataset.dims and dim not in like.dims]
    return dataset.squeeze([dim for dim in single if dataset.sizes[dim] == 1], drop=True)
