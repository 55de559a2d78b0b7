"""Directional derivatives by forward mode, and whether derivatives are asked for at all."""

import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.autograd.forward_ad import unpack_dual


def pushed(function: Callable[[Tensor], Tensor], x: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Return f(x) and f'(x) applied to a direction of the shape of x.

    Rows of a batch that f treats alike are directions of their own: f' of all of them is one call.
    """
    _load_rules()
    value, slope, *_ = torch.func.jvp(function, (x,), (direction,))
    return value, slope


def is_differentiated(x: Tensor) -> bool:
    """Return whether derivatives by x are asked for: backward, forward, or by a transform of `torch.func`.

    If not, arrays may stand for tensors, and results may be written over arguments.
    """
    return x.requires_grad or is_functorch_wrapped_tensor(x) or unpack_dual(x).tangent is not None


@cache
def _load_rules() -> None:
    """Load torch's rules for forward mode, which warn of the compiler that they are written for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import_module("torch._decomp.decompositions_for_jvp")
