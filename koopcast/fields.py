"""Fields: xarray outside, channels-last torch tensors inside; torch is entered and left only here."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float
from torch import Tensor

from koopcast.errors import DataError, EmptySelection, NotFinite
from koopcast.grids import FieldsInfo, Window

DIMENSION_ORDER = ("sample", "member", "time", "lead", "channel")
"""Dimensions that come before the space axes, in this order, wherever they occur."""
MASK = "mask"
"""Variable that is 1 where a cell holds data and 0 where it never reaches a loss, a covariance or a score."""


@dataclass(frozen=True)
class FieldData:
    """A dataset, its contract, and the window of it that one reader may see.

    `dataset` holds one variable a channel with dims `([sample,] [time,] *space)`, and `mask` with dims
    `(*space)` or `(time, *space)` where `info.is_masked`. Fields without time count as one record. Other
    variables (parameters of samples, residuals) are no channels and are left alone. It may be lazy: only
    `tensor` and `valid` read numbers.
    """

    dataset: xr.Dataset
    info: FieldsInfo
    window: Window | None = None

    @property
    def view(self) -> Window:
        """What the reader may see: the window, or all."""
        return self.window or self.info.whole

    @property
    def shape_info(self) -> FieldsInfo:
        """The contract of the window alone (its own counts of samples and times)."""
        view = self.view
        return replace(self.info, samples=view.num_samples, time=replace(self.info.time, size=view.num_times))

    def part(self, name: str) -> "FieldData":
        """Return the same data seen through the window of part `name`.

        Raises:
            EmptySelection: The dataset has no such part.
        """
        if name not in self.info.parts:
            known = ", ".join(sorted(self.info.parts)) or "none"
            raise EmptySelection(f"the dataset has no part '{name}' (parts: {known})", "add it under `split`")
        return replace(self, window=self.info.parts[name])

    def part_or_all(self, name: str) -> "FieldData":
        """Return part `name` where the dataset is split, and the window as it is where it is not."""
        return self.part(name) if name in self.info.parts else self

    def times(self, *, before: int = 0) -> xr.DataArray:
        """Return the time coordinate of the window, with up to `before` earlier records in front.

        Raises:
            DataError: The fields have no time.
        """
        if "time" not in self.dataset.dims:
            raise DataError("these fields have no time", "take data of an evolving system")
        start, stop = self.view.times
        return self.dataset["time"].isel(time=slice(max(0, start - before), stop))

    def tensor(
        self, *, before: int = 0, window: Window | None = None, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "sample time *space channel"]:
        """Read the window; masked cells become 0.

        Args:
            before: Read up to so many earlier records too (the past that a delay model may know).
            window: Read this block instead (absolute indices), for streaming.
            dtype: Of the result.

        Raises:
            NotFinite: A cell that the mask promises to hold data is NaN or infinite.
        """
        block = window or self.view
        times = (max(0, block.times[0] - before), block.times[1])
        valid = self._valid_block(block.samples, times)
        channels = [self._channel(name, block.samples, times, valid, dtype) for name in self.info.variables]
        return torch.stack(channels, dim=-1)

    def valid(self) -> Bool[Tensor, "#sample #time *space 1"]:
        """Return where cells hold data, broadcastable against `tensor()` (all true without a mask)."""
        return torch.from_numpy(self._valid_block(self.view.samples, self.view.times))[..., None]

    def always_valid(self) -> Bool[Tensor, "*space"]:
        """Return the cells that hold data at every time of the whole dataset."""
        return torch.from_numpy(self._valid_block((0, 1), self.info.whole.times).all(axis=(0, 1)))

    def blocks(self, size: int) -> Iterator[Window]:
        """Yield windows of at most `size` times of one sample, in order: the units of streaming."""
        view = self.view
        for sample in range(*view.samples):
            for start in range(*view.times, size):
                yield Window((sample, sample + 1), (start, min(start + size, view.times[1])))

    def _valid_block(self, samples: tuple[int, int], times: tuple[int, int]) -> np.ndarray:
        if MASK not in self.dataset:
            return np.ones((1, 1, *self.info.shape), dtype=bool)
        mask = self.dataset[MASK]
        if "time" in mask.dims:
            return np.asarray(mask.isel(time=slice(*times)).values, dtype=bool)[None]
        return np.asarray(mask.values, dtype=bool)[None, None]

    def _channel(
        self,
        name: str,
        samples: tuple[int, int],
        times: tuple[int, int],
        valid: np.ndarray,
        dtype: torch.dtype,
    ) -> Tensor:
        array = self.dataset[name]
        array = array.isel(time=slice(*times)) if "time" in array.dims else array.expand_dims("time")
        array = array.isel(sample=slice(*samples)) if "sample" in array.dims else array.expand_dims("sample")
        values = np.asarray(array.transpose("sample", "time", ...).values)
        faulty = ~np.isfinite(values) & valid
        if faulty.any():
            where = tuple(int(i) for i in np.argwhere(faulty)[0])
            raise NotFinite(
                f"variable '{name}' has {int(faulty.sum())} non-finite values where data are promised, first "
                f"at (sample, time, *space) = {where}",
                "mask these cells (ingest with `mask: auto`) or repair the data",
            )
        if not valid.all():
            values = np.where(valid, values, 0)
        return torch.from_numpy(np.ascontiguousarray(values)).to(dtype)


def to_dataset(
    values: Float[Tensor, "sample time *space channel"], like: FieldData, times: xr.DataArray
) -> xr.Dataset:
    """Return a tensor as a dataset with variables, axes and attributes of `like`; masked cells become NaN."""
    info = like.info
    array = values.detach().cpu().numpy()
    valid = like.always_valid().numpy()
    dims = ("sample", "time", *(axis.name for axis in info.axes))
    variables = {
        name: xr.DataArray(
            np.where(valid, array[..., index], np.nan), dims=dims, attrs=like.dataset[name].attrs, name=name
        )
        for index, name in enumerate(info.variables)
    }
    coords = {axis.name: like.dataset[axis.name] for axis in info.axes if axis.name in like.dataset.coords}
    return xr.Dataset(variables, coords={**coords, "time": times})
