"""Koopman models: a linear map of a latent state, between a projection of past frames and a
reconstruction.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
import xarray as xr
from jaxtyping import Complex, Float
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor

from koopcast.grids import FieldsInfo
from koopcast.koopman.certificates import WITHOUT_MODULUS
from koopcast.koopman.chosen import Chosen
from koopcast.koopman.spectrum import times, to_complex
from koopcast.models import FittedModelSpec, Model
from koopcast.spec import Problem

Rank = PositiveInt | Annotated[float, Field(gt=0, lt=1)] | Literal["optimal"] | None


class LatentSpec(FittedModelSpec):
    """Options that linear latent models share. All arithmetic is in float64."""

    rank: Rank = 0.99
    """Directions kept: a number of them, a share of the variance (0.99), `optimal` (those above white noise
    of unknown level, Gavish & Donoho 2014), or null (all above round-off)."""
    delays: PositiveInt = 1
    """Frames in the state: the last one and `delays - 1` before it."""
    center: bool = True
    """Whether the time mean of each cell is removed. Without, the origin of the units is the fixed point."""
    weights: Literal["area", "none"] = "area"
    """How cells count in the projection: by the area they stand for (cosine of latitude), or all alike."""

    is_localizable = False
    takes_unequal_steps: ClassVar[bool] = False
    """Whether the records may be unequally spaced."""

    def num_history(self) -> int:
        """Return the number of frames that make one state."""
        return self.delays

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Yield what the shapes alone rule out."""
        train = fields.parts.get("train", fields.whole)
        pairs = train.num_samples * (train.num_times - self.delays)
        if fields.time.step == "" and fields.time.size > 1 and not self.takes_unequal_steps:
            yield Problem((), "the records are unequally spaced; a linear map needs a fixed step")
        if pairs < 1:
            yield Problem(
                ("delays",),
                f"{self.delays} frames make a state and one follows it, but the training part holds "
                f"{train.num_times} records; at most {max(1, train.num_times - 1)}",
            )
        elif isinstance(self.rank, int) and self.rank > self._rank_limit(fields, pairs):
            yield Problem(
                ("rank",),
                f"{self.rank} is above {self._rank_limit(fields, pairs)}, the smaller of values in a frame "
                f"({fields.num_cells * fields.num_channels}) and training pairs ({pairs}); lower rank",
            )

    def _rank_limit(self, fields: FieldsInfo, pairs: int) -> int:
        return min(fields.num_cells * fields.num_channels, pairs)


class KoopmanSpec(LatentSpec):
    """Options of linear latent models whose map is found by ridge regression."""

    ridge: NonNegativeFloat = 1e-4
    """Penalty on the coefficients of the map, in units of the mean squared observable (of the mean
    eigenvalue of their Gram matrix): a pure number, whatever units and length the data have. 0: least
    squares."""


class KoopmanModel(Model):
    """z ← K z, with the last frame = background + factor · basis · (first entries of z).

    Tensors, all float64 but `cells`: `operator` K `(state, state)`; `noise` `(state, rank)`; `cells`
    `(*space)` those that hold data at all times; `background` `(*space, channel)` what is shown elsewhere;
    `offset` and `factor` `(value)` that normalise the values of a frame (cells · channels); `basis` `(value,
    direction)`; `eigenvalues`, `eigenvectors`, `eigenfunctions` and `eigen_residuals`; `figures`.
    """

    dtype = torch.float64
    is_physical = False
    keeps_tensors = False
    chosen: Chosen | None = None
    """What was chosen among candidates."""

    def __init__(self, info: FieldsInfo, delays: int, tensors: Mapping[str, Tensor]) -> None:
        self.info = info
        self.history = delays
        self._tensors = dict(tensors)

    @abstractmethod
    def encode(self, frames: Float[Tensor, "batch history *space channel"]) -> Float[Tensor, "batch state"]:
        """Return the latent state of `history` frames; masked cells are not read."""

    def step(self, state: Float[Tensor, "batch state"]) -> Float[Tensor, "batch state"]:
        """Return K z."""
        return state @ self._tensors["operator"].mT

    def decode(self, state: Float[Tensor, "batch state"]) -> Float[Tensor, "batch *space channel"]:
        """Return the last frame; cells outside the model show their mean, those that never hold data 0."""
        return self._field(self._tensors["background"], self._tensors["offset"], state)

    def eigenfunctions(
        self, frames: Float[Tensor, "batch history *space channel"]
    ) -> Complex[Tensor, "batch mode"]:
        """Return the eigenfunctions of the pairs in `diagnostics`, of root mean square 1 in training."""
        return times(self.encode(frames), to_complex(self._tensors["eigenfunctions"]).mT)

    def noise_factor(self) -> Float[Tensor, "state rank"]:
        """Return the factor of the covariance of the one-step residuals in training.

        It is corrected for the degrees of freedom of the fit. Entries that the step only copies (older
        frames, the constant) have no noise.
        """
        return self._tensors["noise"]

    def tensors(self) -> dict[str, Tensor]:
        """Return all that defines the model."""
        return dict(self._tensors)

    def card(self) -> dict[str, float | int | str]:
        """Return rank, size of the state, spectral radius, the figures of the fit, and what was chosen."""
        explained, pairs, error = self._tensors["figures"].tolist()
        return {
            "rank": self._tensors["basis"].shape[1],
            "delays": self.history,
            "state_size": self._tensors["operator"].shape[0],
            "training_pairs": int(pairs),
            "explained_variance": explained,
            "relative_one_step_error": error,
            "spectral_radius": float(to_complex(self._tensors["eigenvalues"]).abs().max()),
            **({} if self.chosen is None else self.chosen.card()),
        }

    def diagnostics(self) -> xr.Dataset:
        """Return eigenvalues, their periods and e-folding times in record steps, residuals, and mode fields.

        A mode field has the amplitude that the mode had in training (root mean square); its imaginary part
        is the pattern a quarter of a period before. Where there was a choice the errors of candidates
        stand there too.
        """
        values = to_complex(self._tensors["eigenvalues"]).numpy()
        magnitude, angle = np.abs(values), np.abs(np.angle(values))
        with np.errstate(divide="ignore"):
            period = np.where(angle > 0, 2 * np.pi / angle, np.nan)
            e_folding = np.where(magnitude != 1, -1 / np.log(magnitude), np.inf)
        figures = {
            "eigenvalue_real": (values.real, "1", "real part of the eigenvalue"),
            "eigenvalue_imag": (values.imag, "1", "imaginary part of the eigenvalue"),
            "period": (period, "step", "period"),
            "e_folding_time": (e_folding, "step", "e-folding time (negative: growth)"),
            "residual": (self._tensors["eigen_residuals"].numpy(), "1", "relative residual of the eigenpair"),
        }
        arrays = {
            name: xr.DataArray(values, dims="mode", attrs={"units": units, "long_name": text})
            for name, (values, units, text) in figures.items()
        }
        attributes = {"certificate": WITHOUT_MODULUS, "widening": 0.0}
        choice = {} if self.chosen is None else {"held_out_error": self.chosen.table()}
        return xr.Dataset({**arrays, **choice, **self._mode_fields()}, attrs=attributes)

    def _normalised(
        self, frames: Float[Tensor, "batch time *space channel"]
    ) -> Float[Tensor, "batch time value"]:
        values = frames.to(self.dtype)[:, :, self._tensors["cells"]].flatten(2)
        return (values - self._tensors["offset"]) / self._tensors["factor"]

    def _field(
        self, background: Tensor, offset: Tensor, state: Tensor
    ) -> Float[Tensor, "batch *space channel"]:
        basis = self._tensors["basis"]
        return self._placed(background, offset, state[:, : basis.shape[1]] @ basis.mT)

    def _placed(
        self, background: Tensor, offset: Tensor, values: Float[Tensor, "batch value"]
    ) -> Float[Tensor, "batch *space channel"]:
        """Return fields of normalised values, in physical units."""
        result = background.expand(values.shape[0], *background.shape).clone()
        physical = offset + self._tensors["factor"] * values
        result[:, self._tensors["cells"]] = physical.reshape(values.shape[0], -1, background.shape[-1])
        return result

    def _mode_values(self) -> Complex[Tensor, "mode value"]:
        """Return the normalised values of each mode."""
        vectors, basis = to_complex(self._tensors["eigenvectors"]), self._tensors["basis"]
        return vectors @ basis.mT.to(vectors.dtype)

    def _mode_fields(self) -> dict[str, xr.DataArray]:
        modes = self._mode_values()
        nowhere = torch.full_like(self._tensors["background"], torch.nan)
        zero = torch.zeros_like(self._tensors["offset"])
        space = tuple(axis.name for axis in self.info.axes)
        names = list(self.info.variables)
        units = self.info.variables[names[0]] if len(names) == 1 else "1"
        result = {}
        for name, part in (("mode_field", modes.real), ("mode_field_imag", modes.imag)):
            fields = self._placed(nowhere, zero, part).movedim(-1, 1).to(torch.float32).numpy()
            text = "mode" if name == "mode_field" else "mode, imaginary part"
            array = xr.DataArray(
                fields, dims=("mode", "channel", *space), coords={"channel": names},
                attrs={"units": units, "long_name": text},
            )  # fmt: skip
            result[name] = array.isel(channel=0, drop=True) if len(names) == 1 else array
        return result
