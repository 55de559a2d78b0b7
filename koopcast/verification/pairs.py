"""Forecasts beside the truth: which record verifies which, and the forecasts of every pair."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from koopcast.baselines import BaselineSpec
from koopcast.dynamics import Dynamics
from koopcast.errors import EmptySelection, ShapeMismatch
from koopcast.fields import FieldData
from koopcast.grids import Window
from koopcast.progress import report

MEMORY = 256 * 2**20
"""Bytes of frames and forecasts in one batch."""
Starts = Literal["window", "any"]


@dataclass(frozen=True)
class Pairs:
    """The pairs of an initial and a verifying record: the verifying one lies in the window of `data`.

    `window`: forecasts start at the record before the window at the earliest, so that longer leads have fewer
    pairs. `any`: they may start further back, and every record of the window is verified at every lead.
    Either way a state of several frames may reach back before the window.
    """

    data: FieldData
    leads: tuple[int, ...]
    history: int = 1
    """Frames of the longest initial state among the subjects: all of them are verified on the same pairs."""
    starts: Starts = "window"

    def __post_init__(self) -> None:
        for lead in self.leads:
            if not self._first_start < self.data.view.times[1] - lead:
                raise EmptySelection(
                    f"no record of the window {self.data.view.times} can be verified at lead {lead} "
                    f"with a state of {self.history} frames",
                    "shorten the leads or widen the part",
                )

    @property
    def _first_start(self) -> int:
        begin = self.data.view.times[0]
        earliest = begin - 1 if self.starts == "window" else begin - max(self.leads)
        return max(self.history - 1, earliest)

    @property
    def initial(self) -> range:
        """Absolute indices of the initial records."""
        return range(self._first_start, self.data.view.times[1] - min(self.leads))

    def verified(self, lead: int) -> tuple[slice, slice]:
        """Return for one lead the places in `initial`, and the places in the window that they verify."""
        begin, end = self.data.view.times
        first = max(self._first_start, begin - lead)
        return (
            slice(first - self._first_start, end - lead - self._first_start),
            slice(first + lead - begin, end - begin),
        )

    def valid(self) -> Bool[Tensor, "#sample time lead *space 1"]:
        """Return what is verified: cells that hold data at the verifying time and in all frames of the
        state.
        """
        view = self.data.view
        now = self.data.valid().expand(-1, view.num_times, *(-1,) * (len(self.data.info.shape) + 1))
        result = torch.zeros(now.shape[0], now.shape[1], len(self.leads), *now.shape[2:], dtype=torch.bool)
        known = self._known_states()
        for place, lead in enumerate(self.leads):
            states, times = self.verified(lead)
            result[:, times, place] = now[:, times] & known[:, states]
        return result

    def scatter(
        self, forecasts: Float[Tensor, "sample start lead *space channel"]
    ) -> Float[Tensor, "sample time lead *space channel"]:
        """Return forecasts by verifying record; NaN where there is no pair."""
        samples, _, leads, *rest = forecasts.shape
        result = forecasts.new_full((samples, self.data.view.num_times, leads, *rest), torch.nan)
        for place, lead in enumerate(self.leads):
            states, times = self.verified(lead)
            result[:, times, place] = forecasts[:, states, place]
        return result

    def _known_states(self) -> Bool[Tensor, "#sample start *space 1"]:
        first, last = self.initial[0] - self.history + 1, self.initial[-1]
        frames = replace(self.data, window=Window(self.data.view.samples, (first, last + 1))).valid()
        if frames.shape[1] == 1:
            return frames.expand(-1, len(self.initial), *frames.shape[2:])
        return frames.unfold(1, self.history, 1).all(dim=-1)


@torch.no_grad()
def forecast(
    model: Dynamics, pairs: Pairs, device: torch.device
) -> Float[Tensor, "sample time lead *space channel"]:
    """Return the forecasts of every pair, by verifying record, on the CPU."""
    data, info = pairs.data, pairs.data.info
    if (model.info.shape, tuple(model.info.variables)) != (info.shape, tuple(info.variables)):
        raise ShapeMismatch(
            f"the model steps {tuple(model.info.variables)} on {model.info.shape}, the data hold "
            f"{tuple(info.variables)} on {info.shape}",
            "evaluate it on the dataset it was made for",
        )
    view, starts = data.view, torch.arange(len(pairs.initial))
    first = pairs.initial[0] - model.history + 1
    frames = data.tensor(window=Window(view.samples, (first, pairs.initial[-1] + 1)), dtype=model.dtype)
    result = torch.empty(view.num_samples, len(starts), len(pairs.leads), *frames.shape[2:])
    jobs = torch.cartesian_prod(torch.arange(view.num_samples), starts)
    bytes_each = 8 * (model.history + len(pairs.leads) + 4) * frames[0, 0].numel()
    for batch in torch.split(jobs, max(1, MEMORY // bytes_each)):
        sample, start = batch.unbind(dim=1)
        states = torch.stack([frames[sample, start + age] for age in range(model.history)], dim=1)
        result[sample, start] = model.forecast(states.to(device), pairs.leads).to("cpu", torch.float32)
        report("forecast", int(sample[-1]) * len(starts) + int(start[-1]) + 1, len(jobs))
    return pairs.scatter(result)


def expected(baseline: BaselineSpec, pairs: Pairs) -> Float[Tensor, "sample time lead *space channel"]:
    """Return the baseline of every pair, by verifying record."""
    return pairs.scatter(baseline.forecast(pairs.data, pairs.initial, pairs.leads))


def longest_history(models: Sequence[Dynamics]) -> int:
    """Return the frames of the longest initial state."""
    return max((model.history for model in models), default=1)
