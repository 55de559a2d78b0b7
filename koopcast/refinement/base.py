"""Refinement: predicted frames are made to fit the equation that they should obey, without labels.

A *case* is one trajectory: the last record that was given (`start`) and the frames predicted after it,
equally spaced. The error of a case is relative, over all of its predicted frames.
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from koopcast.dynamics import Semilinear
from koopcast.grids import Axis
from koopcast.spec import MethodSpec, Problem


@dataclass(frozen=True)
class Equation:
    """v' = L v + N(v) on periodic axes, and the time between two frames."""

    problem: Semilinear
    axes: tuple[Axis, ...]
    time_step: float


@dataclass(frozen=True)
class Prediction:
    """Cases to refine, float64, physical units."""

    start: Float[Tensor, "case *space channel"]
    frames: Float[Tensor, "case frame *space channel"]
    latent: Float[Tensor, "case window *space channel"] | None = None
    """What the last spectral layer of the network was given, on a window twice as long as the frames and one
    more: needed by methods that move its weights."""
    truth: Float[Tensor, "case frame *space channel"] | None = None
    """For the errors in the history alone."""


@dataclass(frozen=True)
class Refined:
    """The refined frames, and how the method came there."""

    frames: Float[Tensor, "case frame *space channel"]
    history: pd.DataFrame
    """`case, iteration, residual_dual, residual_l2` (norms of orders -1 and 0), `error` where the truth is
    known, and `seconds`."""


class RefinementSpec(MethodSpec):
    """Options of a refinement."""

    def faults(self, axes: tuple[Axis, ...], frames: int) -> Iterator[Problem]:
        """Yield the rules that the options break on so many predicted frames."""
        yield from ()

    @abstractmethod
    def refine(self, prediction: Prediction, equation: Equation) -> Refined:
        """Return the refined frames; progress goes through `koopcast.progress.report`.

        Raises:
            InvalidInput: The options do not suit these frames.
            Diverged: A residual is not finite.
        """
