"""A sequence of similar systems, sorted, and solved by a method that recycles a space along it."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field
from scipy.sparse.linalg import LinearOperator, gcrotmk

from koopcast.linear import Profile
from koopcast.solvers.base import Solver
from koopcast.solvers.gcro_dr import GCRODR, RecyclingSpec
from koopcast.solvers.iterative import Correction, IterativeSolver, Method, Operator
from koopcast.solvers.sorting import GREEDY_LIMIT, fft_gray, greedy, stacked


class SKRSpec(RecyclingSpec):
    """Sorts similar systems into a chain and carries a recycled Krylov space along it.

    It is the method for non-symmetric or indefinite matrices that cannot be factored. For symmetric
    matrices in two dimensions `direct` and `amg` are faster.
    """

    kind: Literal["skr"] = "skr"
    sort: Literal["greedy", "fft_gray", "none"] = "greedy"
    """Nearest neighbour next; or cells of leading frequencies in Gray code, which large sequences get
    anyway; or as it comes."""
    sort_freq: int = Field(12, ge=1, le=1024)
    """Frequencies kept along each axis of a parameter field, for `fft_gray`."""
    sort_dim: int = Field(7, ge=1, le=20)
    """Principal components, and so bits of a cell's number, for `fft_gray`."""
    engine: Literal["gcro_dr", "gcrotmk"] = "gcro_dr"
    """Harmonic Ritz vectors; or the last corrections, as SciPy's GCROT(m, k) keeps them."""

    reference = (
        "Wang et al. 2024 (ICLR); inside a cell of `fft_gray` the order is greedy here; shards are blocks"
    )

    def refusal(self, profile: Profile) -> str | None:
        """Refuse a sort where there is but one matrix."""
        if profile.is_shared and self.sort != "none":
            return (
                "solver skr sorts by what fixes the matrix, and here one matrix serves all samples; "
                "use `direct` or `fft`, or set `sort: none`"
            )
        return super().refusal(profile)

    def build(self, profile: Profile, generator: np.random.Generator) -> Solver:
        """Return a solver with no space to recycle yet."""
        is_own = self.engine == "gcro_dr"
        method = GCRODR(self.m, self.k, carries=True) if is_own else GCROTMK(self.m, self.k)
        return IterativeSolver(method, self.preconditioner.start(profile), self)

    def order(
        self,
        profile: Profile,
        features: Sequence[Float[np.ndarray, " feature"]],
        grid: tuple[int, ...] | None = None,
    ) -> Int[np.ndarray, " system"]:
        """Return the chain."""
        if self.sort == "none" or len(features) < 2 or features[0].size == 0:
            return np.arange(len(features))
        rows = stacked(features)
        if self.sort == "greedy" and len(rows) * max(rows.shape) <= GREEDY_LIMIT:
            return greedy(rows)
        return fft_gray(rows, grid, self.sort_freq, self.sort_dim)


class GCROTMK(Method):
    """SciPy's flexible GCROT(m, k) with one list of vectors along the whole sequence."""

    def __init__(self, m: int, k: int) -> None:
        self._m, self._k = m, k
        self._kept: Any = []

    def correct(
        self, operator: Operator, r: Float[np.ndarray, " unknown"], target: float, budget: int
    ) -> Correction:
        """Run outer cycles until the residual meets the target; the kept vectors change in place."""
        before, size = operator.applications, len(r)
        if self._kept and len(self._kept[0][1]) != size:
            self._kept.clear()
        try:
            x, _ = gcrotmk(
                LinearOperator((size, size), matvec=operator.product, dtype=np.float64),
                r,
                rtol=0.0,
                atol=target,
                maxiter=max(1, budget // self._m),
                M=LinearOperator((size, size), matvec=operator.precondition, dtype=np.float64),
                m=self._m,
                k=self._k,
                CU=self._kept,
                discard_C=True,
            )
        except (ValueError, np.linalg.LinAlgError):  # SciPy's words for numbers that are not finite.
            self._kept.clear()
            x = np.zeros_like(r)
        return Correction(x, max(1, operator.applications - before))
