"""Observations drawn from a known truth: the instrument of twin experiments."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from koopcast.errors import EmptySelection
from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.observations.base import (
    InstrumentSpec,
    ObservationSet,
    ObservationType,
    Placed,
    Scene,
)
from koopcast.observations.locations import AnyLocations
from koopcast.observations.operators import AnyOperator
from koopcast.spec import Problem, Spec


class ObservationError(Spec):
    """Size of the error, given in exactly one way."""

    std: PositiveFloat | None = None
    """Standard deviation, in the units of the fields."""
    variance: PositiveFloat | None = None
    """Variance, in squared units of the fields."""
    snr_db: float | None = None
    """Signal to noise in decibels, 10 log10(variance of the variable in the window / error variance); of an
    operator other than the cells themselves, variance of each of its observations in time."""

    @model_validator(mode="after")
    def _is_given_once(self) -> "ObservationError":
        given = [name for name in ("snr_db", "std", "variance") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give exactly one of std, variance, snr_db (given: {', '.join(given) or 'none'})"
            )
        return self

    def variances(self, signal: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the error variance of what has the variance `signal` itself."""
        if self.snr_db is not None:
            return signal * 10 ** (-self.snr_db / 10)
        return torch.full_like(signal, self.variance if self.variance is not None else (self.std or 0.0) ** 2)


class Outliers(Spec):
    """Gross errors, which no stated error accounts for."""

    share: float = Field(0.05, gt=0, lt=1)
    """Probability that an observation has one."""
    size: PositiveFloat = 10.0
    """Its size in standard deviations of the error, up or down."""


class SyntheticSpec(InstrumentSpec):
    """What an operator sees of the truth at sites and regular times, with independent Gaussian errors."""

    kind: Literal["synthetic"] = "synthetic"
    locations: AnyLocations = Field(default="all", validate_default=True)
    """Where."""
    operator: AnyOperator = Field(default="index", validate_default=True)
    """What of the fields: cells at the sites, values between grid points, or functions of them."""
    error: ObservationError = ObservationError(std=1.0)
    """How well."""
    variables: list[str] = []
    """Which variables; empty: all. A formula and a matrix name theirs themselves."""
    every: PositiveInt = 1
    """Records from one observation time to the next."""
    warmup: NonNegativeInt = 0
    """Records from the first observation time on that are all observed, before every `every`-th one is. With
    an `every` beyond the end nothing is observed after them."""
    first: NonNegativeInt | None = None
    """Record of the first observation time; default `every`, or 1 with a `warmup`: the initial state itself
    is not analysed."""
    early: float = Field(0.0, ge=0, lt=1)
    """Share of a record step by which observations are made before their record: what they see lies linearly
    between two records. The cycle needs a `window` with the first guess at their time."""
    missing: float = Field(0.0, ge=0, lt=1)
    """Probability that an observation does not arrive."""
    outliers: Outliers | None = None
    """Gross errors, to prove quality control by."""

    reference = "the usual set-up of twin experiments"

    def observe(self, truth: FieldData, repeats: int, generator: torch.Generator) -> ObservationSet:
        """Return what the operator sees of the truth, plus noise."""
        info = truth.shape_info
        record = torch.tensor(self.records(info), dtype=torch.int64)
        if record.shape[0] == 0:
            raise EmptySelection(
                f"the first observation time {self._first()} is beyond {info.time.size} records",
                "lower `first` or `every`, or take a longer window",
            )
        scene = Scene(truth, self.locations, self._channels(info), record, info.samples * repeats)
        placed = self.operator.place(scene, generator)
        fields = truth.tensor(dtype=torch.float64)
        exact = _seen(fields, placed, scene, repeats)
        if self.early > 0:
            before = _seen(fields, placed, replace(scene, record=record - 1), repeats)
            exact = torch.lerp(exact, before, self.early)
        variance = self._variance(fields, exact, placed, scene)
        noise = torch.randn(exact.shape, generator=generator, dtype=torch.float64)
        arrives = torch.rand(exact.shape, generator=generator, dtype=torch.float64) >= self.missing
        if self.outliers is not None:
            noise = noise + _gross(self.outliers, exact.shape, generator)
        present = arrives & _holds_data(truth, placed, record, repeats)
        value = torch.where(present, exact + variance.sqrt() * noise, torch.nan)
        seen = ObservationSet(record, placed.index, value, variance, placed.operator)
        return self.finished(seen, self.kinds()[0], truth, placed.per_site)

    def _variance(
        self, fields: Tensor, exact: Float[Tensor, "batch time obs"], placed: Placed, scene: Scene
    ) -> Float[Tensor, "batch time obs"]:
        if self.operator.is_of_cells:
            variance = self.error.variances(_signal(fields, scene.truth))[list(scene.channels)]
            return variance.repeat(exact.shape[2] // placed.per_site).expand(exact.shape)
        return self.error.variances(exact.var(dim=(0, 1), correction=0)).expand(exact.shape)

    def _first(self) -> int:
        if self.first is not None:
            return self.first
        return 1 if self.warmup > 0 else self.every

    def records(self, info: FieldsInfo) -> list[int]:
        """Return the records of the window that are observed."""
        first, size = self._first(), info.time.size
        if self.warmup == 0:
            return list(range(first, size, self.every))
        last = first + self.warmup - 1
        return [*range(first, min(last + 1, size)), *range(last + self.every, size, self.every)]

    def _channels(self, info: FieldsInfo) -> tuple[int, ...]:
        names = list(info.variables)
        return tuple(names.index(name) for name in self.variables) or tuple(range(len(names)))

    def kinds(self) -> tuple[ObservationType, ...]:
        """Return the one type."""
        kind = ObservationType(
            reach=self.reach,
            early=self.early,
            qc=self.qc,
            is_located=self.operator.is_located,
            is_of_cells=self.operator.is_of_cells,
        )
        return (kind,)

    def num_observations(self, fields: FieldsInfo) -> int:
        """Return what the operator makes of the sites and variables."""
        sites = self.locations.num_sites(fields)
        return self.operator.num_observations(sites, len(self._channels(fields)), fields.num_cells)

    def num_times(self, fields: FieldsInfo) -> int:
        """Return the number of observation times."""
        return len(self.records(fields))

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Refuse unknown variables, windows without an observation time, and what the parts find wrong."""
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
        if self.early > 0 and self.first == 0:
            yield Problem(("early",), "nothing precedes the initial record; raise `first`")
        if not self.operator.has_sites and "locations" in self.model_fields_set:
            yield Problem(("locations",), f"operator `{self.operator.kind}` takes no sites; remove it")
        yield from (problem.below("operator") for problem in self.operator.check(fields))
        yield from (problem.below("locations") for problem in self.locations.check(fields))
        yield from (problem.below("qc") for problem in self.qc.check(fields))
        if not self.operator.is_located:
            for name in ("thinning", "buddy_check"):
                if getattr(self.qc, name) is not None:
                    yield Problem(("qc", name), f"observations of `{self.operator.kind}` have no place")


def _seen(fields: Tensor, placed: Placed, scene: Scene, repeats: int) -> Float[Tensor, "batch time obs"]:
    """Return what is seen of fields `(sample, time, *space, channel)`, samples repeated."""
    if placed.operator is None:
        return _at(fields[:, scene.record], placed.index, repeats)
    flat = fields[:, scene.record].flatten(2).repeat_interleave(repeats, dim=0)
    seen = [placed.operator.of(flat[:, None, number], number)[:, 0] for number in range(flat.shape[1])]
    return torch.stack(seen, dim=1)


def _holds_data(truth: FieldData, placed: Placed, record: Tensor, repeats: int) -> Bool[Tensor, "#b #t #o"]:
    if placed.present is not None:
        return placed.present
    if placed.operator is not None or not truth.info.is_masked:
        return torch.ones(1, 1, 1, dtype=torch.bool)
    valid = truth.valid()
    if valid.shape[1] == 1:
        return valid.flatten()[placed.index // truth.info.num_channels]
    shape = (truth.view.num_samples, record.shape[0], *truth.info.shape, truth.info.num_channels)
    return _at(valid[:, record].expand(shape), placed.index, repeats)


def _gross(outliers: Outliers, shape: torch.Size, generator: torch.Generator) -> Tensor:
    has_one = torch.rand(shape, generator=generator, dtype=torch.float64) < outliers.share
    sign = torch.rand(shape, generator=generator, dtype=torch.float64) < 0.5
    return outliers.size * has_one * (2.0 * sign - 1)


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
