"""Observations drawn from a known truth: the instrument of twin experiments."""

from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from koopcast.errors import EmptySelection
from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.observations.base import ObservationSet, ObservationsSpec
from koopcast.observations.locations import AnyLocations
from koopcast.spec import Problem, Spec


class ObservationError(Spec):
    """Size of the error, given in exactly one way."""

    std: PositiveFloat | None = None
    """Standard deviation, in the units of the fields."""
    variance: PositiveFloat | None = None
    """Variance, in squared units of the fields."""
    snr_db: float | None = None
    """Signal to noise in decibels, 10 log10(variance of the variable in the window / error variance)."""

    @model_validator(mode="after")
    def _is_given_once(self) -> "ObservationError":
        given = [name for name in ("snr_db", "std", "variance") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give exactly one of std, variance, snr_db (given: {', '.join(given) or 'none'})"
            )
        return self

    def variances(self, signal: Float[Tensor, " channel"]) -> Float[Tensor, " channel"]:
        """Return the error variance of each channel, whose own variance over the window is `signal`."""
        if self.snr_db is not None:
            return signal * 10 ** (-self.snr_db / 10)
        return torch.full_like(signal, self.variance if self.variance is not None else (self.std or 0.0) ** 2)


class SyntheticSpec(ObservationsSpec):
    """Values of the truth at sites and regular times, with independent Gaussian errors."""

    kind: Literal["synthetic"] = "synthetic"
    locations: AnyLocations = Field(default="all", validate_default=True)
    """Where."""
    error: ObservationError = ObservationError(std=1.0)
    """How well."""
    variables: list[str] = []
    """Which variables; empty: all."""
    every: PositiveInt = 1
    """Records from one observation time to the next."""
    warmup: NonNegativeInt = 0
    """Records from the first observation time on that are all observed, before every `every`-th one is. With
    an `every` beyond the end nothing is observed after them."""
    first: NonNegativeInt | None = None
    """Record of the first observation time; default `every`, or 1 with a `warmup`: the initial state itself
    is not analysed."""
    missing: float = Field(0.0, ge=0, lt=1)
    """Probability that an observation does not arrive."""

    reference = "the usual set-up of twin experiments"

    def observe(self, truth: FieldData, repeats: int, generator: torch.Generator) -> ObservationSet:
        """Return the truth at the sites plus noise."""
        info = truth.shape_info
        record = torch.tensor(self._records(info), dtype=torch.int64)
        if record.shape[0] == 0:
            raise EmptySelection(
                f"the first observation time {self._first()} is beyond {info.time.size} records",
                "lower `first` or `every`, or take a longer window",
            )
        channels = torch.tensor(self._channels(info))
        sites = self.locations.draw(truth, (info.samples * repeats, record.shape[0]), generator)
        index = _cells(sites, channels, info.num_channels)
        fields = truth.tensor(dtype=torch.float64)
        exact = _at(fields[:, record], index, repeats)
        signal = _signal(fields, truth)
        variance = (
            self.error.variances(signal).repeat(sites.shape[-1], 1)[:, channels].flatten().expand(exact.shape)
        )
        noise = torch.randn(exact.shape, generator=generator, dtype=torch.float64)
        arrives = torch.rand(exact.shape, generator=generator, dtype=torch.float64) >= self.missing
        present = arrives & self._holds_data(truth, record, index, repeats)
        value = torch.where(present, exact + variance.sqrt() * noise, torch.nan)
        return ObservationSet(record, index, value, variance)

    def _holds_data(
        self, truth: FieldData, record: Tensor, index: Int[Tensor, "batch time obs"], repeats: int
    ) -> Tensor:
        valid = truth.valid()
        if valid.shape[1] == 1:
            return torch.ones((), dtype=torch.bool)  # sites are on points that are valid at every time
        shape = (truth.view.num_samples, record.shape[0], *truth.info.shape, truth.info.num_channels)
        return _at(valid[:, record].expand(shape), index, repeats)

    def _first(self) -> int:
        if self.first is not None:
            return self.first
        return 1 if self.warmup > 0 else self.every

    def _records(self, info: FieldsInfo) -> list[int]:
        first, size = self._first(), info.time.size
        if self.warmup == 0:
            return list(range(first, size, self.every))
        last = first + self.warmup - 1
        return [*range(first, min(last + 1, size)), *range(last + self.every, size, self.every)]

    def _channels(self, info: FieldsInfo) -> list[int]:
        names = list(info.variables)
        return [names.index(name) for name in self.variables] or list(range(len(names)))

    def num_observations(self, fields: FieldsInfo) -> int:
        """Return sites times variables."""
        return self.locations.num_sites(fields) * len(self._channels(fields))

    def num_times(self, fields: FieldsInfo) -> int:
        """Return the number of observation times."""
        return len(self._records(fields))

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Refuse unknown variables, windows without an observation time, and what the sites find wrong."""
        known = list(fields.variables)
        for position, name in enumerate(self.variables):
            if name not in known:
                yield Problem(
                    ("variables", position), f"unknown variable '{name}' (known: {', '.join(known)})"
                )
        if self.num_times(fields) == 0:
            yield Problem(
                ("every",),
                f"no observation time within {fields.time.size} records (first at {self._first()}); lower it",
            )
        yield from (problem.below("locations") for problem in self.locations.check(fields))


def _cells(
    sites: Int[Tensor, "batch time site"], channels: Tensor, num_channels: int
) -> Int[Tensor, "batch time obs"]:
    """Return the cells of the observed channels at each site, channel fastest; fixed sites stay one row."""
    fixed = [1 if sites.stride(dim) == 0 else size for dim, size in enumerate(sites.shape[:2])]
    rows = sites[: fixed[0], : fixed[1]]
    cells = (rows[..., None] * num_channels + channels).flatten(2)
    return cells.expand(sites.shape[0], sites.shape[1], -1)


def _at(fields: Tensor, index: Int[Tensor, "batch time obs"], repeats: int) -> Tensor:
    """Return fields `(sample, time, *space, channel)` at cells, samples repeated."""
    flat = fields.flatten(2).repeat_interleave(repeats, dim=0) if repeats > 1 else fields.flatten(2)
    return flat.gather(2, index)


def _signal(fields: Tensor, truth: FieldData) -> Float[Tensor, " channel"]:
    """Return the variance of each channel over the cells that hold data."""
    valid = truth.valid().to(fields.dtype).expand(fields.shape)
    dims = tuple(range(fields.ndim - 1))
    count = valid.sum(dims)
    mean = (fields * valid).sum(dims) / count
    return ((fields - mean).square() * valid).sum(dims) / count
