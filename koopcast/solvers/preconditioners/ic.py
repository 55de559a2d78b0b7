"""Incomplete Cholesky factor with the pattern of the matrix."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Float, Int
from scipy.sparse.linalg import splu

from koopcast.linear import LinearProblem, Profile
from koopcast.solvers.preconditioners.base import (
    Apply,
    Preconditioner,
    PreconditionerSpec,
    refusal_of_others,
)

SHIFTS = (0.0, *(1e-3 * 2.0**power for power in range(12)))
"""Shares of the diagonal that are added, one after another, until every pivot is positive."""


class ICSpec(PreconditionerSpec):
    """Incomplete Cholesky factor without fill, M = (L Lᵀ)⁻¹."""

    kind: Literal["ic"] = "ic"

    reference = "Meijerink and van der Vorst 1977; shift: Manteuffel 1980; by levels: Anderson and Saad 1989"

    def refusal(self, profile: Profile) -> str | None:
        """Refuse matrices that are not symmetric positive definite."""
        return refusal_of_others("preconditioner ic", profile, "use `ilu`")

    def start(self, profile: Profile) -> Preconditioner:
        """Return a preconditioner that knows no pattern yet."""
        return IncompleteCholesky()


class IncompleteCholesky(Preconditioner):
    """The order of elimination of the last pattern, and the factor of the last matrix."""

    def __init__(self) -> None:
        self._matrix: sparse.csr_array | None = None
        self._plan: Plan | None = None
        self._apply: Apply | None = None

    def prepare(self, problem: LinearProblem) -> Apply | None:
        """Return r -> L⁻ᵀ L⁻¹ r; the plan is kept while the pattern is the same."""
        if problem.matrix is self._matrix:
            return self._apply
        self._matrix, lower = problem.matrix, sparse.tril(problem.matrix, format="csc")
        lower.sort_indices()
        if self._plan is None or not self._plan.fits(lower):
            self._plan = planned(lower)
        self._apply = None if self._plan is None else _inverse(factor(lower, self._plan))
        return self._apply

    def learn(self, iterations: int) -> None:
        """Do nothing: the next matrix gets its own factor anyway."""


@dataclass(frozen=True)
class Level:
    """Entries of L that depend on earlier levels only.

    l_ij = (a_ij - Σ_p l_ip l_jp) / l_jj, and the root of the bracket where i = j.
    """

    targets: Int[np.ndarray, " target"]
    """Places of the entries, those below the diagonal first."""
    pivots: Int[np.ndarray, " below"]
    """Places of the l_jj, for targets below the diagonal."""
    owners: Int[np.ndarray, " product"]
    """Number of the target in `targets` to which each product belongs."""
    left: Int[np.ndarray, " product"]
    right: Int[np.ndarray, " product"]


@dataclass(frozen=True)
class Plan:
    """In which order the entries of a pattern are computed."""

    indptr: Int[np.ndarray, " column_end"]
    indices: Int[np.ndarray, " entry"]
    levels: tuple[Level, ...]

    def fits(self, lower: sparse.csc_array) -> bool:
        """Return whether the pattern is this one."""
        return np.array_equal(self.indptr, lower.indptr) and np.array_equal(self.indices, lower.indices)


def planned(lower: sparse.csc_array) -> Plan | None:
    """Return the plan of a lower triangular pattern, sorted; None where the diagonal has a gap."""
    rows, ends = lower.indices.astype(np.int64), lower.indptr.astype(np.int64)
    size = len(ends) - 1
    columns = np.repeat(np.arange(size), np.diff(ends))
    if np.any(np.diff(ends) == 0) or not np.array_equal(rows[ends[:-1]], np.arange(size)):
        return None
    # All pairs of entries of one column, l_ip and l_jp with i >= j > p, for which (i, j) is in the pattern.
    below = np.flatnonzero(rows > columns)
    right, left = _ranges(below, ends[columns[below] + 1])
    keys = columns * size + rows
    wanted = rows[right] * size + rows[left]
    owners = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    is_kept = keys[owners] == wanted
    products = np.stack([owners[is_kept], left[is_kept], right[is_kept]])
    pivots = ends[columns]
    return Plan(lower.indptr, lower.indices, tuple(_levels(products, pivots, below)))


def _levels(
    products: Int[np.ndarray, "3 product"],
    pivots: Int[np.ndarray, " entry"],
    below: Int[np.ndarray, " below"],
) -> list[Level]:
    """Return the levels of the graph in which an entry needs its pivot and the factors of its products."""
    owners, left, right = products
    sources = np.concatenate([left, right, pivots[below]])
    sinks = np.concatenate([owners, owners, below])
    order = np.argsort(sources, kind="stable")
    starts = np.searchsorted(sources[order], np.arange(len(pivots) + 1))
    sinks = sinks[order]
    waits = np.bincount(sinks, minlength=len(pivots))
    by_owner = np.argsort(owners, kind="stable")
    owned = np.searchsorted(owners[by_owner], np.arange(len(pivots) + 1))
    levels, ready = [], np.flatnonzero(waits == 0)
    while len(ready):
        is_pivot = pivots[ready] == ready
        targets = np.concatenate([ready[~is_pivot], ready[is_pivot]])
        which, place = _ranges(owned[targets], owned[targets + 1], number=True)
        used = by_owner[place]
        levels.append(Level(targets, pivots[ready[~is_pivot]], which, left[used], right[used]))
        freed = sinks[_ranges(starts[ready], starts[ready + 1])[1]]
        np.subtract.at(waits, freed, 1)
        ready = np.unique(freed[waits[freed] == 0])
    return levels


def _ranges(
    first: Int[np.ndarray, " range"], last: Int[np.ndarray, " range"], *, number: bool = False
) -> tuple[Int[np.ndarray, " item"], Int[np.ndarray, " item"]]:
    """Return all items of the ranges [first, last), and before them the start, or number, of their range."""
    lengths = last - first
    offsets = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    items = np.repeat(first, lengths) + offsets
    return np.repeat(np.arange(len(first)) if number else first, lengths), items


def factor(lower: sparse.csc_array, plan: Plan) -> sparse.csc_array | None:
    """Return L with L Lᵀ = A on the pattern of A; None where no shift of the diagonal helps."""
    diagonal = lower.indptr[:-1]
    for shift in SHIFTS:
        values = lower.data.astype(np.float64)
        values[diagonal] *= 1 + shift
        _eliminate(values, plan)
        if np.all(values[diagonal] > 0):
            return sparse.csc_array((values, lower.indices, lower.indptr), shape=lower.shape)
    return None


@np.errstate(invalid="ignore", divide="ignore", over="ignore")
def _eliminate(values: Float[np.ndarray, " entry"], plan: Plan) -> None:
    for level in plan.levels:
        v = values[level.targets]
        if len(level.owners):
            products = values[level.left] * values[level.right]
            v -= np.bincount(level.owners, products, minlength=len(v))
        count = len(level.pivots)
        v[:count] /= values[level.pivots]
        np.sqrt(v[count:], out=v[count:])
        values[level.targets] = v


def _inverse(L: sparse.csc_array | None) -> Apply | None:
    if L is None:
        return None
    # The LU factors of a triangular matrix are itself: this buys compiled substitutions both ways.
    solver: Any = splu(L, permc_spec="NATURAL", diag_pivot_thresh=0.0, options={"Equil": False})
    return lambda r: solver.solve(solver.solve(r), trans="T")
