"""Optimised dynamic mode decomposition, with bagging."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Annotated, Literal

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Complex, Float
from pydantic import Field
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from koopcast.errors import DataError, InvalidInput
from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.koopman.amplitudes import Amplitudes, Modes
from koopcast.koopman.projection import ProjectedModel, ProjectedSpec, Projection, project
from koopcast.koopman.snapshots import complete, delayed
from koopcast.koopman.spectrum import to_complex
from koopcast.mapping import MappingSpec
from koopcast.models import Model
from koopcast.numerics.exponentials import fit_exponentials
from koopcast.numerics.ridge import ridge_regression
from koopcast.progress import report
from koopcast.rng import numpy_from
from koopcast.spec import Problem
from koopcast.subsets import SubsetSpec
from koopcast.times import calendar_of, elapsed_seconds

BAGS = ("bag_operators", "bag_patterns", "bag_gains")


class OptDMDSpec(ProjectedSpec):
    """Exponentials in time fitted to whole trajectories of projected (stacked) frames, not to their pairs.

    The continuous-time rates α of z(t) = Σ_j exp(α_j t) b_j, as many as directions, are found by variable
    projection: errors of the frames do not bias them, and records may be missing or unequally spaced. One
    step of the model is then the median interval. Trajectories share the rates and the modes. The state is
    the amplitudes of the modes, found in a frame by least squares that knows their strength in training.
    """

    kind: Literal["opt_dmd"] = "opt_dmd"
    stable: bool = False
    """Whether rates are kept from growing."""
    bags: Annotated[int, Field(ge=0, le=1000)] = 0
    """Fits to random subsets of the records (BOP-DMD). Rates and modes are then means over them, with
    standard deviations; `OptDMDModel.forecast_std` is the spread of forecasts. 0: one fit to all records."""
    bag_share: Annotated[float, Field(gt=0, lt=1)] = 0.6
    """Share of the records in a bag."""

    takes_unequal_steps = True
    takes_subset = False
    reference = (
        "Askham & Kutz 2018; bags: Sashidhar & Kutz 2022; departs in Kaufman's Jacobian, and in that the "
        "modes of several trajectories are the leading singular vectors of their amplitudes"
    )

    def own_rules(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Yield what the method alone rules out."""
        if fields.time.step == "" and self.delays > 1:
            message = "stacks of unequally spaced records have no meaning; leave delays out"
            yield Problem(("delays",), message)
        if self.bags == 1:
            yield Problem(("bags",), "one bag has no spread; take 0 or at least 2")

    def fit(self, data: FieldData, generator: torch.Generator, subset: SubsetSpec | None = None) -> Model:
        """Return the model of the training window."""
        if subset is not None:
            raise DataError("'opt_dmd' learns from whole trajectories, not from pairs", "remove `subset`")
        self.refuse(data.shape_info)
        projection = project(data, self, generator, needs_pairs=False)
        series = _series(projection, data, self.delays)
        least = 2 * projection.rank if self.bags == 0 else math.ceil(2 * projection.rank / self.bag_share)
        if len(series.times) < least:
            raise DataError(
                f"{projection.rank} exponentials need {least} records, the training part has "
                f"{len(series.times)}",
                "lower `rank`, or train on more records",
            )
        modes = series.modes(series.first_rates(), self.stable)
        bags = [_matched(bag, modes) for bag in self._bagged(series, modes.rates, generator)]
        if bags:
            modes = _mean(bags)
        amplitudes = Amplitudes.of(modes)
        tensors = amplitudes.tensors(projection, partial(series.pairs, amplitudes))
        if bags:
            values = to_complex(tensors["eigenvalues"])
            tensors["eigenvalue_std"] = _deviations(values, torch.stack([bag.rates.exp() for bag in bags]))
            tensors["projector"] = projection.tensors["directions"]
            members = [Amplitudes.of(bag) for bag in bags]
            tensors["bag_operators"] = torch.stack([member.operator() for member in members])
            tensors["bag_patterns"] = torch.stack([member.patterns for member in members])
            tensors["bag_gains"] = torch.stack([member.gain for member in members])
        return OptDMDModel(data.info, self.delays, tensors)

    def restore(
        self, info: FieldsInfo, tensors: Mapping[str, Tensor], mapping: MappingSpec | None = None
    ) -> Model:
        """Return the model that these tensors define."""
        return OptDMDModel(info, self.delays, tensors)

    def _bagged(
        self, series: "Series", start: Complex[Tensor, " mode"], generator: torch.Generator
    ) -> Iterator[Modes]:
        """Yield the modes of random subsets of the records."""
        choose, count = numpy_from(generator), len(series.times)
        for bag in range(self.bags):
            rows = np.sort(choose.choice(count, max(2, round(self.bag_share * count)), replace=False))
            chosen = torch.from_numpy(rows)
            few = replace(series, times=series.times[chosen], states=series.states[:, chosen])
            yield few.modes(start, self.stable)
            report("bag", bag + 1, self.bags)


class OptDMDModel(ProjectedModel):
    """A projected model whose spectrum may have been bagged."""

    def forecast_std(
        self, frames: Float[Tensor, "batch history *space channel"], leads: Sequence[int]
    ) -> Float[Tensor, "batch lead *space channel"]:
        """Return the standard deviation over the bags of the frames `leads` (increasing, in steps) ahead.

        Raises:
            InvalidInput: The model was not bagged.
        """
        if "projector" not in self._tensors:
            raise InvalidInput("the model has no bags to spread", "fit it with `bags`")
        projector = self._tensors["projector"]
        z = delayed(self._normalised(frames.to(self.dtype)), self.history)[:, -1] @ projector
        newest, members = projector[: len(self._tensors["offset"])], []
        for K, R, gain in zip(*(self._tensors[name] for name in BAGS), strict=True):
            x, now, values = z @ gain.mT, 0, []
            for lead in leads:
                x, now = x @ torch.linalg.matrix_power(K, lead - now).mT, lead
                values.append(x @ (newest @ R).mT)
            members.append(torch.stack(values, dim=1))
        std = self._tensors["factor"] * torch.stack(members).std(dim=0)
        background = self._tensors["background"]
        result = torch.zeros(*std.shape[:2], *background.shape, dtype=self.dtype)
        result[:, :, self._tensors["cells"]] = std.reshape(*std.shape[:2], -1, background.shape[-1])
        return result

    def diagnostics(self) -> xr.Dataset:
        """Return what every Koopman model has, and standard deviations of bagged eigenvalues."""
        result = super().diagnostics()
        if "eigenvalue_std" in self._tensors:
            for place, part in enumerate(("real", "imag")):
                text = f"standard deviation of the {part}{'inary' if part == 'imag' else ''} part over bags"
                values = self._tensors["eigenvalue_std"][:, place].numpy()
                attributes = {"units": "1", "long_name": text}
                result[f"eigenvalue_{part}_std"] = xr.DataArray(values, dims="mode", attrs=attributes)
        return result


@dataclass(frozen=True)
class Series:
    """Projected states at the times of complete records."""

    times: Float[Tensor, " time"]
    """In steps; the median interval is 1."""
    states: Float[Tensor, "sample time state"]
    is_state: Bool[Tensor, " state_time"]
    """Which states of the window these are."""

    def first_rates(self) -> Complex[Tensor, " mode"]:
        """Return rates from pairs of states, with h the median interval between complete records.

        From intervals of h alone where these are most: the logarithms of the eigenvalues of least squares.
        Else by the trapezoidal rule, (z' - z)/Δt = A (z' + z)/2, whose eigenvalues a stand for those of a
        step of h, (2 + h a)/(2 - h a).
        """
        gaps = self.times.diff()
        h = float(np.median(gaps))
        z, following = self.states[:, :-1], self.states[:, 1:]
        is_usual = (gaps - h).abs() < 1e-9 * h
        count = int(is_usual.sum())
        if 2 * count > len(gaps) and len(z) * count >= z.shape[2]:
            states, later = (values[:, is_usual].flatten(0, 1) for values in (z, following))
            values = torch.linalg.eigvals(ridge_regression(states, later, 0.0).coefficients)
        else:
            middle, slope = (z + following) / 2, (following - z) / gaps[:, None]
            fit = ridge_regression(middle.flatten(0, 1), slope.flatten(0, 1), 0.0)
            a = h * torch.linalg.eigvals(fit.coefficients)
            values = (2 + a) / (2 - a)
            # A negative eigenvalue of unequal steps is no oscillation.
            values = torch.where(values.imag == 0, values.abs().to(values.dtype), values)
        # Below this modulus a mode is gone after one step.
        return torch.where(values.abs() > 1e-8, values, 1e-8).log() / h

    def modes(self, start: Complex[Tensor, " mode"], is_stable: bool) -> Modes:
        """Return the modes of all trajectories together."""
        signals = self.states.movedim(0, 1)
        found = fit_exponentials(signals.flatten(1), self.times, start, is_stable=is_stable)
        amplitudes = found.amplitudes.reshape(len(found.rates), *signals.shape[1:])
        size = torch.linalg.matrix_norm(amplitudes, 2) / signals.shape[1] ** 0.5
        turned = found.waves.abs().square().mean(dim=0).sqrt()
        patterns = torch.linalg.svd(amplitudes, full_matrices=False).Vh[:, 0].mT
        noise = found.error * signals.square().mean().sqrt()
        return Modes(found.rates, patterns, size * turned, noise)

    def pairs(
        self, amplitudes: Amplitudes, projection: Projection
    ) -> tuple[Float[Tensor, "pair state"], Float[Tensor, "pair state"]]:
        """Return consecutive states x, the second as it would be after a step of 1: where it is not, what the
        modes leave of it is added to their forecast.
        """
        states = projection.states[:, self.is_state]
        x, following = states[:, :-1], states[:, 1:]
        moved = amplitudes.advance(x, self.times.diff()[:, None])
        after = x @ amplitudes.operator().mT + (following - moved)
        return x.flatten(0, 1), after.flatten(0, 1)


def _series(projection: Projection, data: FieldData, delays: int) -> Series:
    """Return complete states and their times."""
    is_state = complete(projection.is_present, delays)
    if data.info.time.step == "":
        stamps = data.times().values
        elapsed = stamps - stamps[0] if calendar_of(stamps) is None else elapsed_seconds(stamps)
        times = torch.from_numpy(elapsed.astype(np.float64))
        times = times / float(np.median(times.diff()))
    else:
        times = torch.arange(len(is_state), dtype=torch.float64)
    return Series(times[is_state], projection.states[:, is_state], is_state)


def _matched(modes: Modes, other: Modes) -> Modes:
    """Return the modes in the order of those nearest in `other`, with their phases."""
    apart = (modes.rates - other.rates[:, None]).abs()
    order = torch.from_numpy(linear_sum_assignment(apart.numpy())[1])
    patterns = modes.patterns[:, order]
    along = (other.patterns.conj() * patterns).sum(dim=0)
    patterns = patterns * (along.conj() / along.abs().clamp_min(1e-300))
    return replace(modes, rates=modes.rates[order], patterns=patterns, strengths=modes.strengths[order])


def _mean(bags: Sequence[Modes]) -> Modes:
    """Return the modes with the mean of each part."""
    parts = ([getattr(bag, part.name) for bag in bags] for part in fields(Modes))
    return Modes(*(torch.stack(values).mean(dim=0) for values in parts))


def _deviations(
    values: Complex[Tensor, " mode"], bags: Complex[Tensor, "bag mode"]
) -> Float[Tensor, "mode 2"]:
    """Return the standard deviations of real and imaginary parts of the bagged eigenvalues next to each."""
    nearest = (values[:, None] - bags.mean(dim=0)).abs().argmin(dim=1)
    return torch.view_as_real(bags[:, nearest]).std(dim=0).contiguous()
