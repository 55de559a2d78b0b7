"""What a cycle leaves behind: ensembles, departures and the figures that say whether they fit."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from koopcast.assimilation.base import Analysis
from koopcast.dynamics import Dynamics
from koopcast.errors import Diverged, InvalidInput
from koopcast.fields import FieldData
from koopcast.numerics.particles import ancestors, gathered, weighted_split
from koopcast.observations.base import ObservationSet

if TYPE_CHECKING:
    from koopcast.assimilation.cycle import CycleState

BLOCK_BYTES = 8 * 2**20
"""Memory of the ensembles that wait to be summed up."""
BLOCK_CYCLES = 128
"""Cycles that are summed up at once, at most."""


@dataclass(frozen=True)
class Cycles:
    """Records of consecutive observation times. Fields are float32; `member` has the size 1 where the mean is
    kept.
    """

    record: Int[Tensor, " time"]
    background: Float[Tensor, "batch member time *space channel"]
    analysis: Float[Tensor, "batch member time *space channel"]
    background_spread: Float[Tensor, "batch time *space channel"]
    analysis_spread: Float[Tensor, "batch time *space channel"]
    """Standard deviation over members (for a method without an ensemble: what it states)."""
    observed_background: Float[Tensor, "batch time obs"]
    observed_analysis: Float[Tensor, "batch time obs"]
    """What is observed of the ensemble means, so that O-B and O-A are differences with the observations."""
    figures: dict[str, Float[Tensor, "batch time"]]
    """`background_rmse`, `rmse`, `background_spread`, `spread` (root mean square over cells that hold data);
    `innovation_mean`, `innovation_rms`, `chi_square` and `degrees_of_freedom` per observation;
    `observations`, their number; what else a method says of itself, such as `n_eff`."""
    state: "CycleState"
    """The state after the last of these cycles."""


class Recorder:
    """Collects ensembles, and sums them up a block at a time: one operation for many small cycles."""

    def __init__(
        self, dynamics: Dynamics, truth: FieldData, observations: ObservationSet, ensemble: Tensor, keep: str
    ) -> None:
        if keep not in ("members", "mean"):
            raise InvalidInput(f"keep is '{keep}'", "choose `members` or `mean`")
        self._dynamics, self._truth, self._observations = dynamics, truth, observations
        self._keeps_members = keep == "members"
        size = max(1, min(BLOCK_CYCLES, observations.num_times, BLOCK_BYTES // (2 * ensemble.nbytes)))
        self._size = size
        self._background: list[Tensor] = []
        self._analysis: list[Tensor] = []
        self._figures: list[Mapping[str, Tensor]] = []
        self._stds: list[Tensor | None] = []
        self._background_weights: list[Tensor | None] = []
        self._analysis_weights: list[Tensor | None] = []
        valid = truth.valid().expand(-1, -1, *truth.info.shape, truth.info.num_channels).flatten(2)
        weights = valid.double().to(ensemble.device)
        self._weights = weights / weights.sum(dim=2, keepdim=True).clamp_min(1)
        self._repeats = ensemble.shape[0] // truth.view.num_samples
        self._true = truth.tensor(dtype=torch.float32)[:, observations.record].to(ensemble.device)
        self._present = (~torch.isnan(observations.value)).sum(dim=2)

    @property
    def is_full(self) -> bool:
        """Whether the block should be flushed."""
        return len(self._figures) >= self._size

    def add(self, background: Float[Tensor, "batch member state"], analysis: Analysis) -> None:
        """Take in one cycle."""
        self._background.append(background)
        self._analysis.append(analysis.ensemble)
        self._figures.append(analysis.figures)
        self._stds.append(analysis.std)
        self._background_weights.append(analysis.background_weights)
        self._analysis_weights.append(analysis.weights)

    @torch.no_grad()
    def flush(self, state: "CycleState") -> Cycles:
        """Return the records of the cycles taken in, and forget them."""
        count = len(self._figures)
        cycles = slice(state.cycle - count, state.cycle)
        record = self._observations.record[cycles]
        fields, means, spreads = self._moments()
        if not bool(torch.isfinite(means.sum())):
            raise self._diverged(cycles.start)
        truth = self._true[:, cycles].repeat_interleave(self._repeats, dim=0)
        error, spread = self._rms(means - truth, record), self._rms(spreads, record)
        seen = self._seen(means, cycles)
        figures = self._summary(cycles, seen[0]) | {
            "background_rmse": error[0],
            "rmse": error[1],
            "background_spread": spread[0],
            "spread": spread[1],
        }
        kept = (fields.movedim(1, 3) if self._keeps_members else means[:, :, None]).float()
        self._background, self._analysis, self._figures, self._stds = [], [], [], []
        self._background_weights, self._analysis_weights = [], []
        return Cycles(
            record=record,
            background=kept[0],
            analysis=kept[1],
            background_spread=spreads[0].float(),
            analysis_spread=spreads[1].float(),
            observed_background=seen[0],
            observed_analysis=seen[1],
            figures=figures,
            state=state,
        )

    def _diverged(self, first: int) -> Diverged:
        finite = [bool(torch.isfinite(ensemble).all()) for ensemble in self._background]
        at = finite.index(False)
        return diverged(self._background[at], first + at, self._observations.num_times)

    def _moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return fields `(2, time, batch, member, *space, channel)`; mean and spread `(2, batch, time, ...)`.

        The first axis holds background and analysis.
        """
        block = torch.stack(self._background + self._analysis)
        batch, member = block.shape[1:3]
        fields = self._decoded(block.flatten(0, 2)).unflatten(0, (2, -1, batch, member))
        weights = self._weighting(block)
        if weights is None:
            means = fields.mean(dim=3)
            squares = (fields - means[:, :, :, None]).square_().sum(dim=3)
            spreads = squares.div_(max(1, member - 1)).sqrt_()
        else:
            fields, means, spreads = _weighted(fields, weights, draws=self._keeps_members)
        stated = [std for std in self._stds if std is not None]
        if stated:
            unknown = torch.full_like(stated[0], torch.nan)
            whole = torch.stack([unknown if std is None else std for std in self._stds])
            spreads[1] = whole.reshape(spreads[1].shape)
        return fields, means.movedim(1, 2), spreads.movedim(1, 2)

    def _weighting(self, block: Tensor) -> Float[Tensor, "2 time batch member"] | None:
        """Return the weights of the members of the block; None where all are equal."""
        given = self._background_weights + self._analysis_weights
        if all(weight is None for weight in given):
            return None
        equal = block.new_full(block.shape[1:3], 1 / block.shape[2])
        whole: Tensor = torch.stack([equal if weight is None else weight for weight in given])
        return whole.reshape(2, -1, *equal.shape)

    def _decoded(self, states: Float[Tensor, "many state"]) -> Float[Tensor, "many *space channel"]:
        if self._dynamics.is_physical:
            return states.reshape(
                states.shape[0], *self._dynamics.info.shape, self._dynamics.info.num_channels
            )
        return self._dynamics.decode(states.to(self._dynamics.dtype)).double()

    def _seen(
        self, means: Float[Tensor, "2 batch time *space channel"], cycles: slice
    ) -> Float[Tensor, "2 batch time obs"]:
        observations, cells = self._observations, means.flatten(3)
        if observations.operator is None:
            return cells.gather(3, observations.index[:, cycles].expand(2, -1, -1, -1))
        numbers = range(cycles.start, cycles.stop)
        # Background and analysis stand beside each other as two members.
        seen = [
            observations.seen(cells[:, :, place].transpose(0, 1), number)
            for place, number in enumerate(numbers)
        ]
        return torch.stack(seen, dim=2).transpose(0, 1)

    def _rms(
        self, fields: Float[Tensor, "2 batch time *space channel"], record: Int[Tensor, " time"]
    ) -> Float[Tensor, "2 batch time"]:
        """Return the root mean square over cells that hold data."""
        squares = fields.flatten(3).square()
        if self._weights.shape[:2] == (1, 1):
            return (squares @ self._weights[0, 0]).sqrt()
        weights = self._weights[:, record] if self._weights.shape[1] > 1 else self._weights
        return (squares * weights.repeat_interleave(self._repeats, dim=0)).sum(dim=3).sqrt()

    def _summary(self, cycles: slice, seen: Tensor) -> dict[str, Tensor]:
        """Return figures per observation; NaN at times without any."""
        present = self._present[:, cycles]
        innovation = self._observations.value[:, cycles] - seen
        figures = {
            "observations": present.double(),
            "innovation_mean": innovation.nansum(dim=2) / present,
            "innovation_rms": (innovation.square().nansum(dim=2) / present).sqrt(),
        }
        nothing = torch.full_like(seen[:, 0, 0], torch.nan)
        for name in ("degrees_of_freedom", "chi_square"):
            column = torch.stack([figure.get(name, nothing) for figure in self._figures], dim=1)
            figures[name] = column / present
        others = dict.fromkeys(name for figure in self._figures for name in figure if name not in figures)
        for name in others:
            figures[name] = torch.stack([figure.get(name, nothing) for figure in self._figures], dim=1)
        return figures


def _weighted(
    fields: Float[Tensor, "2 time batch member *cell"],
    weights: Float[Tensor, "2 time batch member"],
    draws: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return members of equal weight, and mean and spread of a weighted population.

    The members are drawn by a comb in the order of the population, without chance: each is there N w times,
    up to one. Their mean differs from the weighted one by that rounding.
    """
    flat, weight = fields.flatten(4).flatten(0, 2), weights.flatten(0, 2)
    mean, anomalies = weighted_split(flat, weight)
    spread = anomalies.square().sum(dim=1).sqrt()
    shape = (*fields.shape[:3], *fields.shape[4:])
    if draws:
        comb = torch.full_like(weight, 0.5)
        fields = gathered(flat, ancestors(weight, "systematic", comb)).reshape(fields.shape)
    return fields, mean.reshape(shape), spread.reshape(shape)


def joined(blocks: Iterable[Cycles]) -> Cycles:
    """Return blocks of one run as one, for runs that fit into memory."""
    parts = list(blocks)
    whole = {
        name: torch.cat([getattr(part, name) for part in parts], dim=dim)
        for name, dim in {
            "record": 0, "background": 2, "analysis": 2, "background_spread": 1, "analysis_spread": 1,
            "observed_background": 1, "observed_analysis": 1,
        }.items()
    }  # fmt: skip
    figures = {name: torch.cat([part.figures[name] for part in parts], dim=1) for name in parts[0].figures}
    return Cycles(**whole, figures=figures, state=parts[-1].state)


def diverged(ensemble: Float[Tensor, "batch member state"], cycle: int, total: int) -> Diverged:
    """Return the error of an ensemble that is not finite."""
    finite = torch.isfinite(ensemble).flatten(1).all(dim=1)
    experiments = (~finite).nonzero()[:, 0].tolist()
    named = f"experiments {experiments[:5]}" if experiments else "the sum over members"
    return Diverged(
        f"the ensemble is not finite in the forecast to observation time {cycle + 1} of {total} ({named} of "
        f"{ensemble.shape[0]})",
        "raise `inflation` or `members`, localise, or check that the model is stable",
    )
