"""Several experiments that differ in a few numbers, as one batch: each ends as it would alone."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from koopcast.assimilation.base import VARIABLE, AnalysisSpec
from koopcast.assimilation.cycle import CycleState, Experiment, run
from koopcast.assimilation.records import Cycles, joined
from koopcast.observations.base import ObservationSet
from koopcast.rng import Streams

BATCHED = (
    "background",
    "analysis",
    "background_spread",
    "analysis_spread",
    "observed_background",
    "observed_analysis",
    "observed_spread",
    "flag",
)
"""Fields of `Cycles` whose first axis is the batch."""


def fit(methods: Sequence[AnalysisSpec]) -> bool:
    """Return whether experiments with these methods can run as one batch."""
    rests = {rest(method) for method in methods}
    return len(rests) == 1 and None not in rests


def observations_fit(sets: Sequence[ObservationSet]) -> bool:
    """Return whether these observations have the same times and number, of the cells themselves."""
    first = sets[0]
    return all(
        one.operator is None
        and one.value.shape == first.value.shape
        and torch.equal(one.record, first.record)
        for one in sets
    )


def run_side_by_side(
    experiments: Sequence[Experiment], states: Sequence[CycleState], *, keep: str = "members"
) -> list[Cycles]:
    """Return the cycles of each experiment, computed as one batch.

    Args:
        experiments: Of one model, truth and number of repeats, with methods that `fit` and observations that
            fit as well.
        states: Where each starts; its generator gives the experiment the numbers that it would draw alone.
        keep: As of `run`.

    Raises:
        Diverged: A member of any of them is not finite.
    """
    samples, sets = experiments[0].truth.view.num_samples, len(experiments)
    repeats = states[0].ensemble.shape[0] // samples
    together = replace(
        experiments[0],
        observations=_observations([experiment.observations for experiment in experiments], samples),
        varied=_varied([experiment.method for experiment in experiments], samples, repeats),
    )
    ensemble = _interleaved([state.ensemble for state in states], samples)
    start = CycleState(ensemble, Streams([state.generator for state in states], samples))
    whole = joined(run(together, start, keep=keep))
    return [_part(whole, number, state.generator, (samples, sets)) for number, state in enumerate(states)]


def rest(method: AnalysisSpec) -> str | None:
    """Return the options of a method but those that may vary in a batch; None for one that runs alone.

    A relaxation by 0 is none at all, and so another method.
    """
    if not method.runs_side_by_side:
        return None
    options: dict[str, Any] = method.model_dump(mode="json")
    for path in VARIABLE:
        block, _, name = path.rpartition(".")
        if name in (options.get(block) or {}):
            options[block][name] = options[block][name] == 0
    return repr(options)


def _varied(methods: Sequence[AnalysisSpec], samples: int, repeats: int) -> dict[str, Tensor]:
    """Return the options in which methods differ, one value for each experiment of the batch."""
    result = {}
    for path in VARIABLE:
        block, _, name = path.rpartition(".")
        values = [getattr(getattr(method, block, None), name, None) for method in methods]
        if len(set(values)) > 1:
            one = torch.tensor(values, dtype=torch.float64)
            result[path] = one.repeat_interleave(repeats).repeat(samples)
    return result


def _interleaved(parts: Sequence[Tensor], samples: int) -> Tensor:
    """Return batches `sample * repeat` as one batch `sample * set * repeat`."""
    return torch.cat([part.unflatten(0, (samples, -1)) for part in parts], dim=1).flatten(0, 1)


def _observations(sets: Sequence[ObservationSet], samples: int) -> ObservationSet:
    index = _interleaved([one.index for one in sets], samples)
    if all(one.is_fixed for one in sets) and all(torch.equal(one.index[0, 0], index[0, 0]) for one in sets):
        index = index[:1, :1].expand(index.shape)
    return replace(
        sets[0],
        index=index,
        value=_interleaved([one.value for one in sets], samples),
        variance=_interleaved([one.variance for one in sets], samples),
        checked=_interleaved([one.flag for one in sets], samples),
    )


def _part(whole: Cycles, number: int, generator: torch.Generator, counts: tuple[int, int]) -> Cycles:
    """Return the cycles of one of the sets, with the state in which it would have ended alone."""

    def own(values: Tensor) -> Tensor:
        part: Tensor = values.unflatten(0, (*counts, -1))[:, number].flatten(0, 1)
        return part

    fields = {name: own(getattr(whole, name)) for name in BATCHED}
    figures = {name: own(value) for name, value in whole.figures.items()}
    state = replace(whole.state, ensemble=own(whole.state.ensemble), generator=generator)
    return replace(whole, **fields, figures=figures, state=state)
