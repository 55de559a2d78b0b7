"""Dynamic mode decomposition of frames, or of stacks of delayed frames."""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.koopman.base import KoopmanModel, KoopmanSpec
from koopcast.koopman.snapshots import chosen_pairs, chosen_rank, delayed, pairs, read_snapshots
from koopcast.koopman.spectrum import eigenpairs
from koopcast.mapping import MappingSpec
from koopcast.models import Model
from koopcast.numerics.low_rank import truncated_svd
from koopcast.numerics.ridge import covariance_factor, ridge_regression
from koopcast.subsets import SubsetSpec


class DMDSpec(KoopmanSpec):
    """The best linear map of (stacked) frames, in the leading singular directions of the stacks.

    The state is the projection of the stack of `delays` frames on `rank` directions. Its spectrum is that of
    exact DMD; fields are rebuilt from the projected modes.
    """

    kind: Literal["dmd"] = "dmd"

    reference = "Tu et al. 2014; delays: Arbabi & Mezić 2017; centring: Hirsh et al. 2020"

    def fit(self, data: FieldData, generator: torch.Generator, subset: SubsetSpec | None = None) -> Model:
        """Return the model of the training window; the singular directions are those of all its stacks."""
        snapshots = read_snapshots(data, self)
        X, Y = pairs(delayed(snapshots.values, self.delays), snapshots.is_present)
        wanted = self.rank if isinstance(self.rank, int) else None
        _, singular, directions = truncated_svd(X, wanted, generator)
        rank = chosen_rank(self.rank, singular, X)
        directions = directions[:, :rank]
        # One number brings the leading coordinate to unit variance; it cancels between encoding and decoding.
        size = singular[0] / len(X) ** 0.5
        explained = singular[:rank].square().sum() / X.square().sum()
        if subset is not None:
            rows, root = chosen_pairs(snapshots, self.delays, subset, generator)
            X, Y = root * X[rows], root * Y[rows]
        states, following = X @ directions / size, Y @ directions / size
        fit = ridge_regression(states, following, self.ridge)
        K = fit.coefficients.mT.contiguous()
        error = fit.residual.norm() / following.norm()
        values = snapshots.values.shape[2]
        tensors = snapshots.tensors | {
            "factor": snapshots.tensors["factor"] * size,
            "operator": K,
            "noise": covariance_factor(fit.residual, fit.degrees_of_freedom),
            "basis": directions[:values].contiguous(),
            "directions": directions.contiguous(),
            "figures": torch.stack([explained, torch.tensor(float(len(X))), error]).to(torch.float64),
        }
        return DMDModel(data.info, self.delays, tensors | eigenpairs(K, states, following, rank))

    def restore(
        self, info: FieldsInfo, tensors: Mapping[str, Tensor], mapping: MappingSpec | None = None
    ) -> Model:
        """Return the model that these tensors define."""
        return DMDModel(info, self.delays, tensors)

    def _rank_limit(self, fields: FieldsInfo, pairs: int) -> int:
        return min(self.delays * fields.num_cells * fields.num_channels, pairs)


class DMDModel(KoopmanModel):
    """The state is the projection of the stacked frames; `directions` is `(delay · value, rank)`."""

    def encode(self, frames: Float[Tensor, "batch history *space channel"]) -> Float[Tensor, "batch state"]:
        """Return the projection of the stack."""
        return delayed(self._normalised(frames), self.history)[:, -1] @ self._tensors["directions"]
