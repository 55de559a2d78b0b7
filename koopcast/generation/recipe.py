"""What every generation has in common: samples from streams of their own, made in blocks and verified."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from koopcast.distributions.base import DistributionSpec
from koopcast.errors import ComputeError, Underresolved
from koopcast.generation.thinning import kept
from koopcast.grids import FieldsInfo
from koopcast.rng import numpy_generator, torch_generator
from koopcast.samplers.base import Points, SamplerSpec

MOST_ATTEMPTS = 20
"""How often one sample is drawn anew before it counts as impossible."""
Write = Callable[[int, int | None, Mapping[str, Float[np.ndarray, "sample *rest"]]], None]
"""Takes the first sample, the first record (None: all) and the values of each variable."""
Advance = Callable[[int], None]
"""Hears how many units of work have been done since the last call."""


@dataclass(frozen=True)
class Draws:
    """Where random numbers come from: each attempt at a sample has a stream of its own."""

    seed: int
    samples: int = 1
    laws: Mapping[str, DistributionSpec] = field(default_factory=dict)
    """Of the parameters that differ from sample to sample."""
    design: SamplerSpec | None = None
    """How parameters are laid out over their laws; None: independently."""

    def generator(self, sample: int, attempt: int = 0) -> torch.Generator:
        """Return the stream of one attempt at a sample."""
        return torch_generator(self.seed, "sample", sample, attempt)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Parameters, in an order of their own whatever the order in which they were written."""
        return tuple(sorted(self.laws))

    @cached_property
    def points(self) -> Points:
        """The design of all samples, in the unit cube."""
        generator = numpy_generator(self.seed, "design")
        if self.design is not None and self.names:
            return self.design.points(self.samples, len(self.names), generator)
        return Points(generator.random((self.samples, len(self.names))), np.ones(self.samples))

    @cached_property
    def is_weighted(self) -> bool:
        """Whether samples count differently in means over the laws."""
        return bool(self.names) and bool(np.any(self.points.weight != 1))

    def weight(self, sample: int, attempt: int = 0) -> float:
        """Return the weight of a sample; one drawn anew stands for itself alone."""
        return 1.0 if attempt or not self.names else float(self.points.weight[sample])

    def parameters(self, sample: int, attempt: int = 0) -> dict[str, float]:
        """Return the parameters of a sample: the point of the design, or where that failed a draw from the
        laws.
        """
        if not self.names:
            return {}
        u = self.points.points[sample]
        if attempt:
            u = numpy_generator(self.seed, "parameters", sample, attempt).random(len(self.names))
        inside = np.clip(u, 2.0**-54, 1 - 2.0**-53)
        return {
            name: float(self.laws[name].quantile(np.asarray([value]))[0])
            for name, value in zip(self.names, inside, strict=True)
        }


@dataclass
class Made:
    """What is known of a block beside its fields: numbers and texts alone, which can be kept as JSON."""

    figures: dict[str, list[float]] = field(default_factory=dict)
    """Name of a variable `(sample)` -> its values, in the order of the samples."""
    refused: dict[str, str] = field(default_factory=dict)
    """Sample -> why its first attempt was refused."""
    notes: dict[str, float] = field(default_factory=dict)
    """Figures of the whole run."""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Recipe(ABC):
    """How a dataset is made. Blocks do not depend on one another, nor on who makes them."""

    draws: Draws
    block: int
    """Samples made together."""
    dtype: str = "float32"
    """Of the fields as they are kept."""
    max_failed_fraction: float = 0.0
    """Share of the samples that may be refused, and is drawn anew."""
    every_point: int = 1
    """Of so many points along each space axis one is kept."""

    @property
    def samples(self) -> int:
        """Samples of the dataset."""
        return self.draws.samples

    @property
    def num_blocks(self) -> int:
        """Number of blocks."""
        return -(-self.samples // self.block)

    def members(self, block: int) -> range:
        """Return the samples of a block."""
        return range(block * self.block, min((block + 1) * self.block, self.samples))

    @property
    def allowed(self) -> int:
        """Samples that may be refused."""
        return int(self.max_failed_fraction * self.samples + 1e-9)

    @property
    @abstractmethod
    def computed(self) -> FieldsInfo:
        """The contract of the fields as they are computed, on the system's own grid."""

    @property
    def info(self) -> FieldsInfo:
        """The contract of the fields as they are kept."""
        return kept(self.computed, self.every_point, is_varied=bool(self.draws.names))

    @property
    @abstractmethod
    def unit(self) -> str:
        """What work is counted in: `record` or `sample`."""

    @property
    @abstractmethod
    def work_of_sample(self) -> int:
        """Units of work that one sample takes."""

    @abstractmethod
    def template(self) -> xr.Dataset:
        """Return the dataset, its fields lazy and empty."""

    @abstractmethod
    def make(self, block: int, write: Write, advance: Advance) -> Made:
        """Make the samples of a block, and verify them.

        Raises:
            Diverged: A sample is not finite, or its linear system was not solved.
            Underresolved: Step or grid are too coarse.
        """

    @abstractmethod
    def attributes(self) -> dict[str, str | float | int]:
        """Return what the dataset says of its origin."""

    def refuse_beyond_share(self, refused: Mapping[str, str]) -> None:
        """Check the samples that were refused in all blocks together.

        Raises:
            Underresolved: They are more than may be.
        """
        if len(refused) > self.allowed:
            sample = min(refused, key=int)
            raise too_many(self, len(refused), Underresolved(refused[sample], "see why, or allow more"))

    def parameters(self, samples: Sequence[int], attempt: int) -> dict[str, list[float]]:
        """Return the values of the varied options, sample by sample."""
        drawn = [self.draws.parameters(sample, attempt) for sample in samples]
        return {name: [values[name] for values in drawn] for name in self.draws.names}


class Attempts:
    """The samples of a block still to be made: those refused are drawn anew, up to a share of all."""

    def __init__(self, recipe: Recipe, block: int) -> None:
        self._recipe = recipe
        self._allowed = recipe.allowed
        self._todo: list[int] = list(recipe.members(block))
        self._refused: list[int] = []
        self.reasons: dict[int, str] = {}
        self.number = 0

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the samples of each attempt."""
        while self._todo:
            yield self._todo
            self._todo, self._refused = sorted(self._refused), []
            self.number += 1

    def refuse(self, sample: int, error: ComputeError) -> None:
        """Note that an attempt at a sample failed.

        Raises:
            ComputeError: More fail than may.
        """
        if not self._allowed:
            raise error
        if sample in self._refused:
            return
        self.reasons.setdefault(sample, error.message)
        if len(self.reasons) > self._allowed:
            raise too_many(self._recipe, len(self.reasons), error)
        if self.number + 1 >= MOST_ATTEMPTS:
            raise type(error)(f"{error.message} (attempt {self.number + 1} at this sample)", error.remedy)
        self._refused.append(sample)


def too_many(recipe: Recipe, failed: int, error: ComputeError) -> ComputeError:
    """Return the error of a run in which more samples were refused than may be."""
    share = recipe.max_failed_fraction
    return type(error)(
        f"{failed} of {recipe.samples} samples were refused, above max_failed_fraction = {share:g}; "
        f"one: {error.message}",
        error.remedy,
    )
