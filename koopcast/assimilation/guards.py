"""When a chain of analyses must stop: what went wrong, at which cycle, where, and what to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from koopcast.errors import Diverged
from koopcast.observations.quality import Flag, is_used
from koopcast.spec import Spec

CONTRADICTED = 4.0
"""χ² per observation above which the observations contradict what an ensemble states."""
ORDINARY = 2.0
"""States up to so many times the largest one of the first background are of ordinary size."""


class Limits(Spec):
    """When a chain of analyses stops with an error; what it has made until then is kept."""

    patience: PositiveInt = 10
    """Analyses in a row for which something must be wrong."""
    rejected: bool = True
    """Stop where quality control rejects every observation against the background."""
    collapse: NonNegativeFloat = 1e-3
    """Stop where the spread is below this share of the first one while the observations contradict it (χ² per
    observation above 4); 0: never."""
    chi_square: PositiveFloat | None = None
    """Stop where χ² per observation is above this; default: never."""


@dataclass
class Guard:
    """Counts, experiment by experiment, for how many analyses in a row something has been wrong."""

    limits: Limits
    members: int
    total: int
    """Observation times of the whole chain."""
    memory: dict[str, Tensor] = field(default_factory=dict)
    """All that later verdicts depend on."""

    def fault(
        self,
        first: int,
        figures: Mapping[str, Float[Tensor, "batch time"]],
        flag: Int[Tensor, "batch time obs"],
    ) -> tuple[int, Diverged] | None:
        """Return the place in a block of cycles at which the chain must stop, and why; None where it goes on.

        Args:
            first: Number of the first cycle of the block.
            figures: Of the cycles.
            flag: Of their observations.
        """
        self.memory.setdefault("spread", figures["background_spread"][:, 0].clone())
        for name, (wrong, counts) in self._signs(figures, flag).items():
            run = self.memory.get(name, torch.zeros(flag.shape[0], dtype=torch.int64, device=flag.device))
            if not bool((wrong & counts).any()):
                self.memory[name] = torch.where(counts.any(dim=1), 0, run)
                continue
            for place in range(flag.shape[1]):
                run = torch.where(counts[:, place], torch.where(wrong[:, place], run + 1, 0), run)
                if bool((run >= self.limits.patience).any()):
                    return place, self._error(name, first + place, run >= self.limits.patience)
            self.memory[name] = run
        return None

    def _signs(
        self, figures: Mapping[str, Tensor], flag: Tensor
    ) -> dict[str, tuple[Bool[Tensor, "batch time"], Bool[Tensor, "batch time"]]]:
        """Return by sign whether something is wrong, and whether an analysis says anything of it."""
        signs = {}
        chi_square = figures["chi_square"]
        is_known = torch.isfinite(chi_square)
        if self.limits.rejected:
            checked = (flag == Flag.BACKGROUND_CHECK) | (flag == Flag.BUDDY_CHECK)
            used = is_used(flag).any(dim=2)
            signs["rejected"] = (checked.any(dim=2) & ~used, checked.any(dim=2) | used)
        if self.limits.collapse > 0 and self.members > 1:
            is_narrow = figures["spread"] < self.limits.collapse * self.memory["spread"][:, None]
            signs["collapsed"] = (is_narrow & (chi_square > CONTRADICTED), is_known)
        if self.limits.chi_square is not None:
            signs["contradicted"] = (chi_square > self.limits.chi_square, is_known)
        return signs

    def _error(self, name: str, cycle: int, which: Bool[Tensor, " batch"]) -> Diverged:
        what, remedy = {
            "rejected": (
                "quality control rejected every observation",
                "the background has lost the truth, or the thresholds of `qc` are too strict: raise "
                "`background_check`, `inflation` or the model noise",
            ),
            "collapsed": (
                f"the ensemble has collapsed: its spread is below {self.limits.collapse:g} of the first one, "
                f"and χ² per observation above {CONTRADICTED:g}",
                "raise `inflation`, `members` or the model noise, or localise",
            ),
            "contradicted": (
                f"χ² per observation is above {self.limits.chi_square or 0:g}",
                "raise `inflation`, `members` or the stated error, or localise",
            ),
        }[name]
        return Diverged(
            f"{what} for {self.limits.patience} analyses in a row, up to observation time {cycle + 1} of "
            f"{self.total} ({named(which)})",
            remedy,
        )


def named(which: Bool[Tensor, " batch"]) -> str:
    """Return experiments in words, by their number in the batch."""
    found = which.nonzero()[:, 0].tolist()
    return (
        f"experiments {found[:5]} of {which.shape[0]}" if found else f"the sum over members of {len(which)}"
    )


def usual_size(ensemble: Float[Tensor, "batch member state"]) -> float:
    """Return the size of the largest finite entry of a first ensemble."""
    return float(ensemble.nan_to_num(0.0, 0.0, 0.0).abs().max())


def diverged(
    ensemble: Float[Tensor, "batch member state"],
    cycle: int,
    total: int,
    *,
    before: Tensor | None = None,
    usual: float = 0.0,
    at: str = "in the forecast to",
) -> Diverged:
    """Return the error of an ensemble that is not finite.

    Args:
        ensemble: Whose it is.
        cycle: Number of its observation time.
        total: Observation times of the chain.
        before: The analysis that it was forecast from, where that is known.
        usual: Size of the largest state of the first background.
        at: Where in the cycle.
    """
    finite = torch.isfinite(ensemble).flatten(1).all(dim=1)
    remedy = "raise `inflation` or `members`, localise, or check that the model is stable"
    if before is not None and before.shape == ensemble.shape:
        largest = float(before[~finite].abs().max()) if bool((~finite).any()) else torch.inf
        if largest <= ORDINARY * usual:
            remedy = (
                f"the model made it of states of ordinary size (up to {largest:.3g}): check the model, its "
                "time step and its inputs"
            )
    message = f"the ensemble is not finite {at} observation time {cycle + 1} of {total} ({named(~finite)})"
    return Diverged(message, remedy)
