"""Residual dynamic mode decomposition: EDMD whose pairs carry their residuals, and pseudospectra."""

from collections.abc import Mapping
from functools import partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor

from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.koopman.certificates import Certificate, ModulusSpec, PlaneSpec, knee
from koopcast.koopman.dictionaries import AnyDictionary
from koopcast.koopman.lifted import Lifted, LiftedSpec, observables, with_prefix, without_prefix
from koopcast.koopman.measures import AnyMeasure
from koopcast.koopman.modal import Eigenpairs, ModalModel, modal_basis, modal_tensors, pair_tensors
from koopcast.koopman.snapshots import delayed, pairs
from koopcast.mapping import MappingSpec
from koopcast.models import Model
from koopcast.numerics.galerkin import DEPENDENT, Galerkin
from koopcast.subsets import SubsetSpec

Quadrature = Literal["uniform", "trapezoid", "gauss_legendre", "given"]
LEAST_RATIO = 2
"""Pairs per observable below which residuals say nothing: with as many observables as pairs all are 0."""


class ResDMDSpec(LiftedSpec):
    """EDMD with a second Galerkin matrix, from which every eigenpair gets a residual: pairs that only the
    dictionary has are told from those of the system.

    Forecasts use the eigenfunctions of the pairs in `modes`, and fields are rebuilt from them by least
    squares. A residual speaks of the samples alone: two systems that agree there have the same residuals,
    and only a `modulus` of continuity leads beyond them.
    """

    kind: Literal["resdmd"] = "resdmd"
    dictionary: AnyDictionary = Field(default="rbf", validate_default=True)
    """Observables beside the coordinates."""
    modes: Literal["verified", "all", "knee"] = "verified"
    """Pairs in forecasts: those within the tolerance, all, or those before the knee of the sorted
    residuals."""
    tolerance: float = Field(0.05, gt=0, lt=1)
    """Largest residual of a verified pair."""
    algorithm: Literal["pairs", "pseudospectrum", "both"] = "pairs"
    """What the diagnostics hold beside the pairs: `pseudospectrum` and `both` add the smallest residual
    of any function at each point of `grid`."""
    grid: PlaneSpec = PlaneSpec()
    """Where the pseudospectrum is evaluated."""
    quadrature: Quadrature = "uniform"
    """Weights of the samples in the inner product: all alike (random starts, ergodic averages), those of the
    trapezoidal or the Gauss-Legendre rule where samples start at its nodes, in order, or the variable
    `weight` (per sample) of the data."""
    regularisation: NonNegativeFloat = DEPENDENT
    """Share of the largest eigenvalue of the Gram matrix; smaller directions are dropped."""
    observables: PositiveInt | None = None
    """Leading directions of the dictionary to keep; null: all above `regularisation`."""
    ridge: NonNegativeFloat = 1e-8
    """Penalty of the regression of fields on eigenfunctions, in units of their mean square."""
    modulus: ModulusSpec | None = None
    """What is known between the samples; null: nothing, and the certificate says so."""
    spectral_measure: AnyMeasure | None = None
    """How the spectral density of the leading component is estimated; null: not at all. It means something
    for systems that preserve a measure."""

    reference = (
        "Colbrook & Townsend 2024 (residual DMD); Colbrook, Mezić & Stepanenko 2024, Limits and powers of "
        "Koopman learning; residuals by a QR factorisation instead of a difference of Gram matrices"
    )

    def fit(self, data: FieldData, generator: torch.Generator, subset: SubsetSpec | None = None) -> Model:
        """Return the model of the training window; projection and dictionary see all its frames."""
        lifted = self.lifted(data, generator, subset)
        weights = self._weights(lifted, data)
        if fault := self.faulty_size(lifted.before.shape[1], len(lifted.before)):
            raise DataError(fault)
        galerkin = Galerkin.of(
            lifted.before, lifted.after, weights, dependent=self.regularisation, most=self.observables
        )
        found = galerkin.pairs()
        all_pairs = Eigenpairs(
            found.values, galerkin.transform.to(found.vectors.dtype) @ found.vectors, found.residuals
        )
        certificate = Certificate.of(self.modulus, lifted.pairs.X)
        is_verified = certificate.verified(found.residuals, self.tolerance)
        root = (weights * len(weights)).sqrt()[:, None]
        components = lifted.pairs.snapshots.tensors["basis"]
        frames = root * lifted.pairs.Y[:, : components.shape[1]]
        before, after = root * lifted.before, root * lifted.after
        if self.modes == "all":
            latent = galerkin.transform, galerkin.K.mT
        else:
            latent = modal_basis(all_pairs, self._kept(found.residuals, is_verified, certificate))
        tensors, error = modal_tensors(before, after, frames, components, latent, self.ridge)
        figures = [lifted.pairs.explained, torch.tensor(float(len(before))), error]
        tensors = lifted.pairs.snapshots.tensors | tensors | {
            "figures": torch.stack(figures).to(torch.float64),
            **certificate.tensors(),
            **pair_tensors(all_pairs, is_verified, before, root * lifted.pairs.X[:, : components.shape[1]]),
            **self._extras(galerkin, lifted, weights),
            **with_prefix(lifted.chosen),
        }  # fmt: skip
        return self.restore(data.info, tensors)

    def restore(
        self, info: FieldsInfo, tensors: Mapping[str, Tensor], mapping: MappingSpec | None = None
    ) -> Model:
        """Return the model that these tensors define."""
        features = partial(observables, self.dictionary, chosen=without_prefix(tensors))
        return ModalModel(info, self.delays, dict(tensors), features)

    def faulty_size(self, size: int, num_pairs: int) -> str | None:
        """Refuse dictionaries that fit the pairs by their number."""
        size = min(size, self.observables or size)
        if num_pairs >= LEAST_RATIO * size:
            return None
        return (
            f"{size} observables need {LEAST_RATIO * size} training pairs or more, and there are {num_pairs}"
            ": with fewer, residuals vanish for lack of data; use kernel_edmd or fewer observables"
        )

    def _kept(
        self, residuals: Float[Tensor, " mode"], is_verified: Tensor, certificate: Certificate
    ) -> Tensor:
        if self.modes == "knee":
            return torch.arange(len(residuals)) < knee(residuals)
        if not bool(is_verified.any()):
            widened = f" + {certificate.widening:.3g} of the modulus" if certificate.widening else ""
            raise DataError(
                f"no eigenpair is verified: the smallest residual is {float(residuals.min()):.3g}{widened}, "
                f"the tolerance {self.tolerance:g}",
                "raise `tolerance`, change the dictionary, train on more samples, or set `modes: all`",
            )
        return is_verified

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

    def _extras(
        self, galerkin: Galerkin, lifted: Lifted, weights: Float[Tensor, " pair"]
    ) -> dict[str, Tensor]:
        result: dict[str, Tensor] = {}
        if self.algorithm != "pairs":
            re, im = self.grid.axes()
            tau = galerkin.tau(torch.complex(*torch.meshgrid(re, im, indexing="ij")).flatten())
            result |= {"re": re, "im": im, "pseudospectrum": tau.reshape(len(re), len(im))}
        if self.spectral_measure is not None:
            series = lifted.pairs.snapshots.values[..., 0]
            f = galerkin.transform.mT @ (lifted.before.mT @ (weights * lifted.pairs.X[:, 0]))
            angle = torch.linspace(-torch.pi, torch.pi, ANGLES, dtype=torch.float64)
            density = self.spectral_measure.density(galerkin.K, f, series, angle)
            result |= {"angle": angle, "density": density}
        return result


ANGLES = 361
"""At which the spectral density is evaluated."""
