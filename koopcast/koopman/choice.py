"""Choice of options by errors on stretches that the fit did not see."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise, product
from typing import Annotated, ClassVar, TypeAlias, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor

from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.koopman.base import KoopmanModel, Rank
from koopcast.koopman.chosen import Chosen
from koopcast.koopman.dictionaries import AnyDictionary
from koopcast.koopman.lifted import ProjectedSpec
from koopcast.koopman.snapshots import Snapshots, delayed, read_snapshots
from koopcast.mapping import MappingSpec
from koopcast.models import Model
from koopcast.spec import Problem, Spec
from koopcast.subsets import SubsetSpec

Ahead: TypeAlias = Callable[[Int[Tensor, "start 2"], int], Float[Tensor, "start component"]]
"""Components so many steps after states, which are given by sample and time."""
Fits: TypeAlias = Callable[[Bool[Tensor, "sample state_time"]], Sequence[Ahead | None]]
"""Maps of the pairs that start there, one a penalty; None: it cannot forecast."""


class JudgedSpec(Spec):
    """Candidates, and how they are judged."""

    ranks: tuple[Rank, ...] = ()
    """Ranks to try; none: the model's own."""
    ridges: tuple[NonNegativeFloat, ...] = ()
    """Penalties to try; none: the model's own."""
    folds: Annotated[int, Field(ge=2)] = 5
    """Blocks: of samples, where there are as many, else of consecutive times. Each is forecast once by a map
    of the others; times near a block are left out of the fit."""
    lead: PositiveInt = 1
    """Steps ahead of the forecasts that are judged."""

    options: ClassVar[Mapping[str, str]]
    """Option of the model -> where its candidates stand; `ridge` is the last."""

    def axes(self, spec: ProjectedSpec) -> dict[str, tuple[object, ...]]:
        """Return the candidates of each option: the model's own where none are given."""
        return {name: getattr(self, many) or (getattr(spec, name),) for name, many in self.options.items()}


class ChoiceSpec(JudgedSpec):
    """Candidates for dictionary, rank and penalty, and how they are judged."""

    dictionaries: tuple[AnyDictionary, ...] = ()
    """Dictionaries to try; none: the model's own."""

    options = {"dictionary": "dictionaries", "rank": "ranks", "ridge": "ridges"}


class ChoosingSpec(ProjectedSpec):
    """Options of models of which some can be chosen."""

    @abstractmethod
    def restore(
        self, info: FieldsInfo, tensors: Mapping[str, Tensor], mapping: MappingSpec | None = None
    ) -> Model:
        """Return the model that these tensors define."""

    @abstractmethod
    def fits(
        self,
        snapshots: Snapshots,
        states: Float[Tensor, "sample state_time coordinate"],
        is_state: Bool[Tensor, " state_time"],
        ridges: Sequence[float],
        generator: torch.Generator,
    ) -> Fits:
        """Return how maps are fitted to parts of the states; what it takes from all of them it takes here."""


AnySpec = TypeVar("AnySpec", bound=ChoosingSpec)


def fit_best(
    spec: AnySpec,
    choice: JudgedSpec,
    data: FieldData,
    generator: torch.Generator,
    subset: SubsetSpec | None,
) -> Model:
    """Return the model of the best candidate, fitted to all blocks.

    Raises:
        DataError: A block is too short to be judged, or leaves nothing to fit; no candidate can forecast.
    """
    errors = held_out_errors(spec, choice, read_snapshots(data, spec), generator)
    if not bool(errors.isfinite().any()):
        raise DataError(
            "no candidate can forecast every block left out", "lower `choose.folds`, or raise `tolerance`"
        )
    best = torch.stack(torch.unravel_index(errors.argmin(), errors.shape))
    tensors = selected(spec, choice, {"choice": best}).fit(data, generator, subset).tensors()
    return spec.restore(data.info, tensors | {"choice": best, "errors": errors})


def selected(spec: AnySpec, choice: JudgedSpec, tensors: Mapping[str, Tensor]) -> AnySpec:
    """Return the options that were chosen."""
    return _candidate(spec, choice, tensors["choice"].tolist())


def told(
    model: KoopmanModel, spec: ProjectedSpec, choice: JudgedSpec | None, tensors: Mapping[str, Tensor]
) -> KoopmanModel:
    """Return the model, which tells what was chosen where there was a choice."""
    if choice is not None:
        model.chosen = Chosen(choice.axes(spec), tensors["choice"], tensors["errors"], choice.lead)
    return model


def faulty_candidates(spec: ChoosingSpec, choice: JudgedSpec, fields: FieldsInfo) -> Iterator[Problem]:
    """Yield what the shapes alone rule out, for every candidate."""
    places = {name: many for name, many in choice.options.items() if getattr(choice, many)}
    found = (problem for one in candidates(spec, choice) for problem in one.check(fields))
    for path, message in dict.fromkeys((problem.path, problem.message) for problem in found):
        is_listed = bool(path) and path[0] in places
        yield Problem(("choose", places[str(path[0])]) if is_listed else path, message)


def candidates(spec: AnySpec, choice: JudgedSpec) -> Iterator[AnySpec]:
    """Yield the options of every candidate."""
    for place in product(*(range(len(values)) for values in choice.axes(spec).values())):
        yield _candidate(spec, choice, place)


def _candidate(spec: AnySpec, choice: JudgedSpec, place: Sequence[int]) -> AnySpec:
    axes = choice.axes(spec)
    update = {name: values[index] for (name, values), index in zip(axes.items(), place, strict=True)}
    return spec.model_copy(update=update | {"choose": None})


def held_out_errors(
    spec: ChoosingSpec, choice: JudgedSpec, frames: Snapshots, generator: torch.Generator
) -> Float[Tensor, "*axis"]:
    """Return ‖forecast - truth‖ / ‖truth‖ of whole frames over all blocks, for each candidate.

    Projections and what dictionaries take from the data see all frames; maps do not.
    """
    *outer, last = choice.axes(spec).values()
    ridges = [float(str(ridge)) for ridge in last]
    errors = [
        _held_out(_candidate(spec, choice, (*place, 0)), choice, ridges, frames, generator)
        for place in product(*(range(len(values)) for values in outer))
    ]
    return torch.stack(errors).reshape([*map(len, outer), len(ridges)])


def _held_out(
    spec: ChoosingSpec,
    choice: JudgedSpec,
    ridges: Sequence[float],
    frames: Snapshots,
    generator: torch.Generator,
) -> Float[Tensor, " ridge"]:
    snapshots, _ = spec.projected(frames, generator)
    states = delayed(snapshots.values, spec.delays)
    is_state = snapshots.is_present.unfold(0, spec.delays, 1).all(dim=1)
    fits = spec.fits(snapshots, states, is_state, ridges, generator)
    rank = snapshots.values.shape[2]
    # Frames as they are, in units of the components: what lies outside the basis is an error too.
    scale = frames.tensors["factor"][0] / snapshots.tensors["factor"][0]
    whole = (frames.values[:, spec.delays - 1 :] * scale).square().sum(dim=2)
    outside = whole - states[..., :rank].square().sum(dim=2)
    squared, size = torch.zeros(len(ridges), dtype=torch.float64), 0.0
    for fit, judge in _blocks(is_state, len(states), spec.delays, choice):
        start = torch.nonzero(judge)
        sample, time = (start + torch.tensor([0, choice.lead])).unbind(dim=1)
        missed = float(outside[sample, time].clamp_min(0).sum())
        size += float(whole[sample, time].sum())
        for place, ahead in enumerate(fits(fit)):
            wrong = (
                torch.inf
                if ahead is None
                else (ahead(start, choice.lead) - states[sample, time, :rank]).square().sum()
            )
            squared[place] += wrong + missed
    return (
        (squared / max(size, torch.finfo(torch.float64).tiny))
        .sqrt()
        .nan_to_num(nan=torch.inf, posinf=torch.inf)
    )


def _blocks(
    is_state: Bool[Tensor, " state_time"], samples: int, delays: int, choice: JudgedSpec
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
