"""Generator EDMD: the rate of change of observables as a linear map of them, forecast by its exponential."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Literal

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.koopman.base import KoopmanModel
from koopcast.koopman.lifted import (
    LiftedSpec,
    check_size,
    observables,
    with_prefix,
    without_prefix,
)
from koopcast.koopman.modal import Features
from koopcast.koopman.snapshots import delayed, pairs, read_snapshots
from koopcast.koopman.spectrum import eigenpairs, to_complex
from koopcast.mapping import MappingSpec
from koopcast.models import Model
from koopcast.numerics.ridge import covariance_factor, ridge_regression
from koopcast.spec import Problem
from koopcast.subsets import SubsetSpec

STENCILS = {2: (1 / 2,), 4: (2 / 3, -1 / 12), 6: (3 / 4, -3 / 20, 1 / 60)}
"""Order -> weights of ψ(t + k) - ψ(t - k), k = 1, 2, .."""


class GEDMDSpec(LiftedSpec):
    """ψ' = L ψ by ridge regression of central differences along trajectories; one step is exp(L).

    The eigenvalues of L are rates without the branches of a logarithm: of no use are oscillations faster than
    the records follow. Differences amplify noise by about 1/step, so that it suits smooth, clean data.
    """

    kind: Literal["gedmd"] = "gedmd"
    order: Literal[2, 4, 6] = 4
    """Order of the differences in the record step: they need `order` + 1 records in a row."""

    takes_subset = False
    reference = "Klus et al. 2020 (gEDMD), with differences of observables instead of a known vector field"

    def fit(self, data: FieldData, generator: torch.Generator, subset: SubsetSpec | None = None) -> Model:
        """Return the model of the training window.

        Raises:
            DataError: No stretch is long enough, or pairs were to be chosen.
        """
        if subset is not None:
            raise DataError("'gedmd' learns from whole trajectories, not from pairs", "remove `subset`")
        snapshots, explained = self.projected(read_snapshots(data, self), generator)
        states = delayed(snapshots.values, self.delays)
        is_state = snapshots.is_present.unfold(0, self.delays, 1).all(dim=1)
        check_size(states.shape[2] + self.dictionary.num_observables(states.shape[2]))
        chosen = self.dictionary.prepare(states[:, is_state].flatten(0, 1), generator)
        psi = observables(self.dictionary, states.flatten(0, 1), chosen).unflatten(0, states.shape[:2])
        reach = self.order // 2
        is_whole = is_state[:0]
        if len(is_state) > 2 * reach:
            is_whole = is_state.unfold(0, 2 * reach + 1, 1).all(dim=1)
        if not bool(is_whole.any()):
            raise DataError(
                f"no {2 * reach + self.delays} records in a row hold data, which order {self.order} needs",
                "lower `order` or `delays`, or train on more records",
            )
        centre = psi[:, reach : psi.shape[1] - reach][:, is_whole].flatten(0, 1)
        rate = self._differences(psi)[:, is_whole].flatten(0, 1)
        L = ridge_regression(centre, rate, self.ridge).coefficients.mT.contiguous()
        constant = slice(states.shape[2], states.shape[2] + 1)  # empty where the dictionary has none
        L[constant] = 0
        K = torch.linalg.matrix_exp(L)
        K[constant] = torch.eye(len(K), dtype=K.dtype)[constant]
        rates, V = torch.linalg.eig(L)
        before, after = pairs(psi, snapshots.is_present)
        rank = snapshots.values.shape[2]
        residual = after - before @ K.mT
        error = residual[:, :rank].norm() / after[:, :rank].norm()
        stored = eigenpairs(K, before, after, rank, (rates.exp(), V))
        place = (to_complex(stored["eigenvalues"])[:, None] - rates.exp()).abs().argmin(dim=1)
        tensors = snapshots.tensors | {
            "operator": K,
            "rates": torch.view_as_real(rates[place]).contiguous(),
            "noise": covariance_factor(residual, float(centre.shape[1])),
            "figures": torch.stack([explained, torch.tensor(float(len(before))), error]).to(torch.float64),
            **with_prefix(chosen),
            **stored,
        }
        return self.restore(data.info, tensors)

    def restore(
        self, info: FieldsInfo, tensors: Mapping[str, Tensor], mapping: MappingSpec | None = None
    ) -> Model:
        """Return the model that these tensors define."""
        features = partial(observables, self.dictionary, chosen=without_prefix(tensors))
        return GeneratorModel(info, self.delays, dict(tensors), features)

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Yield what the shapes alone rule out."""
        yield from super().check(fields)
        train = fields.parts.get("train", fields.whole)
        if train.num_times < self.order + self.delays:
            yield Problem(
                ("order",),
                f"{self.order} needs {self.order + self.delays} records in a row, and the training part "
                f"holds {train.num_times}; lower it",
            )

    def _differences(
        self, psi: Float[Tensor, "sample time observable"]
    ) -> Float[Tensor, "sample inner observable"]:
        """Return the rate of change per record step, where the stencil fits."""
        weights = STENCILS[self.order]
        reach, length = len(weights), psi.shape[1]
        result = torch.zeros_like(psi[:, reach : length - reach])
        for k, weight in enumerate(weights, start=1):
            result += weight * (
                psi[:, reach + k : length - reach + k] - psi[:, reach - k : length - reach - k]
            )
        return result


class GeneratorModel(KoopmanModel):
    """The state is the coordinates, newest first, then the other observables; `rates` `(mode)` of L."""

    def __init__(
        self, info: FieldsInfo, delays: int, tensors: Mapping[str, Tensor], features: Features
    ) -> None:
        super().__init__(info, delays, tensors)
        self._features = features

    def encode(self, frames: Float[Tensor, "batch history *space channel"]) -> Float[Tensor, "batch state"]:
        """Return the observables of the frames."""
        coordinates = self._normalised(frames) @ self._tensors["basis"]
        return self._features(delayed(coordinates, self.history)[:, -1])

    def diagnostics(self) -> xr.Dataset:
        """Return the pairs, with their rates per record step."""
        result, rates = super().diagnostics(), to_complex(self._tensors["rates"]).numpy()
        for name, part, text in (("rate_real", rates.real, "growth"), ("rate_imag", rates.imag, "turning")):
            result[name] = ("mode", part, {"units": "step-1", "long_name": f"rate of {text}"})
        return result
