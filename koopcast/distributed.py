"""Several processes that train one model: each computes its share of every batch, and gradients are added.

The processes are those of `torchrun`; without it there is one, and nothing is sent.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from koopcast.batches import ALONE, Share


@contextmanager
def group(device: torch.device) -> Iterator[Share]:
    """Join the processes that `torchrun` started, for the enclosed work: NCCL between GPUs, else Gloo."""
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Share(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def share() -> Share:
    """Return which part of the work is this process's."""
    return Share(dist.get_rank(), dist.get_world_size()) if _is_joined() else ALONE


def add_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by the sum over all processes; a missing one counts as zero."""
    if not _is_joined():
        return
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in trained:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    flat = torch.cat([parameter.grad.flatten() for parameter in trained if parameter.grad is not None])
    dist.all_reduce(flat)
    pieces = flat.split([parameter.numel() for parameter in trained])
    for parameter, piece in zip(trained, pieces, strict=True):
        parameter.grad = piece.view_as(parameter)


def added(value: float, device: torch.device) -> float:
    """Return the sum of a number over all processes."""
    if not _is_joined():
        return value
    total: Tensor = torch.tensor(value, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return float(total)


def _is_joined() -> bool:
    return dist.is_available() and dist.is_initialized()
