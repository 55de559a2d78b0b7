"""Extended dynamic mode decomposition: a linear map of observables of projected, delayed frames."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import PositiveInt, model_validator
from torch import Tensor

from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.koopman.base import KoopmanModel
from koopcast.koopman.choice import (
    Ahead,
    ChoiceSpec,
    ChoosingSpec,
    Fits,
    faulty_candidates,
    fit_best,
    selected,
    told,
)
from koopcast.koopman.lifted import LiftedSpec, observables, with_prefix, without_prefix
from koopcast.koopman.modal import Features
from koopcast.koopman.rows import Rows
from koopcast.koopman.snapshots import Snapshots, delayed
from koopcast.koopman.spectrum import eigenpairs
from koopcast.mapping import MappingSpec
from koopcast.models import Model
from koopcast.numerics.galerkin import Galerkin
from koopcast.numerics.products import gram
from koopcast.numerics.ridge import Ridge, covariance_factor, reduced_rank_regression, ridge_regression
from koopcast.numerics.ridge_path import ridge_path
from koopcast.spec import Problem
from koopcast.subsets import SubsetSpec

Constraint = Literal["none", "stable", "measure_preserving"]
WELL_CONDITIONED = 1e3
"""Condition number of the states up to which their Gram matrix serves."""


class EDMDSpec(LiftedSpec, ChoosingSpec):
    """A linear map of observables of the leading principal components, found by ridge regression.

    The state holds the components of the last `delays` frames, newest first, and the other observables of the
    dictionary. Only the newest components and those observables are regressed: older components are copies,
    and the constant stays 1. Fields are rebuilt from the components, which the dictionary always holds.
    """

    kind: Literal["edmd"] = "edmd"
    map_rank: PositiveInt | None = None
    """Rank of the regressed part of the map (reduced-rank regression): the map that predicts best among those
    of this rank. null: no limit."""
    constraint: Constraint = "none"
    """What the map may do, in the norm that the observables have over the training data. `stable`: lengthen
    nothing, so that no eigenvalue lies outside the unit circle; `measure_preserving`: keep every length, so
    that all lie on it (mpEDMD). Both are the least-squares optimum under that condition; all rows of the map
    are then fitted together, and `ridge` and `map_rank` have no part."""
    choose: ChoiceSpec | None = None
    """Candidates for dictionary, rank and ridge, chosen by errors on blocks left out; the table of errors
    stands in the diagnostics. null: the options as they are."""

    reference = (
        "Williams, Kevrekidis & Rowley 2015; departs in the copied rows; reduced rank: Kostic et al. 2022; "
        "measure_preserving: Colbrook 2023 (mpEDMD)"
    )

    @model_validator(mode="after")
    def _constraint_stands_alone(self) -> "EDMDSpec":
        if self.constraint != "none" and self.map_rank is not None:
            raise ValueError(f"map_rank: {self.map_rank} with constraint: {self.constraint}; remove one")
        if self.choose is not None and (self.constraint != "none" or self.map_rank is not None):
            raise ValueError("choose: judges maps without constraint and map_rank; remove these, or choose")
        return self

    def fit(self, data: FieldData, generator: torch.Generator, subset: SubsetSpec | None = None) -> Model:
        """Return the model of the training window; projection and dictionary see all its frames."""
        if self.choose is not None:
            return fit_best(self, self.choose, data, generator, subset)
        lifted = self.lifted(data, generator, subset)
        root = lifted.pairs.root
        states, following = (u if root is None else root * u for u in (lifted.before, lifted.after))
        self._refuse_underdetermined(states)
        count = len(states)
        states, following = _compressed(states, following)
        basis = lifted.pairs.snapshots.tensors["basis"]
        rank = basis.shape[1]
        rows = Rows(states.shape[1], rank, lifted.pairs.X.shape[1])
        if self.constraint == "none":
            is_regressed = rows.regressed()
            fit = self._regressed(states, following[:, is_regressed])
            K = rows.assembled(fit.coefficients)
        else:
            is_regressed = torch.ones(states.shape[1], dtype=torch.bool)
            fit = self._constrained(states, following)
            K = fit.coefficients.mT.contiguous()
        noise = covariance_factor(fit.residual, fit.degrees_of_freedom * len(states) / count)
        error = fit.residual[:, :rank].norm() / following[:, :rank].norm()
        figures = [lifted.pairs.explained, torch.tensor(float(count)), error]
        tensors = lifted.pairs.snapshots.tensors | {
            "operator": K,
            "noise": torch.zeros(len(K), noise.shape[1], dtype=K.dtype).index_put_((is_regressed,), noise),
            "figures": torch.stack(figures).to(torch.float64),
            **with_prefix(lifted.chosen),
            **eigenpairs(K, states, following, rank),
        }
        return self.restore(data.info, tensors)

    def restore(
        self, info: FieldsInfo, tensors: Mapping[str, Tensor], mapping: MappingSpec | None = None
    ) -> Model:
        """Return the model that these tensors define."""
        spec = self if self.choose is None else selected(self, self.choose, tensors)
        features = partial(observables, spec.dictionary, chosen=without_prefix(tensors))
        return told(EDMDModel(info, self.delays, tensors, features), self, self.choose, tensors)

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Yield what the shapes alone rule out, for every candidate."""
        if self.choose is None:
            yield from super().check(fields)
        else:
            yield from faulty_candidates(self, self.choose, fields)

    def faulty_size(self, size: int, num_pairs: int) -> str | None:
        """Refuse more observables than pairs, unless there is a penalty."""
        if (self.constraint == "none" and self.ridge > 0) or size <= num_pairs:
            return None
        return f"{size} observables are above {num_pairs} training pairs; set ridge or lower rank"

    def fits(
        self,
        snapshots: Snapshots,
        states: Float[Tensor, "sample state_time coordinate"],
        is_state: Bool[Tensor, " state_time"],
        ridges: Sequence[float],
        generator: torch.Generator,
    ) -> Fits:
        """Return how maps are fitted to parts of the states, all penalties at once."""
        chosen = self.dictionary.prepare(states[:, is_state].flatten(0, 1), generator)
        lifted = observables(self.dictionary, states.flatten(0, 1), chosen).unflatten(0, states.shape[:2])
        rank = snapshots.values.shape[2]
        rows = Rows(lifted.shape[2], rank, states.shape[2])

        def ahead(
            start: Int[Tensor, "start 2"], lead: int, K: Float[Tensor, "state state"]
        ) -> Float[Tensor, "start component"]:
            z: Tensor = lifted[start[:, 0], start[:, 1]]
            for _ in range(lead):
                z = z @ K.mT
            return z[:, :rank]

        def fitted(fit: Bool[Tensor, "sample state_time"]) -> list[Ahead | None]:
            X, Y = lifted[:, :-1][fit[:, :-1]], lifted[:, 1:][fit[:, :-1]]
            path = ridge_path(X, Y[:, rows.regressed()], ridges)
            return [partial(ahead, K=rows.assembled(B)) for B in path.coefficients]

        return fitted

    def _regressed(self, states: Float[Tensor, "pair state"], targets: Float[Tensor, "pair target"]) -> Ridge:
        if self.map_rank is None:
            return ridge_regression(states, targets, self.ridge)
        return reduced_rank_regression(states, targets, self.ridge, self.map_rank)

    def _constrained(
        self, states: Float[Tensor, "pair state"], following: Float[Tensor, "pair state"]
    ) -> Ridge:
        galerkin = Galerkin.of(states, following)
        K = galerkin.contraction() if self.constraint == "stable" else galerkin.unitary()
        # Orthonormal functions are q = ψ · transform: the map of ψ is transform · K · transform⁺.
        coefficients = galerkin.transform @ K @ torch.linalg.pinv(galerkin.transform)
        return Ridge(coefficients, following - states @ coefficients, float(len(K)))

    def _refuse_underdetermined(self, states: Float[Tensor, "pair state"]) -> None:
        num_pairs, size = states.shape
        if self.faulty_size(size, num_pairs) is not None:
            raise DataError(
                f"{size} observables are above {num_pairs} training pairs", "set `ridge` or lower rank"
            )


class EDMDModel(KoopmanModel):
    """The state is the components of the frames, newest first, then the other observables."""

    def __init__(
        self, info: FieldsInfo, delays: int, tensors: Mapping[str, Tensor], features: Features
    ) -> None:
        super().__init__(info, delays, tensors)
        self._features = features

    def encode(self, frames: Float[Tensor, "batch history *space channel"]) -> Float[Tensor, "batch state"]:
        """Return the observables of the frames."""
        components = self._normalised(frames) @ self._tensors["basis"]
        return self._features(delayed(components, self.history)[:, -1])


def _compressed(
    states: Float[Tensor, "pair state"], following: Float[Tensor, "pair state"]
) -> tuple[Float[Tensor, "row state"], Float[Tensor, "row state"]]:
    """Return fewer rows with the same mean products: a triangle of the states, and what it leaves of the
    following.

    Every fit, residual and norm follows from these; with few pairs they are left as they are. The triangle is
    the Cholesky factor of the Gram matrix of states where their condition number, with columns of one length,
    is at most 1000: the coefficients of the map are then good to ten digits, and what is left is computed
    as such, without a difference of squares. Else all of it is that of a QR factorisation of both.
    """
    pairs, size = states.shape
    if pairs <= 4 * size:
        return states, following
    found = _by_gram(states, following)
    R = torch.linalg.qr(torch.cat([states, following], dim=1), mode="r").R if found is None else found
    R = R * (2 * size / pairs) ** 0.5
    return R[:, :size], R[:, size:]


def _by_gram(
    states: Float[Tensor, "pair state"], following: Float[Tensor, "pair state"]
) -> Float[Tensor, "row twice"] | None:
    """Return R with RᵀR the products of both; None where the states are too near to dependent."""
    G = gram(states)
    length = G.diagonal().sqrt()
    if not bool((length > 0).all()):
        return None
    scaled = G / torch.outer(length, length)
    extent = torch.linalg.eigvalsh(scaled)
    if not float(extent[-1]) <= WELL_CONDITIONED**2 * float(extent[0]):
        return None
    L = torch.linalg.cholesky(scaled)
    B = torch.cholesky_solve((states.mT @ following) / length[:, None], L)
    left = torch.addmm(following, states, B / length[:, None], alpha=-1)
    products = gram(left)
    sizes = products.diagonal().sqrt().clamp_min(torch.finfo(G.dtype).tiny ** 0.5)
    values, V = torch.linalg.eigh(products / torch.outer(sizes, sizes))
    rest = values.clamp_min(0).sqrt()[:, None] * V.mT * sizes
    upper = torch.cat([L.mT * length, L.mT @ B], dim=1)
    return torch.cat([upper, torch.cat([torch.zeros_like(G), rest], dim=1)])
