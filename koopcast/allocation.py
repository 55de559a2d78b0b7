"""Memory of a training on a processor: freed tensors stay with the process, for the next step to use.

A step of training frees and takes the same large tensors again and again. The allocator of glibc gives large
blocks back to the system at once, which then clears every page anew: an eighth of a step of an FNO.
"""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of mallopt(3)."""
LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Keep freed blocks of any size, in this process, from now on; say whether the system can.

    Memory then grows to the largest need and stays there until the process ends.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, LARGEST))
