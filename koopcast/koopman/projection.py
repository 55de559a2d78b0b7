"""States of Koopman models that are stacks of delayed frames in their leading singular directions."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import PositiveFloat
from torch import Tensor

from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.koopman.base import KoopmanModel, LatentSpec, Rank
from koopcast.koopman.snapshots import (
    Snapshots,
    chosen_rows,
    complete,
    delayed,
    firsts,
    pairs,
    rank_of_shape,
    read_snapshots,
)
from koopcast.koopman.spectrum import eigenpairs
from koopcast.koopman.streams import Stream
from koopcast.mapping import MappingSpec
from koopcast.models import Model
from koopcast.numerics.low_rank import column_signs, truncated_svd
from koopcast.numerics.pod import Blocks
from koopcast.numerics.ridge import covariance_factor
from koopcast.numerics.stability import stabilised
from koopcast.numerics.streaming_svd import incremental_basis, randomised_basis
from koopcast.spec import Problem
from koopcast.subsets import SubsetSpec

COPIES = 4
"""Of the stacks, in a fit in memory: the frames, the pairs' first states, and two of them in the
decomposition."""
STREAMED_RANK = 128
"""Directions that are looked for in streamed frames where `rank` is no number."""


class ProjectedSpec(LatentSpec):
    """Options of linear maps of stacked frames in their leading singular directions."""

    svd: Literal["auto", "memory", "randomised", "incremental"] = "auto"
    """How the directions are found: of frames held in `memory`; or of frames read block by block, by a
    `randomised` decomposition of up to ten passes or an `incremental` one of a single pass. `auto`: in memory
    where they fit, else randomised. Block by block, `rank` is a number, or a share of the variance that 128
    directions reach."""
    memory: PositiveFloat = 2.0
    """Gigabytes that a fit in memory may take: four times the stacks of the training part in double
    precision."""

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Yield what the shapes alone rule out."""
        yield from super().check(fields)
        yield from self.own_rules(fields)

    def own_rules(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Yield what the method alone rules out; nothing here."""
        yield from ()

    def refuse(self, fields: FieldsInfo) -> None:
        """Refuse fields to which the method's own rules do not apply.

        Raises:
            DataError: The first of them.
        """
        for problem in self.own_rules(fields):
            raise DataError(problem.message)

    def restore(
        self, info: FieldsInfo, tensors: Mapping[str, Tensor], mapping: MappingSpec | None = None
    ) -> Model:
        """Return the model that these tensors define."""
        return ProjectedModel(info, self.delays, tensors)

    def streams(self, fields: FieldsInfo) -> bool:
        """Return whether the frames of these fields are read block by block."""
        values = fields.samples * fields.time.size * fields.num_cells * fields.num_channels
        is_large = COPIES * 8 * values * self.delays > self.memory * 1e9
        return is_large if self.svd == "auto" else self.svd != "memory"

    def _rank_limit(self, fields: FieldsInfo, pairs: int) -> int:
        return min(self.delays * fields.num_cells * fields.num_channels, pairs)


class LinearMapSpec(ProjectedSpec):
    """Options of models whose map is found from pairs of projected states."""

    stable: bool = False
    """Whether eigenvalues outside the unit circle are drawn to it, each along its ray; the Schur vectors of
    the map stay."""

    @abstractmethod
    def solve(
        self, states: Float[Tensor, "pair state"], following: Float[Tensor, "pair state"]
    ) -> tuple[Float[Tensor, "state state"], float]:
        """Return K with following ≈ states Kᵀ, and the pairs that were spent on it (degrees of freedom).

        Raises:
            DataError: The pairs do not determine it.
        """

    def fit(self, data: FieldData, generator: torch.Generator, subset: SubsetSpec | None = None) -> Model:
        """Return the model of the training window; the singular directions are those of all its stacks."""
        projection = project(data, self, generator)
        states, following = projection.pairs(subset, generator)
        K, spent = self.solve(states, following)
        fit = Fit(stabilised(K) if self.stable else K, states, following, spent)
        return assembled(data.info, self.delays, projection, fit)


class ProjectedModel(KoopmanModel):
    """The state is the projection of the stacked frames; `directions` is `(delay · value, rank)`."""

    def encode(self, frames: Float[Tensor, "batch history *space channel"]) -> Float[Tensor, "batch state"]:
        """Return the projection of the stack."""
        return delayed(self._normalised(frames), self.history)[:, -1] @ self._tensors["directions"]


@dataclass(frozen=True)
class Projection:
    """All states of a training window, scaled so that the leading entry has about unit variance."""

    states: Float[Tensor, "sample state_time rank"]
    """States with a missing frame hold no meaning."""
    is_present: Bool[Tensor, " time"]
    tensors: dict[str, Tensor]
    """`cells`, `background`, `offset`, `factor`, `basis` and `directions` of the model."""
    explained: Float[Tensor, ""]
    """Share of the variance of the stacks."""
    frames: Blocks
    """Hands out the normalised newest frames of the first states of all pairs."""

    @property
    def rank(self) -> int:
        """Entries of a state."""
        return self.states.shape[2]

    def pairs(
        self, subset: SubsetSpec | None, generator: torch.Generator
    ) -> tuple[Float[Tensor, "pair rank"], Float[Tensor, "pair rank"]]:
        """Return states and those one step later; those of a subset are multiplied by the roots of their
        weights.
        """
        X, Y = pairs(self.states, self.is_present)
        if subset is None:
            return X, Y
        rows, root = chosen_rows(self.frames, subset, generator)
        return root * X[rows], root * Y[rows]


@dataclass(frozen=True)
class Fit:
    """A map of projected states and the pairs that it was found from."""

    K: Float[Tensor, "state state"]
    states: Float[Tensor, "pair state"]
    following: Float[Tensor, "pair state"]
    spent: float
    """Pairs that count as spent on the map, in the covariance of the residuals."""


def assembled(info: FieldsInfo, delays: int, projection: Projection, fit: Fit) -> ProjectedModel:
    """Return the model of a map, with its spectrum, the covariance of its residuals and its figures."""
    return ProjectedModel(info, delays, projection.tensors | described(projection, fit))


def described(projection: Projection, fit: Fit) -> dict[str, Tensor]:
    """Return what a map adds to the tensors of a projection."""
    residual = fit.following - fit.states @ fit.K.mT
    error = residual.norm() / fit.following.norm()
    count = torch.tensor(float(len(residual)), dtype=torch.float64)
    return {
        "operator": fit.K.contiguous(),
        "noise": covariance_factor(residual, fit.spent),
        "figures": torch.stack([projection.explained, count, error]),
        **eigenpairs(fit.K, fit.states, fit.following, len(fit.K)),
    }


def project(
    data: FieldData, spec: ProjectedSpec, generator: torch.Generator, *, needs_pairs: bool = True
) -> Projection:
    """Return the states of a window in the leading right singular directions of its stacks.

    Args:
        data: Fields; the window is what may be seen.
        spec: Rank, delays, normalisation, and whether frames are read block by block.
        generator: Of the start of a randomised decomposition.
        needs_pairs: Whether the directions are those of the states that another one follows, as in exact
            DMD; else those of all states.
    """
    source = Stream(data, spec) if spec.streams(data.shape_info) else read_snapshots(data, spec)
    is_row = (firsts if needs_pairs else complete)(source.is_present, spec.delays)
    if isinstance(source, Stream):
        reduced = _streamed(source, spec, is_row, generator)
    else:
        reduced = _held(source, spec, is_row, generator)
    directions, size = reduced.directions, reduced.size
    tensors = source.tensors | {
        # One number brings the leading entry to unit variance; it cancels between encoding and decoding.
        "factor": source.tensors["factor"] * size,
        "basis": directions[: len(source.tensors["offset"])].contiguous(),
        "directions": directions.contiguous(),
    }
    newest = partial(source.newest, is_row)
    return Projection(reduced.states / size, source.is_present, tensors, reduced.explained, newest)


@dataclass(frozen=True)
class _Reduced:
    """Components of the stacks, not scaled yet."""

    states: Float[Tensor, "sample state_time rank"]
    directions: Float[Tensor, "stacked rank"]
    explained: Float[Tensor, ""]
    size: Float[Tensor, ""]
    """Root mean square of the leading component."""


def _held(
    snapshots: Snapshots, spec: ProjectedSpec, is_row: Bool[Tensor, " state_time"], generator: torch.Generator
) -> _Reduced:
    """Return the components of stacks that are held in memory."""
    stacks = snapshots.values if spec.delays == 1 else delayed(snapshots.values, spec.delays)
    X = stacks[:, is_row].flatten(0, 1)
    wanted = spec.rank if isinstance(spec.rank, int) else None
    _, singular, directions = truncated_svd(X, wanted, generator)
    rank = rank_of_shape(spec.rank, singular, X.shape, X.square().sum())
    directions = directions[:, :rank]
    explained = singular[:rank].square().sum() / X.square().sum()
    return _Reduced(stacks @ directions, directions, explained, singular[0] / len(X) ** 0.5)


def _streamed(
    stream: Stream, spec: ProjectedSpec, is_row: Bool[Tensor, " state_time"], generator: torch.Generator
) -> _Reduced:
    """Return the components of stacks that are read block by block."""
    size = spec.delays * len(stream.tensors["offset"])
    wanted = spec.rank if isinstance(spec.rank, int) else STREAMED_RANK
    blocks = partial(stream.rows, is_row)
    if spec.svd == "incremental":
        Q = incremental_basis(blocks, size, wanted)
    else:
        Q = randomised_basis(blocks, size, wanted, generator)
    components, total = stream.components(Q, is_row)
    X = components[:, is_row].flatten(0, 1)
    _, singular, W = truncated_svd(X, wanted, generator)
    shape = torch.Size((len(X), size))
    if wanted < min(shape):
        _refuse_short(spec.rank, singular, total)
    rank = rank_of_shape(spec.rank, singular, shape, total)
    directions = Q @ W[:, :rank]
    signs = column_signs(directions)
    states = components @ (W[:, :rank] * signs)
    return _Reduced(
        states, directions * signs, singular[:rank].square().sum() / total, singular[0] / len(X) ** 0.5
    )


def _refuse_short(rank: Rank, singular: Float[Tensor, " rank"], total: Float[Tensor, ""]) -> None:
    """Refuse a rank that needs more directions than streamed frames were searched for.

    Raises:
        DataError: It does.
    """
    share = float(singular.square().sum() / total)
    if not isinstance(rank, int) and (not isinstance(rank, float) or share < rank) and share < 1 - 1e-12:
        raise DataError(
            f"rank {rank} asked of frames that are read block by block, and {STREAMED_RANK} directions hold "
            f"{share:.4f} of their variance",
            "give `rank` as a number, or `memory` for them all",
        )
