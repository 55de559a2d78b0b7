"""Extended dynamic mode decomposition: a linear map of observables of projected, delayed frames."""

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
import xarray as xr
from jaxtyping import Float
from pydantic import PositiveInt, model_validator
from torch import Tensor

from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.koopman.base import KoopmanModel
from koopcast.koopman.choice import ChoiceSpec, candidates, choose, ranks_of, ridges_of
from koopcast.koopman.dictionaries.base import DictionarySpec
from koopcast.koopman.lifted import LiftedSpec, observables, with_prefix, without_prefix
from koopcast.koopman.rows import Rows
from koopcast.koopman.snapshots import delayed, read_snapshots
from koopcast.koopman.spectrum import eigenpairs
from koopcast.mapping import MappingSpec
from koopcast.models import Model
from koopcast.numerics.galerkin import Galerkin
from koopcast.numerics.products import gram
from koopcast.numerics.ridge import Ridge, covariance_factor, reduced_rank_regression, ridge_regression
from koopcast.spec import Problem
from koopcast.subsets import SubsetSpec

Constraint = Literal["none", "stable", "measure_preserving"]
WELL_CONDITIONED = 1e3
"""Condition number of the states up to which their Gram matrix serves."""


class EDMDSpec(LiftedSpec):
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
            return self._chosen(self.choose, data, generator, subset)
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
        dictionary = self.dictionary
        if self.choose is not None and self.choose.dictionaries:
            dictionary = self.choose.dictionaries[int(tensors["choice"][0])]
        return EDMDModel(info, self, tensors, dictionary)

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Yield what the shapes alone rule out, for every candidate."""
        if self.choose is None:
            yield from super().check(fields)
            return
        plain = self.model_copy(update={"choose": None})
        found = (p for row in candidates(plain, self.choose) for spec in row for p in spec.check(fields))
        places = {("rank",): "ranks", ("dictionary",): "dictionaries"}
        for path, message in dict.fromkeys((problem.path, problem.message) for problem in found):
            yield Problem(("choose", places[path]) if path in places else path, message)

    def faulty_size(self, size: int, num_pairs: int) -> str | None:
        """Refuse more observables than pairs, unless there is a penalty."""
        if (self.constraint == "none" and self.ridge > 0) or size <= num_pairs:
            return None
        return f"{size} observables are above {num_pairs} training pairs; set ridge or lower rank"

    def _chosen(
        self, choice: ChoiceSpec, data: FieldData, generator: torch.Generator, subset: SubsetSpec | None
    ) -> Model:
        """Fit the best candidate to all blocks."""
        found = choose(self, choice, read_snapshots(data, self), generator)
        dictionary, rank, ridge = found.best
        update = {"ridge": ridges_of(self, choice)[ridge], "choose": None}
        best = candidates(self, choice)[dictionary][rank].model_copy(update=update)
        choice_tensors = {"choice": torch.tensor(found.best), "errors": found.errors}
        return self.restore(data.info, best.fit(data, generator, subset).tensors() | choice_tensors)

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
        self, info: FieldsInfo, spec: EDMDSpec, tensors: Mapping[str, Tensor], dictionary: DictionarySpec
    ) -> None:
        super().__init__(info, spec.delays, tensors)
        self._spec = spec
        self._dictionary = dictionary
        self._chosen = without_prefix(tensors)

    def encode(self, frames: Float[Tensor, "batch history *space channel"]) -> Float[Tensor, "batch state"]:
        """Return the observables of the frames."""
        components = self._normalised(frames) @ self._tensors["basis"]
        return observables(self._dictionary, delayed(components, self.history)[:, -1], self._chosen)

    def card(self) -> dict[str, float | int | str]:
        """Return the figures of the fit, and what was chosen."""
        choice = self._spec.choose
        if choice is None:
            return super().card()
        _, rank, ridge = self._tensors["choice"].tolist()
        return super().card() | {
            "chosen_dictionary": self._dictionary.kind,
            "chosen_rank": str(ranks_of(self._spec, choice)[rank]),
            "chosen_ridge": ridges_of(self._spec, choice)[ridge],
            "held_out_error": float(self._tensors["errors"].min()),
        }

    def diagnostics(self) -> xr.Dataset:
        """Return the pairs, and the errors of the candidates where there was a choice."""
        result, choice = super().diagnostics(), self._spec.choose
        if choice is None:
            return result
        dictionaries = choice.dictionaries or (self._spec.dictionary,)
        labels = {
            "dictionary": [f"{place}: {item.kind}" for place, item in enumerate(dictionaries)],
            "rank": [str(rank) for rank in ranks_of(self._spec, choice)],
            "ridge": list(ridges_of(self._spec, choice)),
        }
        errors = self._tensors["errors"].numpy()
        attrs = {"units": "1", "long_name": f"relative error, {choice.lead} steps ahead, of blocks left out"}
        result["held_out_error"] = xr.DataArray(errors, labels, tuple(labels), attrs=attrs)
        return result


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
    """Return R with RᵀR the products of both; None where the Gram matrix of states is too near to singular."""
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
