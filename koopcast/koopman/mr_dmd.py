"""Multi-resolution dynamic mode decomposition."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
import xarray as xr
from jaxtyping import Bool, Complex, Float
from pydantic import Field, PositiveInt
from torch import Tensor

from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.koopman.amplitudes import Amplitudes, Modes
from koopcast.koopman.projection import ProjectedModel, ProjectedSpec, project
from koopcast.koopman.snapshots import complete
from koopcast.mapping import MappingSpec
from koopcast.models import Model
from koopcast.numerics.ridge import ridge_regression
from koopcast.spec import Problem
from koopcast.subsets import SubsetSpec

LEAST_STATES = 4
"""Of a window."""
ROUNDING = 1e-10
"""Relative to the states of the whole window."""


class MRDMDSpec(ProjectedSpec):
    """Slow modes of the whole window, then of its halves, and so on, each taken off before the next.

    A window of T steps keeps the modes with |log λ| ≤ 2π cycles / T: those that turn at most `cycles` times
    in it. What they explain is taken off, and the window is split in two. A forecast uses the slow modes
    found at each level of the last window: the state is their amplitudes, found in a frame by least squares
    that knows their strength in training.
    """

    kind: Literal["mr_dmd"] = "mr_dmd"
    levels: Annotated[int, Field(ge=1, le=12)] = 3
    """Resolutions: the last halves the window `levels - 1` times."""
    cycles: PositiveInt = 2
    """Turns in a window up to which a mode is slow."""

    takes_subset = False
    reference = (
        "Kutz, Fu & Brunton 2016; departs in that every step of a window counts, so that no fast mode is "
        "taken for a slow one, and in the forecast from the last windows"
    )

    def own_rules(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Yield what the method alone rules out."""
        times = fields.parts.get("train", fields.whole).num_times - self.delays + 1
        if times > 1 and times >> (self.levels - 1) < LEAST_STATES:
            most = max(1, int(times // LEAST_STATES).bit_length())
            yield Problem(
                ("levels",),
                f"{self.levels} levels cut {times} states into windows of fewer than {LEAST_STATES}; "
                f"at most {most}",
            )

    def fit(self, data: FieldData, generator: torch.Generator, subset: SubsetSpec | None = None) -> Model:
        """Return the model of the training window."""
        if subset is not None:
            raise DataError("'mr_dmd' learns from whole trajectories, not from pairs", "remove `subset`")
        self.refuse(data.shape_info)
        projection = project(data, self, generator)
        is_state = complete(projection.is_present, self.delays)
        scale = float(projection.states[:, is_state].abs().max())
        series = Window(projection.states, is_state, scale)
        found = list(series.tree(self.levels, self.cycles))
        last = [slow for slow in found if slow.is_last]
        if not last:
            raise DataError(
                f"no mode of the last windows turns at most {self.cycles} times in one",
                "raise `cycles`, `levels` or `rank`",
            )
        modes = Modes(
            torch.cat([slow.values for slow in last]).log(),
            torch.cat([slow.patterns for slow in last], dim=1),
            torch.cat([slow.amplitudes for slow in last]),
            last[-1].noise,
        )
        tensors = Amplitudes.of(modes).tensors(projection, lambda own: own.pairs(None, generator))
        table = torch.cat([slow.table() for slow in found])
        return MRDMDModel(data.info, self.delays, tensors | {"slow_modes": table})

    def restore(
        self, info: FieldsInfo, tensors: Mapping[str, Tensor], mapping: MappingSpec | None = None
    ) -> Model:
        """Return the model that these tensors define."""
        return MRDMDModel(info, self.delays, tensors)


class MRDMDModel(ProjectedModel):
    """A projected model that also knows the slow modes of every window."""

    def diagnostics(self) -> xr.Dataset:
        """Return what every Koopman model has, and the tree: `slow_*`, one entry a mode of a window."""
        result = super().diagnostics()
        columns = {
            "level": ("1", "level, from 1"),
            "start": ("step", "first state of the window"),
            "stop": ("step", "end of the window"),
            "real": ("1", "real part of the eigenvalue"),
            "imag": ("1", "imaginary part of the eigenvalue"),
            "amplitude": ("1", "root mean square in the window, normalised"),
        }
        for place, (name, (units, text)) in enumerate(columns.items()):
            values = self._tensors["slow_modes"][:, place].numpy()
            result[f"slow_{name}"] = xr.DataArray(
                values, dims="slow_mode", attrs={"units": units, "long_name": text}
            )
        return result


@dataclass(frozen=True)
class Slow:
    """The slow modes of one window."""

    values: Complex[Tensor, " mode"]
    """Eigenvalues of one step."""
    patterns: Complex[Tensor, "state mode"]
    """Of norm 1."""
    amplitudes: Float[Tensor, " mode"]
    noise: Float[Tensor, ""]
    """Root mean square of what they leave of an entry of the states."""
    level: int
    start: int
    stop: int
    is_last: bool

    def table(self) -> Float[Tensor, "mode 6"]:
        """Return level, window, eigenvalue and amplitude of each."""
        where = torch.tensor([self.level, self.start, self.stop], dtype=torch.float64)
        numbers = torch.stack([self.values.real, self.values.imag, self.amplitudes], dim=1)
        return torch.cat([where.expand(len(numbers), 3), numbers], dim=1)


@dataclass(frozen=True)
class Window:
    """What is left of the states of a stretch of time."""

    states: Float[Tensor, "sample time state"]
    is_state: Bool[Tensor, " time"]
    scale: float
    """Largest component of the states of the whole window."""
    level: int = 1
    start: int = 0
    is_last: bool = True

    def tree(self, levels: int, cycles: int) -> Iterator[Slow]:
        """Yield the slow modes of the window, and those of its halves down to the last level."""
        slow, rest = self._taken_apart(cycles)
        if slow is not None:
            yield slow
        if self.level == levels:
            return
        middle = len(self.is_state) // 2
        for start, stop in ((0, middle), (middle, len(self.is_state))):
            half = replace(
                self,
                states=rest[:, start:stop],
                is_state=self.is_state[start:stop],
                level=self.level + 1,
                start=self.start + start,
                is_last=self.is_last and start > 0,
            )
            yield from half.tree(levels, cycles)

    def _taken_apart(self, cycles: int) -> tuple[Slow | None, Float[Tensor, "sample time state"]]:
        """Return the slow modes, and what they leave of the states."""
        is_pair = self.is_state[:-1] & self.is_state[1:]
        z, following = (part[:, is_pair].flatten(0, 1) for part in (self.states[:, :-1], self.states[:, 1:]))
        # Of what was taken off before, round-off is left; it has no modes.
        _, singular, Vh = torch.linalg.svd(z, full_matrices=False)
        V = Vh[singular > ROUNDING * self.scale * len(z) ** 0.5].mT
        if V.shape[1] == 0:
            return None, self.states
        values, W = torch.linalg.eig(ridge_regression(z @ V, following @ V, 0.0).coefficients.mT)
        W, size = V.to(W.dtype) @ W, len(self.is_state)
        # A mode of modulus e^-14 a step is not slow in any window.
        rates = values.where(values.abs() > 1e-6, 1e-6).log()
        is_slow = rates.abs() <= 2 * torch.pi * cycles / size
        values, W = values[is_slow], W[:, is_slow]
        if not len(values):
            return None, self.states
        times = torch.arange(size)[self.is_state].to(values.dtype)
        V = torch.exp(torch.outer(times, rates[is_slow]))
        states = self.states[:, self.is_state].to(values.dtype)
        normal = (W.mH @ W) * (V.mH @ V)
        right = torch.einsum("tj,ij,sti->js", V.conj(), W.conj(), states)
        b = torch.linalg.pinv(normal, hermitian=True) @ right
        explained = torch.einsum("tj,ij,js->sti", V, W, b).real
        rest = self.states.clone()
        rest[:, self.is_state] -= explained
        amplitudes = (b.abs().square().mean(dim=1) * V.abs().square().mean(dim=0)).sqrt()
        stop = self.start + size
        noise = rest[:, self.is_state].square().mean().sqrt()
        return Slow(values, W, amplitudes, noise, self.level, self.start, stop, self.is_last), rest
