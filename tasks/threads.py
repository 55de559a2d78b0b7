"""How many threads a step computes with."""

import torch
from threadpoolctl import threadpool_limits


def compute_with(threads: int) -> None:
    """Let torch compute with so many threads, and NumPy with one.

    Threads make the small products of a Krylov method ten times slower, and sums round by their number: work
    is shared by blocks instead.
    """
    torch.set_num_threads(threads)
    threadpool_limits(1, user_api="blas")
