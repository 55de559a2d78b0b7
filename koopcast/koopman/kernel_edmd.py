"""Kernel EDMD: a dictionary of as many functions as landmarks, known by its inner products alone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Complex, Float, Int
from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator
from torch import Tensor

from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.kernels import AnyKernel
from koopcast.koopman.certified import CertifiedSpec, Decomposer, Decomposition
from koopcast.koopman.choice import JudgedSpec, candidates, faulty_candidates, fit_best, selected, told
from koopcast.koopman.gram import Gram, SeparateGram, SharedGram, distinct_points
from koopcast.koopman.lifted import CoordinatePairs, with_prefix, without_prefix
from koopcast.koopman.modal import Eigenpairs, Features, ModalModel
from koopcast.koopman.spectrum import times
from koopcast.mapping import MappingSpec
from koopcast.models import Model
from koopcast.numerics.galerkin import Galerkin
from koopcast.numerics.landmarks import pivoted
from koopcast.numerics.leading import leading_eigenpairs
from koopcast.rng import numpy_from
from koopcast.spec import Problem
from koopcast.subsets import SubsetSpec

MAX_LANDMARKS = 8000
SEPARATE = 3
"""Matrices of the states' size that separate states and images need."""


class KernelChoiceSpec(JudgedSpec):
    """Candidates for the kernel and what goes with it, and how they are judged."""

    kernels: tuple[AnyKernel, ...] = ()
    """Kernels to try, each with its parameters; none: the model's own."""
    functions: tuple[PositiveInt, ...] = ()
    """Ranks of the map to try; none: the model's own."""
    regularisations: tuple[NonNegativeFloat, ...] = ()
    """Shares of the largest eigenvalue to try; none: the model's own."""

    options = {
        "kernel": "kernels",
        "rank": "ranks",
        "functions": "functions",
        "regularisation": "regularisations",
        "ridge": "ridges",
    }


class KernelEDMDSpec(CertifiedSpec):
    """EDMD in the functions k(·, z) of a kernel, z all training states or `centers` of them (Nyström).

    `projected` keeps the `functions` leading principal directions of the Gram matrix of the landmarks, which
    makes it EDMD with these as dictionary; `reduced_rank` keeps those that predict best, with a penalty, and
    the map of these is least squares without one. Residuals are dual:
    they bound the error of the Perron-Frobenius operator in the space of the kernel, where they stay
    meaningful with as many functions as samples.
    """

    kind: Literal["kernel_edmd"] = "kernel_edmd"
    kernel: AnyKernel = Field(default="gaussian", validate_default=True)
    """Inner product of the observables."""
    centers: PositiveInt | None = None
    """Landmarks among the training states; null: all of them."""
    landmarks: Literal["random", "pivoted"] = "random"
    """How `centers` are chosen: uniformly, or one by one where the kernel is represented worst (pivoted
    Cholesky)."""
    functions: PositiveInt = 32
    """Rank of the map."""
    estimator: Literal["projected", "reduced_rank"] = "projected"
    """How the map is found."""
    regularisation: NonNegativeFloat = 1e-12
    """Share of the largest eigenvalue of the Gram matrix: directions below it are dropped (`projected`), or
    the Tikhonov penalty (`reduced_rank`)."""
    residual: Literal["dual", "data"] = "dual"
    """Which residual judges a pair: that of the Perron-Frobenius operator, or the mean square over the pairs,
    which needs many more pairs than functions."""
    modes: Literal["verified", "all", "knee"] = "all"
    """Pairs in forecasts: all, those within the tolerance, or those before the knee of the sorted
    residuals."""
    choose: KernelChoiceSpec | None = None
    """Candidates, chosen by errors on blocks left out; the table of errors stands in the diagnostics. null:
    the options as they are."""

    reference = (
        "Williams, Rowley & Kevrekidis 2015; Kostic et al. 2022 (reduced rank); Meanti et al. 2023 (Nyström);"
        " Colbrook, Mezić & Stepanenko 2024 (dual residual)"
    )

    @model_validator(mode="after")
    def _centers_hold_the_functions(self) -> "KernelEDMDSpec":
        for spec in [self] if self.choose is None else candidates(self, self.choose):
            if spec.centers is not None and spec.functions > spec.centers:
                message = f"functions: {spec.functions} are above {spec.centers}, the centers; lower them"
                raise ValueError(message)
            if spec.estimator == "reduced_rank" and spec.regularisation == 0:
                raise ValueError("regularisation: 0 with estimator: reduced_rank; give a penalty like 1e-6")
        return self

    def fit(self, data: FieldData, generator: torch.Generator, subset: SubsetSpec | None = None) -> Model:
        """Return the model of the training window."""
        if self.choose is not None:
            return fit_best(self, self.choose, data, generator, subset)
        found = self.coordinate_pairs(data, generator, subset)
        root = torch.ones(len(found.X), 1, dtype=torch.float64) if found.root is None else found.root
        root = root / root.square().mean().sqrt()
        made = self.decompose(found.X, found.Y, root, generator)
        tensors = self.assembled(
            Decomposition(found, made.before, made.after, root, made.galerkin, made.eigenpairs)
        )
        encoder = made.functions @ tensors["encoder"]
        # As real columns: the parts of each mode side by side.
        parts = made.functions @ tensors["eigenfunctions"].movedim(1, 0).flatten(1)
        tensors |= with_prefix(made.chosen) | {
            "encoder": encoder,
            "eigenfunctions": parts.unflatten(1, (-1, 2)).movedim(1, 0).contiguous(),
            "landmarks": made.landmarks,
        }
        if self.kernel.is_measured():
            Z = made.landmarks
            tensors |= {"gram": made.square, "gram_exact": self.kernel.exact(Z, Z, made.chosen)}
        return self.restore(data.info, tensors)

    def decompose(
        self,
        X: Float[Tensor, "pair coordinate"],
        Y: Float[Tensor, "pair coordinate"],
        root: Float[Tensor, "pair 1"],
        generator: torch.Generator,
    ) -> "KernelDecomposition":
        """Return eigenpairs in the functions of the kernel, smallest residual first.

        Args:
            X: States.
            Y: Their images.
            root: Roots of the weights of the pairs.
            generator: Of the landmarks.
        """
        chosen = self.kernel.prepare(X)
        gram = self._gram(X, Y, chosen, generator)
        functions = self._functions(gram, root)
        found = gram.values(functions)
        before, after = root * found.before, root * found.after
        galerkin = Galerkin.of(before, after, dependent=0.0)
        pairs = galerkin.pairs()
        vectors = times(galerkin.transform, pairs.vectors)
        residuals = pairs.residuals
        if self.residual == "dual":
            residuals = gram.dual_residuals(pairs.values, vectors, functions, found)
        order = _by_residual(pairs.values, residuals)
        eigenpairs = Eigenpairs(pairs.values[order], vectors[:, order], residuals[order])
        return KernelDecomposition(
            chosen, gram.Z, gram.square, functions, before, after, galerkin, eigenpairs
        )

    def restore(
        self, info: FieldsInfo, tensors: Mapping[str, Tensor], mapping: MappingSpec | None = None
    ) -> Model:
        """Return the model that these tensors define."""
        spec = self if self.choose is None else selected(self, self.choose, tensors)
        gram = partial(spec.kernel.gram, y=tensors["landmarks"], tensors=without_prefix(tensors))
        return told(KernelModel(info, self.delays, dict(tensors), gram), self, self.choose, tensors)

    def decomposer(
        self,
        states: Float[Tensor, "sample state_time coordinate"],
        is_state: Bool[Tensor, " state_time"],
        generator: torch.Generator,
    ) -> Decomposer:
        """Return how pairs are decomposed in the functions of the kernel; landmarks are among them."""

        def decomposed(pairs: CoordinatePairs) -> tuple[Decomposition, Features]:
            root = torch.ones_like(pairs.X[:, :1])
            made = self.decompose(pairs.X, pairs.Y, root, generator)

            def features(x: Float[Tensor, "batch coordinate"]) -> Float[Tensor, "batch function"]:
                return self.kernel.gram(x, made.landmarks, made.chosen) @ made.functions

            found = Decomposition(pairs, made.before, made.after, root, made.galerkin, made.eigenpairs)
            return found, features

        return decomposed

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Yield what the shapes alone rule out."""
        if self.choose is not None:
            yield from faulty_candidates(self, self.choose, fields)
            return
        yield from super().check(fields)
        train = fields.parts.get("train", fields.whole)
        num_pairs = train.num_samples * (train.num_times - self.delays)
        count = self.centers or num_pairs
        if 0 < num_pairs < count:
            yield Problem(("centers",), f"{count} are above {num_pairs} training pairs; lower them")
        elif count > MAX_LANDMARKS:
            message = f"{count} landmarks are above {MAX_LANDMARKS}; set centers"
            yield Problem(("centers",), message)
        if (coordinates := self.num_coordinates(fields)) is not None:
            yield from (problem.below("kernel") for problem in self.kernel.faulty_dimension(coordinates))

    def _chosen_landmarks(
        self, X: Float[Tensor, "pair coordinate"], chosen: Mapping[str, Tensor], generator: torch.Generator
    ) -> Int[Tensor, " landmark"]:
        """Return which states are landmarks.

        Raises:
            DataError: There are fewer states, or too many of them.
        """
        count = self.centers or len(X)
        if count > len(X):
            raise DataError(f"{count} centers are above {len(X)} training pairs", "lower `centers`")
        if count > MAX_LANDMARKS:
            raise DataError(f"{count} landmarks are above {MAX_LANDMARKS}", "set `centers`")
        if count == len(X):
            return torch.arange(count)
        if self.landmarks == "random":
            drawn = numpy_from(generator).choice(len(X), count, replace=False)
            return torch.from_numpy(np.sort(drawn))
        return pivoted(lambda x, y: self.kernel.exact(x, y, chosen), X, count)

    def _gram(
        self,
        X: Float[Tensor, "pair coordinate"],
        Y: Float[Tensor, "pair coordinate"],
        chosen: Mapping[str, Tensor],
        generator: torch.Generator,
    ) -> Gram:
        """Evaluate the kernel, each matrix once; where images are states again, one matrix for both."""
        index = self._chosen_landmarks(X, chosen, generator)
        is_whole = len(index) == len(X)
        if is_whole and not self.kernel.is_measured():
            points, following = distinct_points(X, Y)
            if len(points) ** 2 < SEPARATE * len(X) ** 2:
                whole = self.kernel.square(points, chosen)
                return SharedGram(X, index, whole[: len(X), : len(X)], following, whole)
        Z, FZ = (X, Y) if is_whole else (X[index].contiguous(), Y[index].contiguous())
        square = self.kernel.square(Z, chosen)
        # As transposed views, in which `combined` reads along the rows.
        before = (square if is_whole else self.kernel.gram(Z, X, chosen)).mT
        after = self.kernel.gram(Z, Y, chosen).mT
        return SeparateGram(Z, index, square, before, after, self.kernel.square(FZ, chosen))

    def _functions(self, gram: Gram, root: Float[Tensor, "pair 1"]) -> Float[Tensor, "landmark function"]:
        """Return which combinations of k(·, z) are the functions of the map."""
        rank = min(self.functions, len(gram.Z))
        if self.estimator == "reduced_rank":
            return gram.predictive(rank, self.regularisation, root)
        D, U = leading_eigenpairs(gram.square, rank)
        kept = max(self.regularisation, torch.finfo(D.dtype).eps) * D[0] < D
        return U[:, kept] / D[kept].sqrt()


@dataclass(frozen=True)
class KernelDecomposition:
    """Eigenpairs in the functions of a kernel."""

    chosen: dict[str, Tensor]
    """What the kernel took from the states."""
    landmarks: Float[Tensor, "landmark coordinate"]
    square: Float[Tensor, "landmark landmark"]
    """Their Gram matrix."""
    functions: Float[Tensor, "landmark function"]
    """Combinations of k(·, z) that the map acts on."""
    before: Float[Tensor, "pair function"]
    """Their values at the states, times the roots of the weights."""
    after: Float[Tensor, "pair function"]
    """Those at the images."""
    galerkin: Galerkin
    eigenpairs: Eigenpairs
    """Vectors combine the functions."""


class KernelModel(ModalModel):
    """The state is combinations of k(·, z); tensors beside those of modal models: `landmarks` z."""

    def diagnostics(self) -> xr.Dataset:
        """Return the pairs, and measured and exact Gram matrices where the kernel counts."""
        result = super().diagnostics()
        for name, text in (("gram", "Gram matrix"), ("gram_exact", "Gram matrix without counting")):
            if name in self._tensors:
                values = self._tensors[name].numpy()
                result[name] = (("landmark", "other"), values, {"units": "1", "long_name": text})
        return result


def _by_residual(values: Complex[Tensor, " mode"], residuals: Float[Tensor, " mode"]) -> list[int]:
    """Return the order of pairs, smallest residual first; conjugates stay together, the upper one first."""
    return sorted(
        range(len(values)),
        key=lambda i: (
            round(float(residuals[i]), 6),
            round(-abs(complex(values[i])), 9),
            -float(values[i].imag),
        ),
    )
