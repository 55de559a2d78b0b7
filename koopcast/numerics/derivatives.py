"""Directional derivatives by forward-mode differentiation."""

import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module

import torch
from torch import Tensor


def pushed(function: Callable[[Tensor], Tensor], x: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Return f(x) and f'(x) applied to a direction of the shape of x.

    Rows of a batch that f treats alike are directions of their own: f' of all of them is one call.
    """
    _load_rules()
    pair: tuple[Tensor, Tensor] = torch.func.jvp(function, (x,), (direction,))  # type: ignore[assignment]
    return pair


@cache
def _load_rules() -> None:
    """Load torch's rules for forward mode, which warn of the compiler that they are written for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import_module("torch._decomp.decompositions_for_jvp")
