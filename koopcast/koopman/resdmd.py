"""Residual dynamic mode decomposition: EDMD whose pairs carry their residuals, and pseudospectra."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator
from torch import Tensor

from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.koopman.certified import CertifiedSpec, Decomposer, Decomposition
from koopcast.koopman.choice import ChoiceSpec, faulty_candidates, fit_best, selected, told
from koopcast.koopman.dictionaries import AnyDictionary
from koopcast.koopman.lifted import (
    CoordinatePairs,
    Lifted,
    LiftedSpec,
    observables,
    with_prefix,
    without_prefix,
)
from koopcast.koopman.modal import Eigenpairs, Features, ModalModel
from koopcast.koopman.snapshots import delayed, pairs
from koopcast.mapping import MappingSpec
from koopcast.models import Model
from koopcast.numerics.galerkin import DEPENDENT, Galerkin
from koopcast.spec import Problem
from koopcast.subsets import SubsetSpec

Quadrature = Literal["uniform", "trapezoid", "gauss_legendre", "given"]
LEAST_RATIO = 2
"""Pairs per observable below which residuals say nothing: with as many observables as pairs all are 0."""


class ResDMDChoiceSpec(ChoiceSpec):
    """Candidates for dictionary, its leading directions, rank and penalty, and how they are judged."""

    observables: tuple[PositiveInt | None, ...] = ()
    """Numbers of leading directions to try; none: the model's own."""

    options = {
        "dictionary": "dictionaries",
        "rank": "ranks",
        "observables": "observables",
        "ridge": "ridges",
    }


class ResDMDSpec(CertifiedSpec, LiftedSpec):
    """EDMD with a second Galerkin matrix, from which every eigenpair gets a residual: pairs that only the
    dictionary has are told from those of the system.

    Forecasts use the eigenfunctions of the pairs in `modes`, and fields are rebuilt from them by least
    squares. A residual speaks of the samples alone: two systems that agree there have the same residuals,
    and only a `modulus` of continuity leads beyond them.
    """

    kind: Literal["resdmd"] = "resdmd"
    dictionary: AnyDictionary = Field(default="rbf", validate_default=True)
    """Observables beside the coordinates."""
    quadrature: Quadrature = "uniform"
    """Weights of the samples in the inner product: all alike (random starts, ergodic averages), those of the
    trapezoidal or the Gauss-Legendre rule where samples start at its nodes, in order, or the variable
    `weight` (per sample) of the data."""
    regularisation: NonNegativeFloat = DEPENDENT
    """Share of the largest eigenvalue of the Gram matrix; smaller directions are dropped."""
    observables: PositiveInt | None = None
    """Leading directions of the dictionary to keep; null: all above `regularisation`."""

    choose: ResDMDChoiceSpec | None = None
    """Candidates, chosen by errors on blocks left out; the table of errors stands in the diagnostics. null:
    the options as they are."""

    reference = (
        "Colbrook & Townsend 2024 (residual DMD); Colbrook, Mezić & Stepanenko 2024, Limits and powers of "
        "Koopman learning; residuals by a QR factorisation instead of a difference of Gram matrices"
    )

    @model_validator(mode="after")
    def _choice_judges_alike(self) -> "ResDMDSpec":
        if self.choose is not None and self.quadrature != "uniform":
            raise ValueError(f"choose: judges all samples alike; remove quadrature: {self.quadrature}")
        return self

    def fit(self, data: FieldData, generator: torch.Generator, subset: SubsetSpec | None = None) -> Model:
        """Return the model of the training window; projection and dictionary see all its frames."""
        if self.choose is not None:
            return fit_best(self, self.choose, data, generator, subset)
        lifted = self.lifted(data, generator, subset)
        if fault := self.faulty_size(lifted.before.shape[1], len(lifted.before)):
            raise DataError(fault)
        root = (self._weights(lifted, data) * len(lifted.before)).sqrt()[:, None]
        tensors = self.assembled(self._decomposition(lifted.pairs, lifted.before, lifted.after, root))
        return self.restore(data.info, tensors | with_prefix(lifted.chosen))

    def restore(
        self, info: FieldsInfo, tensors: Mapping[str, Tensor], mapping: MappingSpec | None = None
    ) -> Model:
        """Return the model that these tensors define."""
        spec = self if self.choose is None else selected(self, self.choose, tensors)
        features = partial(observables, spec.dictionary, chosen=without_prefix(tensors))
        return told(ModalModel(info, self.delays, dict(tensors), features), self, self.choose, tensors)

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Yield what the shapes alone rule out, for every candidate."""
        if self.choose is None:
            yield from super().check(fields)
        else:
            yield from faulty_candidates(self, self.choose, fields)

    def decomposer(
        self,
        states: Float[Tensor, "sample state_time coordinate"],
        is_state: Bool[Tensor, " state_time"],
        generator: torch.Generator,
    ) -> Decomposer:
        """Return how pairs are decomposed in the dictionary."""
        chosen = self.dictionary.prepare(states[:, is_state].flatten(0, 1), generator)
        features = partial(observables, self.dictionary, chosen=chosen)

        def decomposed(pairs: CoordinatePairs) -> tuple[Decomposition, Features]:
            root = torch.ones_like(pairs.X[:, :1])
            return self._decomposition(pairs, features(pairs.X), features(pairs.Y), root), features

        return decomposed

    def _decomposition(
        self,
        pairs: CoordinatePairs,
        before: Float[Tensor, "pair observable"],
        after: Float[Tensor, "pair observable"],
        root: Float[Tensor, "pair 1"],
    ) -> Decomposition:
        before, after = root * before, root * after
        galerkin = Galerkin.of(before, after, dependent=self.regularisation, most=self.observables)
        found = galerkin.pairs()
        vectors = galerkin.transform.to(found.vectors.dtype) @ found.vectors
        eigenpairs = Eigenpairs(found.values, vectors, found.residuals)
        return Decomposition(pairs, before, after, root, galerkin, eigenpairs)

    def faulty_size(self, size: int, num_pairs: int) -> str | None:
        """Refuse dictionaries that fit the pairs by their number."""
        size = min(size, self.observables or size)
        if num_pairs >= LEAST_RATIO * size:
            return None
        return (
            f"{size} observables need {LEAST_RATIO * size} training pairs or more, and there are {num_pairs}"
            ": with fewer, residuals vanish for lack of data; use kernel_edmd or fewer observables"
        )

    def _weights(self, lifted: Lifted, data: FieldData) -> Float[Tensor, " pair"]:
        """Return weights of the pairs whose sum is 1."""
        by_sample = self._sample_weights(data)
        values = lifted.pairs.snapshots.values
        states = delayed(values, self.delays)[..., :1]
        spread = by_sample[:, None, None].expand_as(states)
        weights = pairs(spread, lifted.pairs.snapshots.is_present)[0][:, 0]
        if lifted.pairs.rows is not None and lifted.pairs.root is not None:
            weights = weights[lifted.pairs.rows] * lifted.pairs.root[:, 0].square()
        return weights / weights.sum()

    def _sample_weights(self, data: FieldData) -> Float[Tensor, " sample"]:
        start, stop = data.view.samples
        count = stop - start
        weights = np.ones(count)
        if self.quadrature == "trapezoid":
            weights[[0, -1]] = 0.5
        elif self.quadrature == "gauss_legendre":
            weights = np.polynomial.legendre.leggauss(count)[1]
        elif self.quadrature == "given":
            if "weight" not in data.dataset or data.dataset["weight"].dims != ("sample",):
                raise DataError(
                    "quadrature: given asks for a variable `weight` with the dim `sample`, and the data hold "
                    f"{', '.join(map(str, data.dataset.data_vars))}",
                    "add it, or choose another quadrature",
                )
            weights = np.asarray(data.dataset["weight"].values[start:stop], dtype=np.float64)
            if not (np.isfinite(weights).all() and (weights > 0).all()):
                raise DataError("quadrature: a weight is not a positive number", "correct `weight`")
        return torch.from_numpy(weights)
