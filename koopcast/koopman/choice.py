"""Choice of dictionary, rank and penalty by errors on stretches that the fit did not see."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor

from koopcast.errors import DataError
from koopcast.koopman.base import Rank
from koopcast.koopman.dictionaries import AnyDictionary
from koopcast.koopman.lifted import LiftedSpec, observables
from koopcast.koopman.rows import Rows
from koopcast.koopman.snapshots import Snapshots, delayed
from koopcast.numerics.ridge_path import ridge_path
from koopcast.spec import Spec


class ChoiceSpec(Spec):
    """Candidates, and how they are judged."""

    dictionaries: tuple[AnyDictionary, ...] = ()
    """Dictionaries to try; none: the model's own."""
    ranks: tuple[Rank, ...] = ()
    """Ranks to try; none: the model's own."""
    ridges: tuple[NonNegativeFloat, ...] = ()
    """Penalties to try; none: the model's own."""
    folds: Annotated[int, Field(ge=2)] = 5
    """Blocks: of samples, where there are as many, else of consecutive times. Each is forecast once by a map
    of the others; times near a block are left out of the fit."""
    lead: PositiveInt = 1
    """Steps ahead of the forecasts that are judged."""


@dataclass(frozen=True)
class Choice:
    """Errors of all candidates: ‖forecast - truth‖ / ‖truth‖ over all blocks, of whole frames."""

    errors: Float[Tensor, "dictionary rank ridge"]

    @property
    def best(self) -> tuple[int, int, int]:
        """Return the places of the smallest error; the first of equal ones."""
        flat = int(self.errors.argmin())
        shape = self.errors.shape
        return flat // (shape[1] * shape[2]), flat // shape[2] % shape[1], flat % shape[2]


def candidates(spec: LiftedSpec, choice: ChoiceSpec) -> list[list[LiftedSpec]]:
    """Return the model's options with each dictionary (outer) and rank (inner)."""
    dictionaries = choice.dictionaries or (spec.dictionary,)
    return [
        [spec.model_copy(update={"dictionary": dictionary, "rank": rank}) for rank in ranks_of(spec, choice)]
        for dictionary in dictionaries
    ]


def ranks_of(spec: LiftedSpec, choice: ChoiceSpec) -> tuple[Rank, ...]:
    """Return the ranks to try."""
    return choice.ranks or (spec.rank,)


def ridges_of(spec: LiftedSpec, choice: ChoiceSpec) -> tuple[float, ...]:
    """Return the penalties to try."""
    return choice.ridges or (spec.ridge,)


def choose(spec: LiftedSpec, choice: ChoiceSpec, frames: Snapshots, generator: torch.Generator) -> Choice:
    """Return the errors of all candidates. Projections and centres see all frames; maps do not.

    Raises:
        DataError: A block is too short to be judged, or leaves nothing to fit.
    """
    errors = [
        [_held_out(candidate, choice, frames, generator) for candidate in row]
        for row in candidates(spec, choice)
    ]
    return Choice(torch.stack([torch.stack(row) for row in errors]))


def _held_out(
    spec: LiftedSpec, choice: ChoiceSpec, frames: Snapshots, generator: torch.Generator
) -> Float[Tensor, " ridge"]:
    snapshots, _ = spec.projected(frames, generator)
    states = delayed(snapshots.values, spec.delays)
    is_state = snapshots.is_present.unfold(0, spec.delays, 1).all(dim=1)
    chosen = spec.dictionary.prepare(states[:, is_state].flatten(0, 1), generator)
    lifted = observables(spec.dictionary, states.flatten(0, 1), chosen).unflatten(0, states.shape[:2])
    rank = snapshots.values.shape[2]
    rows = Rows(lifted.shape[2], rank, states.shape[2])
    # Frames as they are, in units of the components: what lies outside the basis is an error too.
    scale = frames.tensors["factor"][0] / snapshots.tensors["factor"][0]
    whole = (frames.values[:, spec.delays - 1 :] * scale).square().sum(dim=2)
    outside = whole - states[..., :rank].square().sum(dim=2)
    ridges = ridges_of(spec, choice)
    squared, size = torch.zeros(len(ridges), dtype=torch.float64), 0.0
    for fit, judge in _blocks(is_state, lifted.shape[0], spec.delays, choice):
        X, Y = lifted[:, :-1][fit[:, :-1]], lifted[:, 1:][fit[:, :-1]]
        path = ridge_path(X, Y[:, rows.regressed()], ridges)
        start = torch.nonzero(judge)
        end = start + torch.tensor([0, choice.lead])
        truth = states[end[:, 0], end[:, 1], :rank]
        missed = float(outside[end[:, 0], end[:, 1]].clamp_min(0).sum())
        size += float(whole[end[:, 0], end[:, 1]].sum())
        for place, coefficients in enumerate(path.coefficients):
            K, ahead = rows.assembled(coefficients), lifted[start[:, 0], start[:, 1]]
            for _ in range(choice.lead):
                ahead = ahead @ K.mT
            squared[place] += (ahead[:, :rank] - truth).square().sum() + missed
    return (squared / max(size, torch.finfo(torch.float64).tiny)).sqrt().nan_to_num(nan=torch.inf)


def _blocks(
    is_state: Bool[Tensor, " state_time"], samples: int, delays: int, choice: ChoiceSpec
) -> Iterator[tuple[Bool[Tensor, "sample state_time"], Bool[Tensor, "sample state_time"]]]:
    """Yield where pairs to fit start, and where forecasts to judge do."""
    times = len(is_state)
    whole = torch.zeros(samples, times, dtype=torch.bool)
    pair, run = whole.clone(), whole.clone()
    pair[:, :-1] = is_state[:-1] & is_state[1:]
    if times > choice.lead:
        run[:, : times - choice.lead] = is_state.unfold(0, choice.lead + 1, 1).all(dim=1)
    by_sample = samples >= choice.folds
    edges = [round((samples if by_sample else times) * k / choice.folds) for k in range(choice.folds + 1)]
    margin = delays + choice.lead
    for start, stop in pairwise(edges):
        inside, near = whole.clone(), whole.clone()
        if by_sample:
            inside[start:stop] = near[start:stop] = True
        else:
            inside[:, start:stop] = True
            near[:, max(0, start - margin) : stop + margin] = True
        fit, judge = pair & ~near, run & inside
        if not bool(fit.any()) or not bool(judge.any()):
            raise DataError(
                f"a block of {stop - start} of {edges[-1]} {'samples' if by_sample else 'times'} holds no "
                f"forecast of {choice.lead} steps, or leaves nothing to fit",
                "lower `choose.folds` or `choose.lead`, or train on more records",
            )
        yield fit, judge
