"""What a cycle leaves behind: ensembles, departures and the figures that say whether they fit."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from koopcast.assimilation.base import Analysis
from koopcast.assimilation.guards import Guard, diverged, usual_size
from koopcast.dynamics import Dynamics
from koopcast.errors import Diverged, InvalidInput
from koopcast.fields import FieldData
from koopcast.numerics.particles import ancestors, gathered, weighted_split
from koopcast.observations.base import ObservationSet
from koopcast.observations.quality import Flag, is_used

if TYPE_CHECKING:
    from koopcast.assimilation.cycle import CycleState

BLOCK_BYTES = 8 * 2**20
"""Memory of the ensembles that wait to be summed up."""
BLOCK_CYCLES = 128
"""Cycles that are summed up at once, at most."""
PER_OBSERVATION = ("degrees_of_freedom", "chi_square")
"""Figures of a method that are sums over observations."""


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
    observed_spread: Float[Tensor, "batch time obs"]
    """Standard deviation over members of what is observed of the background; NaN for a single state."""
    flag: Int[Tensor, "batch time obs"]
    """What became of each observation; see `koopcast.observations.quality.Flag`."""
    figures: dict[str, Float[Tensor, "batch time"]]
    """`background_rmse`, `rmse`, `background_spread`, `spread` and `increment_rms` (root mean square over
    cells that hold data); `effective_dimension`, (tr P)² / tr P² of the background's sampled covariance P;
    `innovation_mean`, `innovation_rms`, `chi_square` and `degrees_of_freedom` per observation used;
    `observations`, their number, and `rejected`, those that quality control refused; and what the method
    states beside them."""
    state: "CycleState"
    """The state after the last of these cycles."""


class Taken(NamedTuple):
    """One cycle, before it is summed up."""

    background: Float[Tensor, "batch member state"]
    analysis: Analysis
    flag: Int[Tensor, "batch obs"] | None
    predicted: Float[Tensor, "batch member obs"] | None


class Recorder:
    """Collects ensembles, and sums them up a block at a time: one operation for many small cycles."""

    def __init__(
        self,
        dynamics: Dynamics,
        truth: FieldData,
        observations: ObservationSet,
        ensemble: Tensor,
        *,
        keep: str,
        guard: Guard,
    ) -> None:
        if keep not in ("members", "mean"):
            raise InvalidInput(f"keep is '{keep}'", "choose `members` or `mean`")
        self._dynamics, self._truth, self._observations = dynamics, truth, observations
        self._keeps_members, self._guard = keep == "members", guard
        size = max(1, min(BLOCK_CYCLES, observations.num_times, BLOCK_BYTES // (2 * ensemble.nbytes)))
        self._size = size
        self._taken: list[Taken] = []
        valid = truth.valid().expand(-1, -1, *truth.info.shape, truth.info.num_channels).flatten(2)
        weights = valid.double().to(ensemble.device)
        self._weights = weights / weights.sum(dim=2, keepdim=True).clamp_min(1)
        self._repeats = ensemble.shape[0] // truth.view.num_samples
        self._true = truth.tensor(dtype=torch.float32)[:, observations.record].to(ensemble.device)
        self._flag = observations.flag
        self._usual = usual_size(ensemble)

    @property
    def is_full(self) -> bool:
        """Whether the block should be flushed."""
        return len(self._taken) >= self._size

    def add(
        self,
        background: Float[Tensor, "batch member state"],
        analysis: Analysis,
        flag: Int[Tensor, "batch obs"] | None = None,
        predicted: Float[Tensor, "batch member obs"] | None = None,
    ) -> None:
        """Take in one cycle.

        Args:
            background: At the analysis.
            analysis: After it.
            flag: Of the observations; None: as they came.
            predicted: What is observed of the background, where that is not what its state shows.
        """
        self._taken.append(Taken(background, analysis, flag, predicted))

    @torch.no_grad()
    def flush(self, state: "CycleState", first: int) -> tuple[Cycles | None, Diverged | None]:
        """Return the records of the cycles taken in, and forget them; and why the chain must stop.

        Records end before the cycle at which it must.

        Args:
            state: After these cycles.
            first: Number of the first of them.
        """
        taken, self._taken = self._taken, []
        cycles, fault = self._summed(taken, state, first), None
        if cycles is not None and not bool(torch.isfinite(cycles.figures["increment_rms"].sum())):
            fault = self._not_finite(taken, first)
            cycles = cycles if fault is None else self._summed(taken[: fault[0]], state, first)
        if cycles is not None and (found := self._guard.fault(first, cycles.figures, cycles.flag)):
            fault = found
            cycles = self._summed(taken[: fault[0]], state, first)
        return cycles, None if fault is None else fault[1]

    def _not_finite(self, taken: list["Taken"], first: int) -> tuple[int, Diverged] | None:
        """Return the first cycle with a number that is not finite, and its error; None where all are."""
        finite = [bool(torch.isfinite(cycle.background + cycle.analysis.ensemble).all()) for cycle in taken]
        if all(finite):
            return None
        place = finite.index(False)
        cycle, number = taken[place], first + place
        count = self._observations.num_times
        if bool(torch.isfinite(cycle.background).all()):
            return place, diverged(cycle.analysis.ensemble, number, count, at="after the analysis at")
        before = taken[place - 1].analysis.ensemble if place else None
        return place, diverged(cycle.background, number, count, before=before, usual=self._usual)

    def _summed(self, taken: list["Taken"], state: "CycleState", first: int) -> Cycles | None:
        if not taken:
            return None
        if first + len(taken) < state.cycle:
            state = replace(
                state,
                ensemble=taken[-1].analysis.ensemble,
                cycle=first + len(taken),
                record=int(self._observations.record[first + len(taken) - 1]),
            )
        cycles = slice(first, first + len(taken))
        record = self._observations.record[cycles]
        fields, means, spreads, dimension = self._moments(taken)
        truth = self._true[:, cycles].repeat_interleave(self._repeats, dim=0)
        error, spread = self._rms(means - truth, record), self._rms(spreads, record)
        increment = self._rms(means[1:] - means[:1], record)[0]
        seen, seen_spread = self._observed(taken, fields, means, spreads, cycles)
        flag = self._flags(taken, cycles)
        figures = self._summary(taken, cycles, seen[0], flag) | {
            "background_rmse": error[0],
            "rmse": error[1],
            "background_spread": spread[0],
            "spread": spread[1],
            "increment_rms": increment,
            "effective_dimension": dimension,
        }
        kept = (fields.movedim(1, 3) if self._keeps_members else means[:, :, None]).float()
        return Cycles(
            record=record,
            background=kept[0],
            analysis=kept[1],
            background_spread=spreads[0].float(),
            analysis_spread=spreads[1].float(),
            observed_background=seen[0],
            observed_analysis=seen[1],
            observed_spread=seen_spread,
            flag=flag,
            figures=figures,
            state=state,
        )

    def _moments(self, taken: list["Taken"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return fields `(2, time, batch, member, *space, channel)`; mean and spread `(2, batch, time, ...)`;
        and the effective dimension of the background.

        The first axis holds background and analysis.
        """
        after = [cycle.analysis for cycle in taken]
        block = torch.stack([cycle.background for cycle in taken] + [analysis.ensemble for analysis in after])
        batch, member = block.shape[1:3]
        fields = self._decoded(block.flatten(0, 2)).unflatten(0, (2, -1, batch, member))
        weights = _weighting(taken)
        if weights is None:
            means = fields.mean(dim=3)
            anomalies = fields - means[:, :, :, None]
            dimension = _effective_dimension(anomalies[0])
            squares = anomalies.square_().sum(dim=3)
            spreads = squares.div_(max(1, member - 1)).sqrt_()
        else:
            fields, means, spreads, dimension = _weighted(fields, weights, draws=self._keeps_members)
        stated = [analysis.std for analysis in after if analysis.std is not None]
        if stated:
            unknown = torch.full_like(stated[0], torch.nan)
            whole = torch.stack([unknown if analysis.std is None else analysis.std for analysis in after])
            spreads[1] = whole.reshape(spreads[1].shape)
        return fields, means.movedim(1, 2), spreads.movedim(1, 2), dimension

    def _decoded(self, states: Float[Tensor, "many state"]) -> Float[Tensor, "many *space channel"]:
        if self._dynamics.is_physical:
            return states.reshape(
                states.shape[0], *self._dynamics.info.shape, self._dynamics.info.num_channels
            )
        return self._dynamics.decode(states.to(self._dynamics.dtype)).double()

    def _observed(
        self, taken: list["Taken"], fields: Tensor, means: Tensor, spreads: Tensor, cycles: slice
    ) -> tuple[Float[Tensor, "2 batch time obs"], Float[Tensor, "batch time obs"]]:
        """Return what is observed of the means, and the spread of what is observed of the background."""
        seen = self._seen(means, cycles)
        has_spread = fields.shape[3] > 1
        if not has_spread:
            spread = torch.full_like(seen[0], torch.nan)
        elif self._observations.operator is None:
            spread = spreads[0].flatten(2).gather(2, self._observations.index[:, cycles])
        else:
            members = fields[0].flatten(3)
            shown = [self._observations.seen(members[i], cycles.start + i) for i in range(len(taken))]
            spread = torch.stack([each.std(dim=1) for each in shown], dim=1)
        if taken[0].predicted is not None:
            own = torch.stack([cycle.predicted for cycle in taken if cycle.predicted is not None], dim=2)
            # The increment is that of the analysis; departures are those of each observation's own time.
            seen = seen + (own.mean(dim=1) - seen[0])
            spread = own.std(dim=1) if has_spread else spread
        return seen, spread

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

    def _flags(self, taken: list["Taken"], cycles: slice) -> Int[Tensor, "batch time obs"]:
        given = self._flag[:, cycles]
        if all(cycle.flag is None for cycle in taken):
            return given
        flags = [given[:, i] if cycle.flag is None else cycle.flag for i, cycle in enumerate(taken)]
        return torch.stack(flags, dim=1)

    def _rms(
        self, fields: Float[Tensor, "kind batch time *space channel"], record: Int[Tensor, " time"]
    ) -> Float[Tensor, "kind batch time"]:
        """Return the root mean square over cells that hold data."""
        squares = fields.flatten(3).square()
        if self._weights.shape[:2] == (1, 1):
            return (squares @ self._weights[0, 0]).sqrt()
        weights = self._weights[:, record] if self._weights.shape[1] > 1 else self._weights
        return (squares * weights.repeat_interleave(self._repeats, dim=0)).sum(dim=3).sqrt()

    def _summary(self, taken: list["Taken"], cycles: slice, seen: Tensor, flag: Tensor) -> dict[str, Tensor]:
        """Return figures per observation used; NaN at times without any."""
        used = is_used(flag)
        present = used.sum(dim=2)
        innovation = torch.where(used, self._observations.value[:, cycles] - seen, 0.0)
        figures = {
            "observations": present.double(),
            "rejected": ((flag >= Flag.BLACKLISTED) & ~used).sum(dim=2).double(),
            "innovation_mean": innovation.sum(dim=2) / present,
            "innovation_rms": (innovation.square().sum(dim=2) / present).sqrt(),
        }
        nothing = torch.full_like(seen[:, 0, 0], torch.nan)
        stated = dict.fromkeys((*PER_OBSERVATION, *(name for c in taken for name in c.analysis.figures)))
        for name in stated:
            columns = [cycle.analysis.figures.get(name, nothing) for cycle in taken]
            column = torch.stack(columns, dim=1)
            figures[name] = column / present if name in PER_OBSERVATION else column
        return figures


def _weighting(taken: Sequence[Taken]) -> Float[Tensor, "2 time batch member"] | None:
    """Return the weights of the members of background and analysis; None where all are equal."""
    given = [
        *((cycle.background, cycle.analysis.background_weights) for cycle in taken),
        *((cycle.background, cycle.analysis.weights) for cycle in taken),
    ]
    if all(weight is None for _, weight in given):
        return None
    whole = torch.stack(
        [
            ensemble.new_full(ensemble.shape[:2], 1 / ensemble.shape[1]) if weight is None else weight
            for ensemble, weight in given
        ]
    )
    result: Tensor = whole.unflatten(0, (2, -1))
    return result


def _weighted(
    fields: Float[Tensor, "2 time batch member *cell"],
    weights: Float[Tensor, "2 time batch member"],
    draws: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return members of equal weight, mean and spread of a weighted population, and its effective dimension.

    The members are drawn by a comb in the order of the population, without chance: each is there N w times,
    up to one. Their mean differs from the weighted one by that rounding.
    """
    flat, weight = fields.flatten(4).flatten(0, 2), weights.flatten(0, 2)
    mean, anomalies = weighted_split(flat, weight)
    spread = anomalies.square().sum(dim=1).sqrt()
    dimension = _effective_dimension(anomalies.reshape(*fields.shape[:4], -1)[0])
    shape = (*fields.shape[:3], *fields.shape[4:])
    if draws:
        comb = torch.full_like(weight, 0.5)
        fields = gathered(flat, ancestors(weight, "systematic", comb)).reshape(fields.shape)
    return fields, mean.reshape(shape), spread.reshape(shape), dimension


def _effective_dimension(
    anomalies: Float[Tensor, "time batch member *space channel"],
) -> Float[Tensor, "batch time"]:
    """Return (tr P)² / tr P² of sampled covariances; NaN where nothing varies."""
    A = anomalies.flatten(3)
    G = A @ A.mT if A.shape[2] < A.shape[3] else A.mT @ A
    trace = G.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    ratio: Tensor = (trace.square() / G.square().sum(dim=(-2, -1))).mT
    return ratio


def joined(blocks: Iterable[Cycles]) -> Cycles:
    """Return blocks of one run as one, for runs that fit into memory."""
    parts = list(blocks)
    whole = {
        name: torch.cat([getattr(part, name) for part in parts], dim=dim)
        for name, dim in {
            "record": 0, "background": 2, "analysis": 2, "background_spread": 1, "analysis_spread": 1,
            "observed_background": 1, "observed_analysis": 1, "observed_spread": 1, "flag": 1,
        }.items()
    }  # fmt: skip
    names = dict.fromkeys(name for part in parts for name in part.figures)
    figures = {name: torch.cat([_figure(part, name) for part in parts], dim=1) for name in names}
    return Cycles(**whole, figures=figures, state=parts[-1].state)


def _figure(part: Cycles, name: str) -> Float[Tensor, "batch time"]:
    """Return a figure of a block; NaN where its method stated none."""
    nothing = torch.full_like(part.figures["rmse"], torch.nan)
    return part.figures.get(name, nothing)
