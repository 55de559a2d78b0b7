"""Spectral weights as products of small complex tensors: CP, Tucker and tensor-train form."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Complex, Int
from torch import Tensor, nn

Factorization = Literal["dense", "cp", "tucker", "tt"]
Implementation = Literal["reconstructed", "factorized"]
Rows = Sequence[Int[Tensor, " _"] | None]
BISECTIONS = 60


@dataclass(frozen=True)
class Compression:
    """How the weights of the spectral layers are stored.

    `rank` is the wanted number of parameters as a fraction of that of the dense weights; `joint` makes one
    tensor of all layers; `separable` weights multiply each channel by itself.
    """

    factorization: Factorization = "dense"
    rank: float = 0.1
    joint: bool = False
    separable: bool = False
    implementation: Implementation = "reconstructed"

    @property
    def is_plain(self) -> bool:
        """Whether each layer has a dense weight of its own that mixes channels."""
        return self.factorization == "dense" and not self.joint and not self.separable

    def weights(
        self,
        mode: Sequence[int],
        channels: tuple[int, int],
        *,
        layers: int | None = None,
        generator: torch.Generator | None = None,
    ) -> "FactorisedWeights":
        """Return weights for so many waves an axis; their entries have variance 2 / (in + out)."""
        mixed = channels[:1] if self.separable else channels
        shape = (*mode, *mixed) if layers is None else (layers, *mode, *mixed)
        return FactorisedWeights(shape, self, math.sqrt(2 / sum(channels)), generator)


DENSE = Compression()


class FactorisedWeights(nn.Module):
    """A complex tensor W of a given shape as a product of factors, each stored as pairs of reals.

    - `dense`: W itself
    - `cp`: W[a, b, …] = Σ_r λ_r A_ar B_br …
    - `tucker`: W[a, b, …] = Σ_pq… G_pq… A_ap B_bq …
    - `tt`: W[a, b, …, z] = Σ_pq… A_ap B_pbq … Z_yz

    The factors are normal, of a spread for which the variance of every entry of W is `std`² at the start.

    Args:
        shape: Shape of W: `(*mode, in, out)`, or `(*mode, channel)` if separable; layers first if joint.
        compression: Form of the product and its size.
        std: Standard deviation of an entry.
        generator: Draws the factors.
    """

    def __init__(
        self,
        shape: Sequence[int],
        compression: Compression,
        std: float,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.compression = compression
        kind = compression.factorization
        self.ranks = fitted_ranks(kind, shape, compression.rank)
        self.subscripts = _subscripts(kind, len(shape))
        sizes = {**dict(zip(_DIMS, shape, strict=False)), **dict(zip(_RANKS, self.ranks, strict=False))}
        # An entry is a sum over the ranks of products of one number from each factor.
        variance = (std**2 / math.prod(self.ranks)) ** (1 / len(self.subscripts))
        self.factors = nn.ParameterList(
            math.sqrt(variance / 2) * torch.randn(*(sizes[letter] for letter in name), 2, generator=generator)
            for name in self.subscripts
        )

    def tensor(self, rows: Rows = (), layer: int | None = None) -> Complex[Tensor, "*dims"]:
        """Return W, of its first axes only the given rows; of joint weights those of one layer."""
        names, factors = self._chosen(rows, layer)
        product: Tensor = torch.einsum(f"{','.join(names)}->{_dims_of(names)}", *factors)
        return product

    def forward(
        self, spectrum: Complex[Tensor, "batch *mode channel_in"], rows: Rows, layer: int | None = None
    ) -> Complex[Tensor, "batch *mode channel_out"]:
        """Return y_o(k) = Σ_i W(k)_io x_i(k) for the modes in `rows`, or y_c(k) = W(k)_c x_c(k)."""
        if self.compression.separable:
            return spectrum * self.tensor(rows, layer)
        if self.compression.implementation == "reconstructed" or len(self.factors) == 1:
            weight = self.tensor(rows, layer)
            modes_first = spectrum.flatten(1, -2).transpose(0, 1) @ weight.flatten(0, -3)
            return modes_first.transpose(0, 1).reshape(*spectrum.shape[:-1], -1)
        return self._contracted(spectrum, *self._chosen(rows, layer))

    def _contracted(self, spectrum: Tensor, names: list[str], factors: list[Tensor]) -> Tensor:
        """Contract the spectrum with the factor of the input, those of the modes, and that of the output."""
        *others, into, out = names
        free = set("".join(others)) & (set(_DIMS) | set(into + out))
        modes = "".join(sorted(free, key=lambda letter: (letter.isupper(), letter)))
        middle = torch.einsum(f"{','.join(others)}->{modes}", *factors[:-2])
        dims = _dims_of(names)
        given, wanted = f"z{dims[:-1]}", f"z{dims[:-2]}{dims[-1]}"
        result: Tensor = torch.einsum(
            f"{given},{into},{modes},{out}->{wanted}", spectrum, factors[-2], middle, factors[-1]
        )
        return result

    def _chosen(self, rows: Rows, layer: int | None) -> tuple[list[str], list[Tensor]]:
        """Return subscripts and complex values of the factors, cut to a layer and to rows of the modes."""
        names = list(self.subscripts)
        factors = [torch.view_as_complex(factor) for factor in self.factors]
        letters = _DIMS
        if self.compression.joint:
            place = _place(names, letters[0])
            if layer is not None:
                factors[place] = factors[place].select(names[place].index(letters[0]), layer)
                names[place] = names[place].replace(letters[0], "")
            letters = letters[1:]
        for letter, chosen in zip(letters, rows, strict=False):
            if chosen is not None:
                place = _place(names, letter)
                factors[place] = factors[place].index_select(names[place].index(letter), chosen)
        return names, factors


def fitted_ranks(kind: Factorization, shape: Sequence[int], fraction: float) -> tuple[int, ...]:
    """Return the largest ranks, each at least 1, with at most `fraction` of the parameters of a dense tensor.

    Tucker ranks are one common fraction of the sizes, those of a train one common fraction of the full ones.
    At fraction 1 both are full: such a product holds any tensor, at the cost of more parameters than it.
    """
    wanted = fraction * math.prod(shape)
    if kind == "dense":
        return ()
    if kind == "cp":
        return (max(1, int(wanted) // (1 + sum(shape))),)
    full = tuple(shape) if kind == "tucker" else _full_train(shape)
    if fraction >= 1:
        return full
    count = _count_tucker if kind == "tucker" else _count_train
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        is_too_much = count(shape, _scaled(full, middle)) > wanted
        low, high = (low, middle) if is_too_much else (middle, high)
    return _scaled(full, low)


def _scaled(full: Sequence[int], fraction: float) -> tuple[int, ...]:
    return tuple(max(1, round(fraction * rank)) for rank in full)


def _full_train(shape: Sequence[int]) -> tuple[int, ...]:
    cuts = range(1, len(shape))
    return tuple(min(math.prod(shape[:cut]), math.prod(shape[cut:])) for cut in cuts)


def _count_tucker(shape: Sequence[int], ranks: Sequence[int]) -> int:
    return math.prod(ranks) + sum(size * rank for size, rank in zip(shape, ranks, strict=True))


def _count_train(shape: Sequence[int], ranks: Sequence[int]) -> int:
    ends = (1, *ranks, 1)
    return sum(left * size * right for left, size, right in zip(ends, shape, ends[1:], strict=False))


_DIMS = "abcdef"
_RANKS = "ABCDEF"


def _subscripts(kind: Factorization, axes: int) -> tuple[str, ...]:
    """Return the letters of every factor: small ones are axes of W, capitals are summed over."""
    dims, ranks = _DIMS[:axes], _RANKS[:axes]
    if kind == "dense":
        return (dims,)
    if kind == "cp":
        return ("A", *(f"{dim}A" for dim in dims))
    if kind == "tucker":
        return (ranks, *(dim + rank for dim, rank in zip(dims, ranks, strict=True)))
    lefts, rights = ("", *ranks[: axes - 1]), (*ranks[: axes - 1], "")
    return tuple(left + dim + right for left, dim, right in zip(lefts, dims, rights, strict=True))


def _dims_of(names: Sequence[str]) -> str:
    return "".join(sorted(letter for name in names for letter in name if letter.islower()))


def _place(names: Sequence[str], letter: str) -> int:
    return next(place for place, name in enumerate(names) if letter in name)
