"""Extended dynamic mode decomposition: a linear map of observables of projected, delayed frames."""

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.koopman.base import KoopmanModel, KoopmanSpec
from koopcast.koopman.dictionaries import AnyDictionary
from koopcast.koopman.dictionaries.base import DictionarySpec
from koopcast.koopman.snapshots import (
    Snapshots,
    chosen_pairs,
    chosen_rank,
    delayed,
    pairs,
    read_snapshots,
)
from koopcast.koopman.spectrum import eigenpairs
from koopcast.mapping import MappingSpec
from koopcast.models import Model
from koopcast.numerics.low_rank import truncated_svd
from koopcast.numerics.ridge import Ridge, covariance_factor, ridge_regression
from koopcast.spec import Problem
from koopcast.subsets import SubsetSpec

MAX_OBSERVABLES = 5000
_PREFIX = "dictionary."


class EDMDSpec(KoopmanSpec):
    """A linear map of observables of the leading principal components, found by ridge regression.

    The state holds the components of the last `delays` frames, newest first, and the other observables of the
    dictionary. Only the newest components and those observables are regressed: older components are copies,
    and the constant stays 1. Fields are rebuilt from the components, which the dictionary always holds.
    """

    kind: Literal["edmd"] = "edmd"
    dictionary: AnyDictionary = Field(default="linear", validate_default=True)
    """Observables beside the components."""

    reference = "Williams, Kevrekidis & Rowley 2015; departs in the copied rows"

    def fit(self, data: FieldData, generator: torch.Generator, subset: SubsetSpec | None = None) -> Model:
        """Return the model of the training window; projection and dictionary see all its frames."""
        frames = read_snapshots(data, self)
        snapshots, explained = self._projected(frames, generator)
        X, Y = pairs(delayed(snapshots.values, self.delays), snapshots.is_present)
        chosen = self.dictionary.prepare(X, generator)
        root: Tensor | None = None
        if subset is not None:
            rows, root = chosen_pairs(frames, self.delays, subset, generator)
            X, Y = X[rows], Y[rows]
        lifted = (torch.cat([u, self.dictionary.lift(u, chosen)], dim=1) for u in (X, Y))
        states, following = lifted if root is None else (root * u for u in lifted)
        rank, width = snapshots.tensors["basis"].shape[1], X.shape[1]
        self._refuse_underdetermined(states)
        # Regressed: the newest components, and the observables after the constant.
        is_regressed = torch.ones(states.shape[1], dtype=torch.bool)
        is_regressed[rank : width + 1] = False
        fit = ridge_regression(states, following[:, is_regressed], self.ridge)
        K = _assembled(fit, is_regressed, rank, width)
        noise = covariance_factor(fit.residual, fit.degrees_of_freedom)
        error = fit.residual[:, :rank].norm() / following[:, :rank].norm()
        tensors = snapshots.tensors | {
            "operator": K,
            "noise": torch.zeros(len(K), noise.shape[1], dtype=K.dtype).index_put_((is_regressed,), noise),
            "figures": torch.stack([explained, torch.tensor(float(len(X))), error]).to(torch.float64),
            **{_PREFIX + name: tensor for name, tensor in chosen.items()},
            **eigenpairs(K, states, following, rank),
        }
        return EDMDModel(data.info, self.delays, tensors, self.dictionary)

    def restore(
        self, info: FieldsInfo, tensors: Mapping[str, Tensor], mapping: MappingSpec | None = None
    ) -> Model:
        """Return the model that these tensors define."""
        return EDMDModel(info, self.delays, tensors, self.dictionary)

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Yield what the shapes alone rule out, the size of the dictionary included."""
        yield from super().check(fields)
        if not isinstance(self.rank, int):
            return
        coordinates = self.rank * self.delays
        size = coordinates + self.dictionary.num_observables(coordinates)
        train = fields.parts.get("train", fields.whole)
        pairs = train.num_samples * (train.num_times - self.delays)
        if size > MAX_OBSERVABLES:
            message = f"{size} observables are above {MAX_OBSERVABLES}; lower rank, delays or degree"
            yield Problem(("dictionary",), message)
        elif self.ridge == 0 and 0 < pairs < size:
            message = f"{size} observables are above {pairs} training pairs; set ridge or lower rank"
            yield Problem(("dictionary",), message)

    def _projected(self, snapshots: Snapshots, generator: torch.Generator) -> tuple[Snapshots, Tensor]:
        """Return the components of the frames in the leading directions, and their share of the variance."""
        frames = snapshots.frames()
        wanted = self.rank if isinstance(self.rank, int) else None
        _, singular, directions = truncated_svd(frames, wanted, generator)
        rank = chosen_rank(self.rank, singular, frames)
        basis = directions[:, :rank].contiguous()
        # One number brings the leading component to unit variance, so that products stay near 1.
        size = singular[0] / len(frames) ** 0.5
        tensors = snapshots.tensors | {"basis": basis, "factor": snapshots.tensors["factor"] * size}
        explained = singular[:rank].square().sum() / frames.square().sum()
        return Snapshots(snapshots.values @ basis / size, snapshots.is_present, tensors), explained

    def _refuse_underdetermined(self, states: Float[Tensor, "pair state"]) -> None:
        num_pairs, size = states.shape
        if size > MAX_OBSERVABLES:
            raise DataError(f"{size} observables are above {MAX_OBSERVABLES}", "lower rank, delays or degree")
        if self.ridge == 0 and size > num_pairs:
            raise DataError(
                f"{size} observables are above {num_pairs} training pairs", "set `ridge` or lower rank"
            )


class EDMDModel(KoopmanModel):
    """The state is the components of the frames, newest first, then the other observables."""

    def __init__(
        self, info: FieldsInfo, delays: int, tensors: Mapping[str, Tensor], dictionary: DictionarySpec
    ) -> None:
        super().__init__(info, delays, tensors)
        self._dictionary = dictionary
        self._chosen = {
            name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items() if name.startswith(_PREFIX)
        }

    def encode(self, frames: Float[Tensor, "batch history *space channel"]) -> Float[Tensor, "batch state"]:
        """Return the observables of the frames."""
        components = self._normalised(frames) @ self._tensors["basis"]
        coordinates = delayed(components, self.history)[:, -1]
        return torch.cat([coordinates, self._dictionary.lift(coordinates, self._chosen)], dim=1)


def _assembled(fit: Ridge, is_regressed: Tensor, rank: int, width: int) -> Float[Tensor, "state state"]:
    """Return K: regressed rows, rows that copy a newer component, and the row that keeps the constant."""
    size = len(is_regressed)
    K = torch.zeros(size, size, dtype=fit.coefficients.dtype)
    K[is_regressed] = fit.coefficients.mT
    K[rank:width, : width - rank] = torch.eye(width - rank, dtype=K.dtype)
    if size > width:
        K[width, width] = 1
    return K
