"""Subsets of rows that keep p-norms: which score needs the fewest rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
from jaxtyping import Float
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from koopcast.numerics.leverage import leverage, orthonormal
from koopcast.progress import report
from koopcast.rng import numpy_generator
from koopcast.samplers import AnySampler, Rows
from koopcast.samplers.lp import LpSpec, Score
from koopcast.studies.base import Findings, StudySpec
from koopcast.studies.sequences import Name

Matrix: TypeAlias = Literal["heavy_tailed", "spiky"]
SHARES = {"error_median": 0.5, "error_q90": 0.9}
OUTLIERS, OUTLIER_SCALE = 4, 20.0
RARE = 0.01
"""Share of the rows in which half of the columns of the spiky matrix are active."""
HEAVIEST = 64
"""Rows of the greatest leverage that serve as directions."""


def _default_samplers() -> dict[Name, AnySampler]:
    scores: tuple[Score, ...] = ("leverage", "root_leverage", "sensitivity", "uniform")
    return {score: LpSpec(p=1.5, score=score, fill=False) for score in scores}


class SubspaceEmbeddingSpec(StudySpec):
    """Keeps few rows of a matrix A, and looks for the direction in which ‖A x‖ₚᵖ is off most."""

    kind: Literal["subspace_embedding"] = "subspace_embedding"
    matrix: Matrix = "spiky"
    """Gaussian with half of the columns active in 1 % of the rows and 4 rows 20 times as long, or Gaussian
    with rows of very different lengths (Student's t of 2 degrees of freedom)."""
    rows: PositiveInt = 4000
    """Rows of A, n."""
    columns: int = Field(8, ge=2)
    """Columns of A, d."""
    p: float = Field(1.5, ge=1)
    """Exponent of the norm."""
    sizes: tuple[PositiveInt, ...] = Field((200,), min_length=1)
    """Numbers of rows to keep."""
    repetitions: PositiveInt = 60
    """Draws per sampler and size."""
    directions: PositiveInt = 500
    """Random directions x to look along, beside columns of A and of R⁻¹ (A = Q R) and the heaviest rows."""
    refinements: NonNegativeInt = 0
    """Further rounds of worst directions for each draw, by eigenvectors of reweighted Gram matrices."""
    samplers: dict[Name, AnySampler] = Field(default_factory=_default_samplers, min_length=1)
    """Names -> samplers that choose rows; those of kind `lp` have the `p` of the study."""

    reference = "Woodruff and Yasuda 2023, Sharper bounds for l_p sensitivity sampling, ICML"

    @model_validator(mode="after")
    def _samplers_suit_the_norm(self) -> "SubspaceEmbeddingSpec":
        if self.rows < 100 * self.columns:
            raise ValueError(
                f"rows: {self.rows} for {self.columns} columns; take {100 * self.columns} or more"
            )
        for name, sampler in self.samplers.items():
            if not sampler.chooses_rows:
                raise ValueError(f"samplers: '{name}' ({sampler.kind}) chooses no rows; take lp or iid")
            if isinstance(sampler, LpSpec) and sampler.p != self.p:
                raise ValueError(
                    f"samplers: '{name}' has p = {sampler.p:g}, the study {self.p:g}; give both the same"
                )
            for size in self.sizes:
                fault = sampler.faulty_count(size, self.columns)
                if fault or size > self.rows:
                    raise ValueError(f"sizes: '{name}': {fault or f'{size} of {self.rows} rows'}")
        return self

    def metrics(self) -> Mapping[str, str]:
        """Return median and upper decile, over draws, of the worst relative error of ‖A x‖ₚᵖ, and how many
        rows were kept in mean.
        """
        return dict.fromkeys((*SHARES, "kept"), "1")

    def subjects(self) -> Mapping[str, Sequence[int]]:
        """Return the samplers, each with all sizes."""
        return dict.fromkeys(self.samplers, sorted(set(self.sizes)))

    def run(self, seed: int) -> Findings:
        """Draw the matrix once, and subsets again and again."""
        A = draw_matrix(self.matrix, self.rows, self.columns, numpy_generator(seed, self.kind, self.matrix))
        norms = Norms.of(self, A, seed)
        tables: list[pd.DataFrame] = []
        for done, (name, sampler) in enumerate(self.samplers.items()):
            draw = sampler.drawing(A)
            for n in sorted(set(self.sizes)):
                generator = numpy_generator(seed, self.kind, name, n)
                drawn = [draw(n, generator) for _ in range(self.repetitions)]
                errors = [norms.worst_error(rows, n, self.refinements) for rows in drawn]
                kept = [len(rows.index) for rows in drawn]
                table = pd.DataFrame({"error": errors, "kept": kept, "repetition": range(len(drawn))})
                tables.append(table.assign(sampler=name, n=n))
            report("sampler", done + 1, len(self.samplers))
        draws = pd.concat(tables, ignore_index=True)
        return Findings(_scores(draws), {"draws": draws})


def _scores(draws: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    scores: dict[str, dict[str, dict[str, float]]] = {metric: {} for metric in (*SHARES, "kept")}
    for (name, n), cell in draws.groupby(["sampler", "n"], sort=False):
        for metric, share in SHARES.items():
            scores[metric].setdefault(str(name), {})[str(n)] = float(cell["error"].quantile(share))
        scores["kept"].setdefault(str(name), {})[str(n)] = float(cell["kept"].mean())
    return scores


def draw_matrix(
    matrix: Matrix, rows: int, columns: int, generator: np.random.Generator
) -> Float[np.ndarray, "rows columns"]:
    """Draw a matrix whose rows differ in weight."""
    A = generator.standard_normal((rows, columns))
    if matrix == "heavy_tailed":
        return A * generator.standard_t(2, size=(rows, 1))
    rare = generator.permutation(rows) >= max(columns, int(RARE * rows))
    A[rare, columns // 2 :] = 0.0
    A[generator.choice(rows, OUTLIERS, replace=False)] *= OUTLIER_SCALE
    return A


@dataclass(frozen=True)
class Norms:
    """|U x|ᵖ row by row for many directions x, and what finds worse ones."""

    U: Float[np.ndarray, "row column"]
    powers: Float[np.ndarray, "row direction"]
    """|uᵢ x|ᵖ / ‖U x‖ₚᵖ."""
    p: float

    @classmethod
    def of(cls, study: SubspaceEmbeddingSpec, A: Float[np.ndarray, "row column"], seed: int) -> "Norms":
        """Look along random directions, columns of R⁻¹ (unit vectors in terms of Q), columns of A, and
        rows.
        """
        U, d = orthonormal(A), A.shape[1]
        heaviest = U[np.argsort(-leverage(U), kind="stable")[:HEAVIEST]]
        drawn = numpy_generator(seed, study.kind, "directions").standard_normal((d, study.directions))
        x = np.hstack((drawn, np.eye(d), U.T @ A, heaviest.T))
        return cls(U, normalised_powers(U @ x, study.p), study.p)

    def worst_error(self, rows: Rows, count: int, refinements: int) -> float:
        """Return the greatest |Σ w |uᵢ x|ᵖ - 1| over all directions and, with `refinements`, further ones."""
        index, weight = rows.index, rows.weight * len(self.U) / count
        error = np.abs(weight @ self.powers[index] - 1)
        worst, powers = float(error.max()), self.powers[:, error.argmax()]
        for _ in range(refinements):
            # On the way of |r|ᵖ = |r|^{p-2} r², the worst x of the reweighted sums of squares.
            W = np.maximum(powers, 1e-6 * powers.mean()) ** (1 - 2 / self.p)
            G = self.U.T @ (W[:, None] * self.U)
            kept = self.U[index].T @ ((weight * W[index])[:, None] * self.U[index])
            root = np.linalg.inv(np.linalg.cholesky(G))
            x = root.T @ np.linalg.eigh(root @ kept @ root.T)[1]
            found = normalised_powers(self.U @ x, self.p)
            error = np.abs(weight @ found[index] - 1)
            worst, powers = max(worst, float(error.max())), found[:, error.argmax()]
        return worst


def normalised_powers(
    residual: Float[np.ndarray, "row direction"], p: float
) -> Float[np.ndarray, "row direction"]:
    """Return |r|ᵖ / Σ |r|ᵖ, direction by direction."""
    powers = np.abs(residual) ** p
    return np.asarray(powers / powers.sum(axis=0))
