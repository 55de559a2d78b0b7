"""What models with a dictionary share: coordinates of the fields, and observables of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.koopman.base import KoopmanSpec
from koopcast.koopman.dictionaries import AnyDictionary
from koopcast.koopman.dictionaries.base import DictionarySpec
from koopcast.koopman.snapshots import (
    Snapshots,
    chosen_pairs,
    chosen_rank,
    delayed,
    pairs,
    read_snapshots,
)
from koopcast.numerics.low_rank import truncated_svd
from koopcast.spec import Problem
from koopcast.subsets import SubsetSpec

MAX_OBSERVABLES = 5000
PREFIX = "dictionary."


@dataclass(frozen=True)
class CoordinatePairs:
    """Coordinates of states and of their successors."""

    X: Float[Tensor, "pair coordinate"]
    Y: Float[Tensor, "pair coordinate"]
    snapshots: Snapshots
    """The coordinates of all frames; its tensors lead from fields to them."""
    explained: Float[Tensor, ""]
    """Share of the variance that they hold."""
    rows: Int[Tensor, " chosen"] | None = None
    """Which of all pairs these are; None: all."""
    root: Float[Tensor, "chosen 1"] | None = None
    """Roots of their weights; None: all alike."""


@dataclass(frozen=True)
class Lifted:
    """Observables of coordinate pairs, the coordinates first."""

    pairs: CoordinatePairs
    before: Float[Tensor, "pair observable"]
    after: Float[Tensor, "pair observable"]
    chosen: dict[str, Tensor]
    """What the dictionary took from the data."""


class ProjectedSpec(KoopmanSpec):
    """Options of models of coordinates: principal components, or the values as they are."""

    coordinates: Literal["components", "values"] = "components"
    """What stands for a frame: its `rank` leading principal components, or all its normalised values in
    their order, which suits systems of few variables (`rank` then has no effect)."""

    def coordinate_pairs(
        self, data: FieldData, generator: torch.Generator, subset: SubsetSpec | None
    ) -> CoordinatePairs:
        """Return the coordinates of the training window; projections see all frames."""
        frames = read_snapshots(data, self)
        return self._pairs(frames, *self.projected(frames, generator), generator, subset)

    def _pairs(
        self,
        frames: Snapshots,
        snapshots: Snapshots,
        explained: Float[Tensor, ""],
        generator: torch.Generator,
        subset: SubsetSpec | None,
    ) -> CoordinatePairs:
        X, Y = pairs(delayed(snapshots.values, self.delays), snapshots.is_present)
        if subset is None:
            return CoordinatePairs(X, Y, snapshots, explained)
        rows, root = chosen_pairs(frames, self.delays, subset, generator)
        return CoordinatePairs(X[rows], Y[rows], snapshots, explained, rows, root)

    def num_coordinates(self, fields: FieldsInfo) -> int | None:
        """Return how many coordinates a state has, None where only the data say."""
        if self.coordinates == "values":
            return fields.num_cells * fields.num_channels * self.delays
        return self.rank * self.delays if isinstance(self.rank, int) else None

    def projected(self, snapshots: Snapshots, generator: torch.Generator) -> tuple[Snapshots, Tensor]:
        """Return coordinates of the frames, the leading one of unit variance, and their share of the
        variance.
        """
        frames = snapshots.frames()
        if self.coordinates == "values":
            tensors = snapshots.tensors | {"basis": torch.eye(frames.shape[1], dtype=frames.dtype)}
            return Snapshots(snapshots.values, snapshots.is_present, tensors), frames.new_ones(())
        wanted = self.rank if isinstance(self.rank, int) else None
        _, singular, directions = truncated_svd(frames, wanted, generator)
        rank = chosen_rank(self.rank, singular, frames)
        basis = directions[:, :rank].contiguous()
        # One number brings the leading component to unit variance, so that products stay near 1.
        size = singular[0] / len(frames) ** 0.5
        tensors = snapshots.tensors | {"basis": basis, "factor": snapshots.tensors["factor"] * size}
        explained = singular[:rank].square().sum() / frames.square().sum()
        return Snapshots(snapshots.values @ basis / size, snapshots.is_present, tensors), explained


class LiftedSpec(ProjectedSpec):
    """Options of models of a dictionary of observables."""

    dictionary: AnyDictionary = Field(default="linear", validate_default=True)
    """Observables beside the coordinates."""

    def lifted(self, data: FieldData, generator: torch.Generator, subset: SubsetSpec | None) -> Lifted:
        """Return the observables of the training window; projection and dictionary see all its frames.

        Raises:
            DataError: The dictionary is too large.
        """
        frames = read_snapshots(data, self)
        snapshots, explained = self.projected(frames, generator)
        states = delayed(snapshots.values, self.delays)
        check_size(states.shape[2] + self.dictionary.num_observables(states.shape[2]))
        # The dictionary draws first: it is the same whatever subset is chosen.
        chosen = self.dictionary.prepare(pairs(states, snapshots.is_present)[0], generator)
        found = self._pairs(frames, snapshots, explained, generator, subset)
        if subset is not None:
            before, after = (observables(self.dictionary, u, chosen) for u in (found.X, found.Y))
        else:
            # Most states are both the end of a pair and the start of the next.
            psi = observables(self.dictionary, states.flatten(0, 1), chosen).unflatten(0, states.shape[:2])
            before, after = pairs(psi, found.snapshots.is_present)
        return Lifted(found, before, after, chosen)

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Yield what the shapes alone rule out, the size of the dictionary included."""
        yield from super().check(fields)
        if (coordinates := self.num_coordinates(fields)) is None:
            return
        size = coordinates + self.dictionary.num_observables(coordinates)
        train = fields.parts.get("train", fields.whole)
        num_pairs = train.num_samples * (train.num_times - self.delays)
        if size > MAX_OBSERVABLES:
            message = f"{size} observables are above {MAX_OBSERVABLES}; lower rank, delays or degree"
            yield Problem(("dictionary",), message)
        elif num_pairs > 0 and (fault := self.faulty_size(size, num_pairs)):
            yield Problem(("dictionary",), fault)

    def faulty_size(self, size: int, num_pairs: int) -> str | None:
        """Return why so many observables cannot be fitted to so many pairs, and what to do."""
        return None


def check_size(size: int) -> None:
    """Refuse so many observables.

    Raises:
        DataError: They are above the limit.
    """
    if size > MAX_OBSERVABLES:
        raise DataError(f"{size} observables are above {MAX_OBSERVABLES}", "lower rank, delays or degree")


def observables(
    dictionary: DictionarySpec, coordinates: Float[Tensor, "batch coordinate"], chosen: Mapping[str, Tensor]
) -> Float[Tensor, "batch observable"]:
    """Return the coordinates and what the dictionary adds to them."""
    return torch.cat([coordinates, dictionary.lift(coordinates, chosen)], dim=1)


def with_prefix(chosen: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a dictionary under the names that they have among those of a model."""
    return {PREFIX + name: tensor for name, tensor in chosen.items()}


def without_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the dictionary among those of a model."""
    return {n.removeprefix(PREFIX): tensor for n, tensor in tensors.items() if n.startswith(PREFIX)}
